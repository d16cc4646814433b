"""Healthy pairs of subjects, and each joint rule's defect put into one."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from snellen.data.examine import examine as examine_data
from snellen.data.facts import DataFacts
from snellen.facts import Facts, table
from snellen.findings import Tier
from snellen.network.examine import examine
from snellen.watching.facts import STEPS, RunFacts
from tests.network.models import SmallDetector, SmallNet

Subject = Callable[[Path], list[Facts]]


def detection_data(folder: Path, low: float, high: float, side: int = 256, count: int = 40, wide: int = 1) -> DataFacts:
    """A COCO set of `count` images of `side` px, `wide` times as wide as high.

    Five near-square objects each, sides uniform in `low..high` px.
    """
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for n in range(count):
        _noise(folder / "data" / "images" / f"{n:03}.png", side, rng, wide)
        images.append({"id": n, "file_name": f"images/{n:03}.png", "width": side * wide, "height": side})
        for _ in range(5):
            w, h = (float(v) for v in rng.uniform(low, high, 2).round(2))
            x, y = (round(float(rng.uniform(1, side - v - 1)), 2) for v in (w, h))
            boxes.append({
                "id": len(boxes) + 1, "image_id": n, "category_id": 1, "bbox": [x, y, w, h], "area": w * h,
                "iscrowd": 0,
            })  # fmt: skip
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "coin"}]}
    (folder / "data" / "train.json").write_text(json.dumps(document), encoding="utf-8")
    return examine_data(folder / "data", tier=Tier.HEADERS)


def classification_data(folder: Path, classes: int, side: int) -> DataFacts:
    """Class folders with twenty images of `side` px in each of `classes` classes, in train and val."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 15), ("val", 5)):
        for c in range(classes):
            for n in range(count):
                _noise(folder / "data" / split / f"class{c}" / f"{n:03}.png", side, rng)
    return examine_data(folder / "data", tier=Tier.HEADERS)


def _noise(path: Path, side: int, rng: np.random.Generator, wide: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (side * wide, side)))


def _detector(low: float, high: float, **changes: Any) -> Subject:
    def make(folder: Path) -> list[Facts]:
        torch.manual_seed(0)
        return [detection_data(folder, low, high), examine(SmallDetector(**changes), (1, 3, 256, 256))]

    return make


def _wide(folder: Path) -> list[Facts]:
    torch.manual_seed(0)
    return [detection_data(folder, 30, 120, wide=2), examine(SmallDetector(), (1, 3, 256, 256))]


def _classifier(classes: int, outputs: int, image: int, side: int) -> Subject:
    def make(folder: Path) -> list[Facts]:
        torch.manual_seed(0)
        network = examine(SmallNet(outputs), (1, 3, side, side), task="classification")
        return [classification_data(folder, classes, image), network]

    return make


def _coarse_stem(folder: Path) -> list[Facts]:
    """Small objects in front of a stem that strides by eight at once."""
    torch.manual_seed(0)
    model = SmallNet(1)
    model.pool = torch.nn.MaxPool2d(8)
    return [detection_data(folder, 3, 9), examine(model, (1, 3, 256, 256))]


def _run(batch: int) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        model = SmallDetector()
        tables = RunFacts.empty_tables()
        tables["steps"] = table(STEPS, list(_train(model, batch)))
        return [RunFacts(**tables), examine(model, (1, 3, 256, 256))]

    return make


def _train(model: torch.nn.Module, batch: int) -> Iterator[dict[str, Any]]:
    """Eight real steps towards constant maps, recorded as rows of the steps table."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(8):
        loss = torch.stack([((out - 1) ** 2).mean() for out in model(torch.rand(batch, 3, 64, 64))]).sum()
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9))
        optimizer.step()
        yield {
            "step": step, "epoch": 0,
            "loss": float(loss.detach()), "lr": 0.01, "grad_norm": norm, "batch_size": batch,
            "training_mode": True, "grads_before_backward": False, "seconds": 0.1, "data_seconds": 0.0,
            "skipped": False,
        }  # fmt: skip


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
    "letterbox-waste": _wide,
    "downsampled-too-early": _coarse_stem,
    "batchnorm-tiny-batch": _run(2),
}

ALSO: Mapping[str, set[str]] = {}
