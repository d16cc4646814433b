"""One decode tells the truth about the pixels, and no file whatever can do harm."""

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from snellen.data import decoding
from snellen.data.containers import MAX_FRAMES
from snellen.data.decoding import GROUND, decode, displayed_size
from snellen.data.images import measure
from snellen.data.metadata import LENGTH
from snellen.findings.severity import Tier
from snellen.report.thumbnails import Thumbnails

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged metadata


def photo(width: int = 640, height: int = 480, seed: int = 0, fall: float = 1.7) -> Image.Image:
    """Noise of all scales, each `fall` times weaker than the next coarser one, as in photographs."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for octave in range(7):
        coarse = rng.integers(0, 256, (3 * 2**octave, 4 * 2**octave, 3), np.uint8)
        layer = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float64) - 128) / fall**octave
    return Image.fromarray((total * 0.5 + 128).clip(0, 255).astype(np.uint8))


def facts(image: Image.Image, path: Path, **options: Any) -> dict[str, Any]:
    image.save(path, **options)
    return measure(path, Tier.PIXELS)


def plain(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """The same facts by plain numpy, at full resolution."""
    unit = rgb.astype(np.float64) / 255
    brightness = np.sqrt(unit**2 @ [0.241, 0.691, 0.068])
    grey = np.rint(rgb @ [0.299, 0.587, 0.114]).astype(int)
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    p1, p5, p99 = np.percentile(brightness, [1, 5, 99], method="inverted_cdf")
    return {
        "brightness": brightness.mean(), "brightness_p1": p1, "brightness_p5": p5, "brightness_p99": p99,
        "contrast": brightness.std(), "entropy": -(share * np.log2(share)).sum(),
        "colour_spread": np.percentile(np.ptp(unit, axis=2), 99, method="inverted_cdf"),
        **{f"mean_{c}": unit[..., i].mean() for i, c in enumerate("rgb")},
        **{f"std_{c}": unit[..., i].std() for i, c in enumerate("rgb")},
    }  # fmt: skip


def test_a_small_image_is_measured_to_rounding(tmp_path: Path) -> None:
    """Below SIDE nothing is averaged: only the 256 levels of brightness separate it from plain numpy."""
    image = photo(200, 150)
    row = facts(image, tmp_path / "a.png")
    for name, value in plain(np.asarray(image)).items():
        assert row[name] == pytest.approx(value, abs=0.003 if name != "entropy" else 1e-3), name


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.jpg", {"quality": 95}), ("a.webp", {"quality": 95})])
@pytest.mark.parametrize("size", [(640, 480), (500, 375), (1999, 300)])
def test_a_large_image_is_measured_within_its_averaging(
    tmp_path: Path, name: str, options: dict[str, int], size: tuple[int, int]
) -> None:
    image = photo(*size)
    row = facts(image, tmp_path / name, **options)
    reference = plain(np.asarray(image))
    for column in ("brightness", "mean_r", "mean_g", "mean_b"):
        assert row[column] == pytest.approx(reference[column], abs=0.004)
    for column in ("contrast", "std_r", "std_g", "std_b"):
        assert row[column] == pytest.approx(reference[column], rel=0.06)
    for column in ("brightness_p1", "brightness_p5", "brightness_p99", "colour_spread"):
        assert row[column] == pytest.approx(reference[column], abs=0.06)
    assert row["entropy"] == pytest.approx(reference["entropy"], abs=0.15)


def test_sharpness_is_the_scaled_laplacian_of_a_gaussian(tmp_path: Path) -> None:
    """By plain numpy, in frequency-free form: kernel by kernel on the picture averaged by 2 x 2."""
    image = photo(640, 480).convert("L")
    grey = np.asarray(image.reduce(2), np.float64)
    scale = 320 / 256
    at = np.arange(-3, 4)
    kernel = np.exp(-(at**2) / 2 / (0.25 * scale**2 - 1 / 12))
    kernel /= kernel.sum()
    wide = np.pad(grey, 3, mode="reflect")
    wide = np.apply_along_axis(np.convolve, 1, wide, kernel, "valid")
    smooth = np.pad(np.apply_along_axis(np.convolve, 0, wide, kernel, "valid"), 1, mode="reflect")
    edges = smooth[:-2, 1:-1] + smooth[2:, 1:-1] + smooth[1:-1, :-2] + smooth[1:-1, 2:] - 4 * smooth[1:-1, 1:-1]
    assert facts(image, tmp_path / "a.png")["sharpness"] == pytest.approx(edges.var() * scale**4, rel=1e-4)


def test_sharpness_does_not_depend_on_resolution_or_format_but_on_blur(tmp_path: Path) -> None:
    large = photo(1200, 900, fall=1.3)
    sizes = [large.resize((w, w * 3 // 4), Image.Resampling.LANCZOS) for w in (1200, 640, 511, 400, 300, 256)]
    values = [facts(image, tmp_path / f"{image.width}.png")["sharpness"] for image in sizes]
    values.append(facts(large, tmp_path / "a.jpg", quality=95)["sharpness"])
    assert max(values) / min(values) < 1.6
    soft = large.resize((80, 60)).resize((1200, 900), Image.Resampling.BICUBIC)
    assert facts(soft, tmp_path / "soft.png")["sharpness"] < min(values) / 3


def test_a_flat_and_a_tiny_image(tmp_path: Path) -> None:
    row = facts(Image.new("RGB", (700, 500), (255, 255, 255)), tmp_path / "white.png")
    assert (row["brightness"], row["brightness_p1"], row["contrast"], row["entropy"], row["border"]) == (1, 1, 0, 0, 1)
    assert row["sharpness"] == pytest.approx(0, abs=1e-6)
    for size in ((1, 1), (1, 3000), (3000, 1), (2, 2), (257, 1)):
        row = facts(Image.new("RGB", size, (9, 9, 9)), tmp_path / "tiny.png")
        assert row["error"] is None if "error" in row else True
        assert row["decoded"]
        assert row["mean_g"] == pytest.approx(9 / 255)


def test_border_is_the_share_of_one_coloured_strips(tmp_path: Path) -> None:
    inner = photo(640, 360)
    letterboxed = Image.new("RGB", (640, 480), (0, 0, 0))
    letterboxed.paste(inner, (0, 60))
    assert facts(letterboxed, tmp_path / "a.jpg", quality=90)["border"] == pytest.approx(0.25, abs=0.02)
    framed = Image.new("RGB", (480, 480), (250, 250, 250))
    framed.paste(inner.resize((240, 240)), (120, 120))
    assert facts(framed, tmp_path / "b.png")["border"] == pytest.approx(0.75, abs=0.02)
    assert facts(inner, tmp_path / "c.png")["border"] < 0.01


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_read_from_the_tables(tmp_path: Path, quality: int) -> None:
    image = Image.new("RGB", (8, 8), (200, 90, 30))
    image.save(tmp_path / "a.jpg", quality=quality)
    assert measure(tmp_path / "a.jpg", Tier.HEADERS)["jpeg_quality"] == quality


def test_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model\0rubbish"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    row = facts(photo(64, 48), tmp_path / "a.jpg", exif=exif, icc_profile=profile)
    assert (row["taken"], row["camera"], row["frames"]) == ("2024:05:06 07:08:09", "Maker Model", 1)
    assert row["icc_profile"] == "sRGB built-in"
    row = facts(photo(64, 48), tmp_path / "b.png", icc_profile=b"\xff" * 200)
    assert row["icc_profile"] == "unnamed"
    exif[0x010F] = "x" * 5000
    assert len(facts(photo(64, 48), tmp_path / "c.jpg", exif=exif)["camera"]) <= 2 * LENGTH + 1


def test_frames(tmp_path: Path) -> None:
    frames = [photo(20, 20, seed) for seed in range(7)]
    for name in ("a.gif", "a.tiff", "a.webp", "a.png", "a.mpo"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert measure(tmp_path / name, Tier.HEADERS)["frames"] == 7, name
        assert measure(tmp_path / name, Tier.PIXELS)["decoded"]
    assert facts(frames[0], tmp_path / "b.gif")["frames"] == 1


def test_the_header_tier_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    for name in ("a.jpg", "a.png", "a.tiff", "a.gif", "a.webp", "a.bmp"):
        photo(300, 200).save(tmp_path / name)
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    for path in tmp_path.iterdir():
        row = measure(path, Tier.HEADERS)
        assert "error" not in row, row
        assert (row["width"], row["height"]) == displayed_size(path) == (300, 200)


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_as_displayed(tmp_path: Path, kind: str, turn: int) -> None:
    upright = photo(80, 48)
    backwards = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[turn]  # fmt: skip
    stored = upright if backwards is None else upright.transpose(backwards)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / f"a.{kind}"
    row = facts(stored, path, exif=exif, **({"lossless": True} if kind == "webp" else {"quality": 98}))
    assert (row["width"], row["height"]) == stored.size
    assert row["exif_orientation"] == turn
    assert displayed_size(path) == (80, 48)
    assert np.abs(decode(path).astype(int) - np.asarray(upright)).mean() < 5


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    photo(40, 20).save(path, exif=exif)
    whole = path.read_bytes()
    at = whole.index(b"eXIf") - 4
    chunk = whole[at : at + 12 + int.from_bytes(whole[at : at + 4], "big")]
    path.write_bytes(whole.replace(chunk, b"").replace(whole[-12:], chunk + whole[-12:]))
    assert measure(path, Tier.HEADERS)["exif_orientation"] == measure(path, Tier.PIXELS)["exif_orientation"] == 6
    assert displayed_size(path) == (20, 40)
    assert decode(path).shape == (40, 20, 3)


def modes() -> dict[str, Image.Image]:
    """A picture of every mode that files hold, by the name of its file."""
    rgb, rng = photo(120, 90), np.random.default_rng(1)
    clear = rgb.convert("RGBA")
    clear.putalpha(Image.fromarray(rng.integers(0, 2, (90, 120), np.uint8) * 255))
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=60)
    deep = rng.integers(0, 65536, (90, 120), np.uint16)
    return {
        "rgb.png": rgb, "l.png": rgb.convert("L"), "bits.png": rgb.convert("1"), "rgba.png": clear,
        "la.png": clear.convert("LA"), "p.png": palette, "cmyk.jpg": rgb.convert("CMYK"),
        "cmyk.tiff": rgb.convert("CMYK"), "i16.png": Image.fromarray(deep), "i16.tiff": Image.fromarray(deep),
        "i.tiff": Image.fromarray(deep.astype(np.int32)),
        "i-wide.tiff": Image.fromarray(deep.astype(np.int32) * 500 - 7),
        "f-unit.tiff": Image.fromarray((deep / 65535).astype(np.float32)),
        "f-wide.tiff": Image.fromarray(np.where(deep < 99, np.nan, deep - 1e4).astype(np.float32)),
        "g.gif": palette,
    }  # fmt: skip


@pytest.mark.parametrize("name", modes())
def test_training_report_and_facts_see_the_same_pixels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    image = modes()[name]
    image.save(path, **({"transparency": 3} if name in ("p.png", "g.gif") else {}))
    trained = decode(path)
    assert trained.shape == (90, 120, 3)
    row = measure(path, Tier.PIXELS)
    assert row["decoded"], row
    means = trained.reshape(-1, 3).mean(axis=0)
    assert [row[f"mean_{c}"] * 255 for c in "rgb"] == pytest.approx(means.tolist(), abs=0.01)
    tile = Thumbnails(tmp_path, 1 << 20).tile(name)
    assert tile is not None
    assert tile.picture is not None
    shown = Image.open(io.BytesIO(base64.b64decode(tile.picture.split("base64,")[1].split('"')[0])))
    shown_means = np.asarray(shown.convert("RGB"), np.float64).reshape(-1, 3).mean(axis=0)
    assert shown_means.tolist() == pytest.approx(means.tolist(), abs=4)


def test_deep_greys_and_transparency_by_the_table(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 25700, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "a.tiff")
    Image.fromarray(np.array([[-5, 0, 5, np.nan, np.inf]], np.float32)).save(tmp_path / "f.tiff")
    assert (
        decode(tmp_path / "a.png")[0, :, 0].tolist()
        == decode(tmp_path / "a.tiff")[0, :, 0].tolist()
        == [0, 1, 100, 255]
    )
    assert decode(tmp_path / "f.tiff")[0, :, 0].tolist() == [0, 128, 255, 0, 255]
    row = facts(Image.new("RGBA", (9, 9), (200, 10, 10, 0)), tmp_path / "c.png")
    assert (decode(tmp_path / "c.png") == GROUND).all()
    assert row["alpha_spread"] == 0
    assert facts(modes()["rgba.png"], tmp_path / "d.png")["alpha_spread"] == 1
    assert facts(modes()["rgb.png"], tmp_path / "e.png")["alpha_spread"] is None


def test_every_truncation_is_found(tmp_path: Path) -> None:
    """200 of 200 each: JPEGs with a whole preview in their header, progressive ones, PNGs; cut anywhere."""
    preview = io.BytesIO()
    photo(120, 90).save(preview, "JPEG")
    exif = Image.Exif()
    exif[0x010F] = preview.getvalue()[:30000].decode("latin-1")
    path, rng, found = tmp_path / "a", np.random.default_rng(0), 0
    wholes = []
    for seed in range(10):
        for kind, options in (("JPEG", {"exif": exif.tobytes()}), ("PNG", {}), ("JPEG", {"progressive": True})):
            buffer = io.BytesIO()
            photo(160, 120, seed).save(buffer, kind, **options)
            wholes.append(buffer.getvalue())
    assert preview.getvalue()[-2:] == b"\xff\xd9"
    for whole in wholes:
        path.write_bytes(whole + b"\0" * 100)
        assert measure(path, Tier.PIXELS)["complete"] is True
        for cut in rng.integers(200, len(whole) - 2, 20).tolist():
            path.write_bytes(whole[:cut])
            row = measure(path, Tier.HEADERS)
            found += row["complete"] is False
    assert found == 600


def test_a_flipped_bit_among_the_pixels(tmp_path: Path) -> None:
    """A PNG has checksums: 200 of 200. (A JPEG has none: next to nothing of such damage can be seen by any reader.)"""
    rng, path = np.random.default_rng(0), tmp_path / "a.png"
    photo(160, 120).save(path)
    whole = path.read_bytes()
    for at in rng.integers(whole.index(b"IDAT") + 4, len(whole) - 20, 200).tolist():
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        row = measure(path, Tier.PIXELS)
        assert row["error"].startswith("damaged: the checksum of the IDAT chunk")
        assert not row["decoded"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(20)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body + chunk(b"IEND", b"")


def progressive_bomb() -> bytes:
    """A progressive JPEG whose last scan is written 20,000 times."""
    buffer = io.BytesIO()
    photo(64, 64).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 20000 + b"\xff\xd9"


def many_gif_frames() -> bytes:
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 300_000 + b";"


def looping_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    at = int.from_bytes(data[4:8], "little")
    link = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[link : link + 4] = data[4:8]
    return bytes(data)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("data", "decoded", "frames"),
    [
        (png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 1))), False, None),
        (png(*[chunk(b"tEXt", b"a\0" + b"b" * 900_000)] * 90), False, None),
        (png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000), 1))), False, None),
        (png(chunk(b"prVt", b"") * 400_000), False, None),
        (b"\xff\xd8" + b"\xff\xef\0\2" * 400_000, False, None),
        (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1x" * 400_000 + b"\0;", False, None),
        (b"II+\0\10\0\0\0\20\0\0\0\0\0\0\0" + b"\xff" * 8_000_000, False, None),
        (progressive_bomb(), False, 1),
        (many_gif_frames(), True, MAX_FRAMES),
        (looping_tiff(), True, MAX_FRAMES),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", False, None),
        (b"\xff\xd8" * 500_000, False, None),
    ],
    ids=[
        "text bomb", "much text", "profile bomb", "chunks", "segments", "comment", "bigtiff", "scans", "gif", "tiff",
        "eps", "markers",
    ],
)  # fmt: skip
def test_bombs_are_rows(tmp_path: Path, data: bytes, decoded: bool, frames: int | None) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(data)
    row = measure(path, Tier.PIXELS)
    assert row["decoded"] is decoded, row
    assert row.get("frames") == frames
    assert decoded or row["error"]


def test_a_jpeg_too_large_says_how_large(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60000, 50000)
    (tmp_path / "a.jpg").write_bytes(data)
    row = measure(tmp_path / "a.jpg", Tier.PIXELS)
    assert (row["width"], row["height"], row["decoded"]) == (50000, 60000, False)
    assert row["error"] == "too large: 50000 x 60000 pixels, the limit is 100,000,000"
    with pytest.raises(decoding.UNREADABLE):
        decode(tmp_path / "a.jpg")


def test_what_is_no_file_or_gone(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone.jpg", Tier.PIXELS) == {"exists": False, "decoded": False}
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert "symbolic links" in measure(tmp_path / "loop.jpg", Tier.PIXELS)["error"]
    assert measure(tmp_path, Tier.PIXELS)["error"] == "not a regular file"
    (tmp_path / "empty.jpg").touch()
    assert measure(tmp_path / "empty.jpg", Tier.PIXELS)["error"] == "the file is empty"
