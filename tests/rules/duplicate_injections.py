"""Defects of copies: near ones, in two splits, under two labels, and frames of one scene in two splits."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.rules.data_injections import Subject, classification, detection, files

Pixels = NDArray[np.uint8]


def _darker(pixels: Pixels) -> Pixels:
    return (pixels * 0.8).astype(np.uint8)


def _mirrored(pixels: Pixels) -> Pixels:
    return pixels[:, ::-1]


def add(root: Path, source: str, split: str, name: str, pixels: Pixels, keep: Callable[[int], bool]) -> None:
    """Save `pixels` as image `name` of `split`, with those boxes of the training image `source` that are to be kept."""
    train = json.loads((root / "train.json").read_text())
    target = train if split == "train" else json.loads((root / f"{split}.json").read_text())
    image = next(i for i in train["images"] if i["file_name"] == source)
    boxes = [a for a in train["annotations"] if a["image_id"] == image["id"]]
    number = max(i["id"] for i in target["images"]) + 1
    first = max(a["id"] for a in target["annotations"]) + 1
    Image.fromarray(pixels).save(root / name)
    target["images"].append({**image, "id": number, "file_name": name})
    for position, box in enumerate(boxes):
        if keep(position):
            target["annotations"].append({**box, "id": first + position, "image_id": number})
    (root / f"{split}.json").write_text(json.dumps(target))


def changed_copy(
    split: str, change: Callable[[Pixels], Pixels], keep: Callable[[int], bool] = lambda _: True
) -> Callable[[Path], None]:
    """Add a changed copy of a full scene of train."""

    def plant(root: Path) -> None:
        train = json.loads((root / "train.json").read_text())
        counts = [a["image_id"] for a in train["annotations"]]
        fullest = max(train["images"], key=lambda i: counts.count(i["id"]))["file_name"]
        pixels = np.asarray(Image.open(root / fullest))
        add(root, fullest, split, f"images/{split}/changed.png", change(pixels), keep)

    return plant


def _scenes_in_both(root: Path) -> None:
    """Eight scenes filmed for a moment each: of five frames the middle one is validated on."""
    sources = [i["file_name"] for i in json.loads((root / "train.json").read_text())["images"]][:8]
    rng = np.random.default_rng(0)
    for number, source in enumerate(sources):
        pixels = np.asarray(Image.open(root / source)).astype(float)
        for frame in range(5):
            moved = np.roll(pixels, frame - 2, axis=1) * (1 - 0.03 * frame) + rng.normal(0, 3, pixels.shape)
            split = "val" if frame == 2 else "train"
            name = f"images/{split}/tour_{100 * number + 100 + frame:05d}.png"
            add(root, source, split, name, np.clip(moved, 0, 255).astype(np.uint8), lambda _: True)


def _mislabelled(root: Path) -> None:
    source = sorted((root / "train" / "3").glob("*.png"))[0]
    Image.fromarray(_darker(np.asarray(Image.open(source)))).save(root / "train" / "8" / "changed.png")


CLEAN: dict[str, Subject] = {}

SICK: dict[str, Subject] = {
    "near-duplicate-image": files(detection, changed_copy("train", _darker)),
    "split-leak-near": files(detection, changed_copy("val", _darker)),
    "split-leak-by-augmentation": files(detection, changed_copy("val", _mirrored)),
    "split-leak-by-group": files(detection, _scenes_in_both),
    "near-duplicate-image-with-different-labels": files(classification, _mislabelled),
    "suspicious-unlabelled": files(detection, changed_copy("train", _darker, keep=lambda position: position == 0)),
}

ALSO: dict[str, set[str]] = {
    # The picture is there more than once, which is a defect of its own.
    "split-leak-by-group": {"near-duplicate-image"},
    "suspicious-unlabelled": {"near-duplicate-image"},
}
