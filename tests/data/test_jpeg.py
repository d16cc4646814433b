"""JPEGs decoded at a fraction, against the one decoder of images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2.functional import resize

from snellen.data.decoding import UNREADABLE, decode
from snellen.data.jpeg import decode_reduced, plain_header, reduction


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
        small, size = decode_reduced(path, 12, keep_ratio=True)
        assert size == (width, height)
        assert small.shape[:2] == (-(-height // 4), -(-width // 4))


def test_other_files_go_through_the_decoder(photographs: list[Image.Image], tmp_path: Path) -> None:
    photographs[0].convert("CMYK").save(tmp_path / "print.jpg")
    photographs[0].resize((40, 30)).save(tmp_path / "picture.png")
    for name in ("print.jpg", "picture.png"):
        assert plain_header((tmp_path / name).read_bytes()) is None
        assert np.array_equal(decode_reduced(tmp_path / name, 8, keep_ratio=False)[0], decode(tmp_path / name))
    photographs[0].save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:9000])
    with pytest.raises(UNREADABLE):
        decode_reduced(tmp_path / "cut.jpg", 64, keep_ratio=True)


def test_a_fraction_looks_like_the_whole(photographs: list[Image.Image], tmp_path: Path) -> None:
    for quality in (75, 95):
        for picture in photographs:
            picture.save(tmp_path / "p.jpg", quality=quality)
            whole = torch.from_numpy(decode(tmp_path / "p.jpg").copy()).permute(2, 0, 1)
            for side in (150, 100, 64, 40):
                pixels, _ = decode_reduced(tmp_path / "p.jpg", side, keep_ratio=True)
                assert pixels.shape[1] < whole.shape[2]
                new = [round(whole.shape[1] * side / whole.shape[2]), side]
                few = resize(torch.from_numpy(pixels).permute(2, 0, 1), new, antialias=True).float()
                apart = (few - resize(whole, new, antialias=True).float()).abs()
                assert apart.mean() < 4


def test_how_far_a_picture_is_reduced() -> None:
    assert [reduction(w, 480, 320, keep_ratio=True) for w in (100, 640, 1279, 1280, 2560, 30000)] == [1, 1, 1, 2, 4, 8]
    assert reduction(3000, 400, 100, keep_ratio=False) == 2
