"""Pictures: upright, cut to what matters, and never from where they should not come."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.report.thumbnails import SIDE, Overlay, Thumbnails, Tile


def picture(tile: Tile) -> Image.Image:
    assert tile.picture is not None, tile.why
    data = str(tile.picture).split("base64,")[1].split('"')[0]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def write(path: Path, width: int = 600, height: int = 400, mode: str = "RGB", **options: object) -> str:
    """Left half red, right half blue, as far as the mode allows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 250
    pixels[:, width // 2 :, 2] = 250
    Image.fromarray(pixels).convert(mode).save(path, **options)
    return path.name


def test_longer_side_is_fixed_and_colours_stay(tmp_path: Path) -> None:
    shown = picture(Thumbnails(tmp_path, 10**6).tile(write(tmp_path / "a.jpg")))
    assert shown.size == (SIDE, round(SIDE * 400 / 600))
    assert shown.getpixel((5, 5))[0] > 200
    assert shown.getpixel((SIDE - 5, 5))[2] > 200


def test_exif_rotation_is_applied_and_boxes_are_in_rotated_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    name = write(tmp_path / "a.jpg", exif=exif)
    tile = Thumbnails(tmp_path, 10**6).tile(name, [Overlay((10, 20, 110, 220), "bad")])
    shown = picture(tile)
    assert shown.size == (round(SIDE * 400 / 600), SIDE)
    assert shown.getpixel((20, 5))[0] > 200
    assert 'viewBox="0 0 400 600"' in str(tile.picture)
    assert 'x="10" y="20" width="100" height="200"' in str(tile.picture)


def test_a_small_box_is_enlarged_with_its_surroundings(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jpg", 3000, 2000)
    tile = Thumbnails(tmp_path, 10**6).tile(
        name, [Overlay((1490, 990, 1510, 1010), "bad")], focus=(1490, 990, 1510, 1010)
    )
    assert tile.note == "enlarged"
    assert 'viewBox="0 0 450 450"' in str(tile.picture)
    shown = picture(tile)
    assert shown.getpixel((10, 80))[0] > 200
    assert shown.getpixel((SIDE - 10, 80))[2] > 200


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png")]
)
def test_every_mode_is_shown(mode: str, suffix: str, tmp_path: Path) -> None:
    assert Thumbnails(tmp_path, 10**6).tile(write(tmp_path / f"a.{suffix}", mode=mode)).picture


def test_sixteen_bits_are_shown_as_they_are_trained_on(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(1000, 60000, 300).astype(np.uint16), (200, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    shown = picture(Thumbnails(tmp_path, 10**6).tile("a.png"))
    assert shown.getpixel((3, 50))[0] < 20
    assert shown.getpixel((SIDE - 4, 50))[0] == pytest.approx(60000 / 257, abs=12)


def test_pictures_outside_the_dataset_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "secret.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    thumbnails = Thumbnails(tmp_path / "in", 10**6)
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        tile = thumbnails.tile(name)
        assert tile.picture is None
        assert "outside the dataset" in tile.why


def test_what_is_no_picture_says_why(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes((tmp_path / write(tmp_path / "a.jpg")).read_bytes()[:300])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    thumbnails = Thumbnails(tmp_path, 10**6)
    why = {n: thumbnails.tile(n) for n in ("cut.jpg", "text.png", "folder.png", "pipe.png", "gone.png", "nul\0.png")}
    assert all(tile.picture is None and tile.why for tile in why.values())
    assert why["gone.png"].why == "no such file"
    assert why["pipe.png"].why == "not a file"
    assert str(tmp_path) not in why["text.png"].why


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (20_000, 6_000)).save(tmp_path / "bomb.png")
    tile = Thumbnails(tmp_path, 10**6).tile("bomb.png")
    assert tile.picture is None
    assert "too large: 20000 x 6000 pixels" in tile.why


def test_the_budget_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    name = write(tmp_path / "a.jpg")
    once = Thumbnails(tmp_path, 10**6)
    once.tile(name)
    thumbnails = Thumbnails(tmp_path, int(once.spent * 2.5))
    tiles = [thumbnails.tile(name) for _ in range(5)]
    assert [tile is not None for tile in tiles] == [True, True, False, False, False]
    assert thumbnails.dropped == 3
    assert thumbnails.spent <= thumbnails.budget
