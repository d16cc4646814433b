"""Plants wrong labels of known kinds into a copy of the digits scenes, and scores who finds them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS, pairwise_iou

KINDS = ("overlooked", "swapped", "misplaced")


@dataclass(frozen=True)
class Wrong:
    """One planted label error."""

    kind: str
    image: str
    box: tuple[float, float, float, float]
    """As it stands in the labels, xyxy pixels; of an overlooked object, where it was."""


def plant_label_noise(folder: Path, share: float = 0.05, seed: int = 0) -> list[Wrong]:
    """Spoil both splits of a digits-detection folder, in place: `share` of the objects is dropped, as many are renamed,
    and as many boxes are shifted by 0.3 to 0.45 of their width and height."""
    rng = np.random.default_rng(seed)
    planted: list[Wrong] = []
    for split in ("train.json", "val.json"):
        document: dict[str, Any] = json.loads((folder / split).read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in document["images"]}
        labels = document["annotations"]
        order = rng.permutation(len(labels))
        count = round(share * len(labels))
        gone: set[int] = set()
        for number, kind in enumerate(KINDS):
            for i in order[number * count : (number + 1) * count]:
                label = labels[i]
                if kind == "overlooked":
                    gone.add(int(i))
                elif kind == "swapped":
                    label["category_id"] = int((label["category_id"] - 1 + rng.integers(1, 10)) % 10) + 1
                else:
                    label["bbox"] = _shifted(label["bbox"], rng)
                x, y, w, h = label["bbox"]
                planted.append(Wrong(kind, names[label["image_id"]], (x, y, x + w, y + h)))
        document["annotations"] = [
            {k: v for k, v in label.items() if k != "segmentation"} for i, label in enumerate(labels) if i not in gone
        ]
        (folder / split).write_text(json.dumps(document), encoding="utf-8")
    return planted


def _shifted(box_xywh: Sequence[float], rng: np.random.Generator, side: int = 128) -> list[float]:
    """Moved by a part of its size along both axes, towards the middle where it would leave the image."""
    x, y, w, h = box_xywh
    moved = []
    for at, size in ((x, w), (y, h)):
        step = float(rng.uniform(0.3, 0.45) * size * rng.choice((-1, 1)))
        moved.append(round(at + step if 0 <= at + step <= side - size else at - step, 2))
    return [*moved, w, h]


def hits(suspects: pl.DataFrame, objects: pl.DataFrame, planted: Sequence[Wrong]) -> list[set[int]]:
    """For each suspect the planted errors (positions) that it points at: the label accused, or the place where one is
    missing, at an IoU of 0.5."""
    by_image: dict[str, list[int]] = {}
    for i, wrong in enumerate(planted):
        by_image.setdefault(wrong.image, []).append(i)
    boxes = objects.select(CORNERS).rows()
    found: list[set[int]] = []
    for row in suspects.iter_rows(named=True):
        label = boxes[row["object"]] if row["object"] is not None else tuple(row[c] for c in CORNERS)
        mine = [i for i in by_image.get(row["image"], []) if planted[i].kind == row["kind"]]
        found.append({i for i in mine if pairwise_iou(np.array([label]), np.array([planted[i].box]))[0, 0] > 0.5})
    return found
