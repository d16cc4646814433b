"""Healthy pairs of subjects, and each joint rule's defect put into one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PROBLEMS, DataFacts
from snellen.facts import Facts, table
from snellen.findings import Tier
from snellen.network.examine import examine
from snellen.watch.facts import RunFacts, STEPS
from tests.network.models import SmallDetector, SmallNet

Subject = Callable[[Path], list[Facts]]


def detection_data(low: float, high: float, side: int = 256, count: int = 40) -> DataFacts:
    """`count` images of `side` px with five near-square objects each, sides uniform in `low..high` px."""
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for n in range(count):
        name = f"images/{n:03}.png"
        images.append({
            "image": name, "split": "train", "declared_width": side, "declared_height": side, "listed": True, "exists": True,
            "bytes": 1000, "format": "PNG", "mode": "RGB", "width": side, "height": side, "exif_orientation": 1,
            "complete": True, "hash": f"{n:032x}", "label_file": "instances.json",
        })  # fmt: skip
        for row in range(5):
            w, h = rng.uniform(low, high, 2)
            x, y = rng.uniform(0, side - w), rng.uniform(0, side - h)
            boxes.append({
                "image": name, "file": "instances.json", "row": 5 * n + row + 1, "class_id": 0, "class_name": "coin",
                "x1": x, "y1": y, "x2": x + w, "y2": y + h, "area": w * h, "crowd": False, "usable": True,
            })  # fmt: skip
    return DataFacts(
        root="data", format="coco", task="detection", images=table(IMAGES, images), boxes=table(BOXES, boxes),
        problems=table(PROBLEMS), classes=table(CLASSES, [{"class_id": 0, "class_name": "coin", "declared": True}]),
        ledger=table(LEDGER), tier_gathered=int(Tier.HEADERS),
    )  # fmt: skip


def classification_data(classes: int, side: int) -> DataFacts:
    """Twenty images of `side` px in each of `classes` classes."""
    images = [
        {
            "image": f"{c}/{n:03}.png", "split": "train", "class_name": f"c{c}", "listed": True, "exists": True, "bytes": 900,
            "format": "PNG", "mode": "RGB", "width": side, "height": side, "exif_orientation": 1, "complete": True,
            "hash": f"{c:08x}{n:024x}",
        }
        for c in range(classes) for n in range(20)
    ]  # fmt: skip
    names = [{"class_id": c, "class_name": f"c{c}", "declared": True} for c in range(classes)]
    return DataFacts(
        root="data", format="class-folders", task="classification", images=table(IMAGES, images), boxes=table(BOXES),
        problems=table(PROBLEMS), classes=table(CLASSES, names), ledger=table(LEDGER), tier_gathered=int(Tier.HEADERS),
    )  # fmt: skip


def _detector(low: float, high: float, **changes: Any) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        return [detection_data(low, high), examine(SmallDetector(**changes), (1, 3, 256, 256))]

    return make


def _classifier(classes: int, outputs: int, image: int, side: int) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        network = examine(SmallNet(outputs), (1, 3, side, side), task="classification")
        return [classification_data(classes, image), network]

    return make


def _run(batch: int) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        empty = RunFacts.empty_tables()
        # The run is reduced to what the rule reads, so that rules on curves have nothing to judge.
        empty["steps"] = table(STEPS, [{"step": n, "epoch": 0, "batch_size": batch} for n in range(8)])
        return [RunFacts(**empty), examine(SmallDetector(), (1, 3, 256, 256))]

    return make


CLEAN: Mapping[str, Subject] = {
    "detector": _detector(14, 70),
    "classifier": _classifier(10, 10, 32, 32),
    "run": _run(16),
}

SICK: Mapping[str, Subject] = {
    "objects-below-stride": _detector(3, 9),
    "objects-beyond-receptive-field": _detector(110, 200, depth=0, sides=(64.0, 128.0)),
    "head-class-count-mismatch": _classifier(10, 7, 32, 32),
    "anchors-miss-objects": _detector(14, 70, sides=(250.0, 300.0)),
    "input-upscaled": _classifier(10, 10, 16, 224),
    "batchnorm-tiny-batch": _run(2),
}

ALSO: Mapping[str, set[str]] = {}
