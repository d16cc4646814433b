"""JPEGs decoded at a fraction, against the one decoder of images."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from snellen.data.decoding import UNREADABLE, decode
from snellen.data.jpeg import decode_reduced, plain_header, reduced, reduction


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_whole_pictures_are_those_of_the_decoder(
    photographs: list[Image.Image], tmp_path: Path, orientation: int
) -> None:
    picture = photographs[orientation % 2].resize((101, 67))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, mode, options in (("a", "RGB", {}), ("b", "RGB", {"progressive": True}), ("c", "L", {})):
        path = tmp_path / f"{name}.jpg"
        picture.convert(mode).save(path, exif=exif, subsampling=orientation % 3 if mode == "RGB" else -1, **options)
        assert plain_header(path.read_bytes()) is not None
        pixels, (width, height) = decode_reduced(path, 60, keep_ratio=True)
        expected = decode(path)
        assert np.array_equal(pixels, expected)
        assert (height, width) == expected.shape[:2]
        small, size = decode_reduced(path, 24, keep_ratio=True)
        assert size == (width, height)
        assert small.shape[:2] == (-(-height // 4), -(-width // 4)) == reduced(expected, 24, keep_ratio=True).shape[:2]


def test_other_files_go_through_the_decoder(photographs: list[Image.Image], tmp_path: Path) -> None:
    photographs[0].convert("CMYK").save(tmp_path / "print.jpg")
    photographs[0].resize((40, 30)).save(tmp_path / "picture.png")
    for name in ("print.jpg", "picture.png"):
        assert plain_header((tmp_path / name).read_bytes()) is None
        assert np.array_equal(decode_reduced(tmp_path / name, 500, keep_ratio=False)[0], decode(tmp_path / name))
    photographs[0].save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:9000])
    with pytest.raises(UNREADABLE):
        decode_reduced(tmp_path / "cut.jpg", 64, keep_ratio=True)


def test_exif_data_of_any_make(photographs: list[Image.Image], tmp_path: Path) -> None:
    picture, path = photographs[0].resize((30, 20)), tmp_path / "p.jpg"
    tags = [{}, {0x010F: "Maker", 0x0112: 6, 0x8298: "someone"}, {0x0112: 99}, {0x010F: "no orientation"}]
    files = []
    for values in tags:
        exif = Image.Exif()
        for tag, value in values.items():
            exif[tag] = value
        files.append(exif.tobytes())
    # Big-endian; a tag of type LONG; a directory beyond the end; no TIFF at all; two directories' worth of entries.
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    files += [
        b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + b"\0" * 4,
        b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHII", 0x0112, 4, 1, 3) + b"\0" * 4,
        b"Exif\0\0MM\0*" + struct.pack(">IH", 9000, 1),
        b"Exif\0\0rubbish",
        b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entry + entry[:9] + b"\3\0\0" + b"\0" * 4,
    ]
    for exif in files:
        picture.save(path, exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about the damage
            assert np.array_equal(decode_reduced(path, 30, keep_ratio=True)[0], decode(path))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    picture.save(path, xmp=xmp)
    assert plain_header(path.read_bytes()) is None


def test_a_fraction_is_the_means_of_the_whole(photographs: list[Image.Image], tmp_path: Path) -> None:
    for quality, cut in ((75, 0), (95, 3)):
        for picture in photographs:
            picture.crop((0, 0, picture.width - cut, picture.height - cut)).save(tmp_path / "p.jpg", quality=quality)
            whole = decode(tmp_path / "p.jpg")
            for side in (320, 150, 70):
                pixels, _ = decode_reduced(tmp_path / "p.jpg", side, keep_ratio=True)
                small = round(whole.shape[1] / pixels.shape[1])
                assert small == {320: 1, 150: 4, 70: 8}[side] or (small, side) == (2, 320)
                means = reduced(whole, side, keep_ratio=True)
                inner = whole[: whole.shape[0] // small * small, : whole.shape[1] // small * small].astype(float)
                blocks = inner.reshape(inner.shape[0] // small, small, -1, small, 3).mean(axis=(1, 3))
                assert np.abs(means[: len(blocks), : blocks.shape[1]] - blocks).max() <= 0.51
                apart = np.abs(pixels.astype(int) - means)
                assert apart.mean() < 1
                assert np.quantile(apart, 0.99) <= 8


def test_how_far_a_picture_is_reduced() -> None:
    assert [reduction(w, 480, 320, keep_ratio=True) for w in (100, 639, 640, 1280, 30000)] == [1, 1, 2, 4, 8]
    assert reduction(3000, 400, 100, keep_ratio=False) == 4
