"""Near-duplicates of pictures with detail: found with their kind, remembered, bounded, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from snellen.data import pairs as pairs_module
from snellen.data.examine import examine
from snellen.data.facts import DataFacts

Picture = NDArray[np.uint8]


def picture(seed: int, height: int = 240, width: int = 320) -> Picture:
    """Noise of all scales, 1/f like a photograph."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        noise = rng.normal(size=(cells, cells, 3))
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 3 / np.sqrt(cells)
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def save(folder: Path, pictures: dict[str, Picture], **options: Any) -> None:
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name, **options)


def found(data: DataFacts) -> set[tuple[str, str, str, str]]:
    rows = data.pairs.select("image", "other", "kind", "orientation").rows()
    return {(Path(a).stem, Path(b).stem, kind, orientation) for a, b, kind, orientation in rows}


def cut(share: float, across: float = 0.5) -> Callable[[Picture], Picture]:
    def change(pixels: Picture) -> Picture:
        height, width = (round(share * side) for side in pixels.shape[:2])
        left, top = round(across * (pixels.shape[1] - width)), (pixels.shape[0] - height) // 2
        return pixels[top : top + height, left : left + width]

    return change


CHANGES: dict[str, tuple[Callable[[Picture], Picture], str, str]] = {
    "half": (lambda p: np.asarray(cv2.resize(p, None, fx=0.5, fy=0.5), np.uint8), "near", "as it is"),
    "dark": (lambda p: (p * 0.6).astype(np.uint8), "near", "as it is"),
    "mirrored": (lambda p: p[:, ::-1], "flipped", "mirrored"),
    "upside": (lambda p: p[::-1], "flipped", "upside down"),
    "turned90": (lambda p: np.rot90(p), "turned", "turned by 90"),
    "turned180": (lambda p: np.rot90(p, 2), "turned", "turned by 180"),
    "turned270": (lambda p: np.rot90(p, 3), "turned", "turned by 270"),
    "crop96": (cut(0.96), "cropped", "as it is"),
    "crop90": (cut(0.9), "cropped", "as it is"),
    "crop84": (cut(0.84), "cropped", "as it is"),
    "shifted": (cut(0.95, across=0.2), "cropped", "as it is"),
    "mirroredcrop": (lambda p: cut(0.9)(p)[:, ::-1], "cropped", "mirrored"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> DataFacts:
    folder = tmp_path_factory.mktemp("planted")
    for seed, (name, (change, _, _)) in enumerate(CHANGES.items()):
        base = picture(seed)
        # The copy's name before and after that of its original, so that both directions are tried.
        letters = "az" if seed % 2 else "za"
        save(folder / "c", {f"{letters[0]}-{name}.png": base})
        save(folder / "c", {f"{letters[1]}-{name}.jpg": np.ascontiguousarray(change(base))}, quality=80)
    for seed in range(100, 140):
        save(folder / "c", {f"clean{seed}.jpg": picture(seed)})
    return examine(folder, cache=False, workers=1)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found_with_its_kind(planted: DataFacts, name: str) -> None:
    _, kind, orientation = CHANGES[name]
    original = planted.images.filter(pl.col("image").str.contains(f"-{name}.png"))["image"].item()
    if Path(original).stem.startswith("z"):  # seen from the copy, the original is turned back
        orientation = {"turned by 90": "turned by 270", "turned by 270": "turned by 90"}.get(orientation, orientation)
    assert (f"a-{name}", f"z-{name}", kind, orientation) in found(planted)


def test_nothing_else_is_found(planted: DataFacts) -> None:
    assert planted.pairs.height == len(CHANGES)
    assert planted.pairs["similarity"].is_between(0.9, 1).all()


def test_equal_pixels_in_unequal_files(tmp_path: Path) -> None:
    save(tmp_path / "c", {"a.png": picture(1)}, compress_level=1)
    save(tmp_path / "c", {"b.png": picture(1)}, compress_level=9)
    other = picture(1)
    other[0, 0] ^= 1
    save(tmp_path / "c", {"c.png": other})
    kinds = {(a, b): kind for a, b, kind, _ in found(examine(tmp_path, cache=False))}
    assert kinds["a", "b"] == "pixels"
    assert "pixels" not in {kind for names, kind in kinds.items() if "c" in names}


def test_a_second_run_decodes_nothing_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, kept = tmp_path / "data", tmp_path / "kept"
    save(data / "c", {"a.png": picture(1), "b.png": picture(1)[:, ::-1], "c.png": picture(2)})
    first = examine(data, cache_dir=kept)
    assert first.pairs.height == 1
    monkeypatch.setattr(pairs_module, "thumbnail", lambda path: pytest.fail(f"{path} was decoded again"))
    assert examine(data, cache_dir=kept).pairs.equals(first.pairs)
    # What was judged holds for the files' content, wherever it lies.
    (data / "c" / "a.png").rename(data / "c" / "aa.png")
    assert examine(data, cache_dir=kept).pairs["image"].to_list() == ["c/aa.png"]


def test_a_killed_run_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, kept = tmp_path / "data", tmp_path / "kept"
    for seed in range(6):
        save(data / "c", {f"{seed}a.png": picture(seed), f"{seed}b.png": picture(seed)[:, ::-1]})
    expected = examine(data, cache=False).pairs
    judged = pairs_module._judged
    calls = []

    def dies(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return judged(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pairs_module, "_judged", dies)
    with pytest.raises(KeyboardInterrupt):
        examine(data, cache_dir=kept)
    assert examine(data, cache_dir=kept).pairs.equals(expected)
    assert len(calls) == 4 + 3  # three of the six were known


def test_a_hundred_copies_make_a_hundred_pairs(tmp_path: Path) -> None:
    for quality in range(1, 101):
        save(tmp_path / "c", {f"{quality:03d}.jpg": picture(5)}, quality=max(quality, 30))
        # Bytes behind the end of the picture: a hash each.
        with (tmp_path / "c" / f"{quality:03d}.jpg").open("ab") as file:
            file.write(bytes([quality]))
    data = examine(tmp_path, cache=False)
    assert data.pairs.height == 99
    assert set(data.pairs["image"]) | set(data.pairs["other"]) == set(data.images["image"])


def test_blank_noisy_and_unreadable_pictures_are_no_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        noise = rng.integers(120, 136, (100, 120, 3)).astype(np.uint8)
        save(
            tmp_path / "c",
            {f"noise{number}.png": noise, f"grey{number}.png": np.full((9, 9 + number), number, np.uint8)},
        )
    (tmp_path / "c" / "text.png").write_text("no picture")
    data = examine(tmp_path, cache=False)
    assert data.pairs.height == 0


def test_a_file_that_goes_away_meanwhile_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "c", {"a.png": picture(1), "b.png": picture(1)[:, ::-1], "c.png": picture(1)[::-1]})
    images = examine(tmp_path, cache=False).images
    (tmp_path / "c" / "b.png").unlink()
    pairs, notes = pairs_module.find_pairs(images, tmp_path, None, lambda *_: None)
    assert pairs.select("image", "other").rows() == [("c/a.png", "c/c.png")]
    assert notes == []
