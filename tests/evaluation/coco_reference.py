"""Random detection cases, and what pycocotools makes of them."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@dataclass
class Case:
    """Object and detection arrays as `match_boxes` takes them."""

    object_boxes: np.ndarray
    object_classes: np.ndarray
    object_images: np.ndarray
    object_crowd: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    images: np.ndarray
    scores: np.ndarray
    num_classes: int
    num_images: int

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        """Positional arguments of `match_boxes`."""
        areas = self.object_boxes[:, 2] * self.object_boxes[:, 3]
        return (
            self.object_boxes,
            self.object_classes,
            self.object_images,
            self.object_crowd,
            areas,
            self.boxes,
            self.classes,
            self.images,
            self.scores,
        )


def random_case(
    rng: np.random.Generator,
    num_images: int = 12,
    num_classes: int = 4,
    objects: int = 60,
    per_object: float = 1.5,
    noise: int = 60,
    crowd: float = 0.1,
    ties: bool = False,
    size: float = 640.0,
) -> Case:
    """Objects with jittered, misclassified and spurious detections; `ties` rounds scores to one digit."""
    wh = np.exp(rng.uniform(np.log(6), np.log(size / 2), (objects, 2)))
    object_boxes = np.hstack([rng.uniform(0, size / 2, (objects, 2)), wh])
    object_classes = rng.integers(0, num_classes, objects)
    object_images = rng.integers(0, num_images, objects)
    source = rng.integers(0, max(objects, 1), int(objects * per_object)) if objects else np.zeros(0, dtype=np.int64)
    jitter = rng.normal(0, rng.choice([0.0, 0.03, 0.15], len(source))[:, None], (len(source), 4))
    near = object_boxes[source] + jitter * np.tile(wh[source], 2)
    near[:, 2:] = np.maximum(near[:, 2:], 1.0)
    wrong = rng.random(len(source)) < 0.15
    near_classes = np.where(wrong, rng.integers(0, num_classes, len(source)), object_classes[source])
    far = np.hstack([rng.uniform(0, size / 2, (noise, 2)), np.exp(rng.uniform(1.5, np.log(size / 2), (noise, 2)))])
    boxes = np.vstack([near, far])
    scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(2, 4, noise)])
    order = rng.permutation(len(boxes))
    return Case(
        object_boxes,
        object_classes.astype(np.int64),
        object_images.astype(np.int64),
        rng.random(objects) < crowd,
        boxes[order],
        np.concatenate([near_classes, rng.integers(0, num_classes, noise)]).astype(np.int64)[order],
        np.concatenate([object_images[source], rng.integers(0, num_images, noise)]).astype(np.int64)[order],
        (np.round(scores, 1) if ties else scores)[order],
        num_classes,
        num_images,
    )


def pycocotools_eval(case: Case, first_id: int = 1, gap: int = 1, max_dets: tuple[int, ...] = (1, 10, 100)) -> COCOeval:
    """Run pycocotools; image and class ids start at `first_id` with steps of `gap`."""

    def ident(values: np.ndarray) -> list[int]:
        return [int(first_id + gap * v) for v in values]

    document: dict[str, Any] = {
        "images": [{"id": i, "width": 9999, "height": 9999} for i in ident(np.arange(case.num_images))],
        "categories": [{"id": i, "name": str(i)} for i in ident(np.arange(case.num_classes))],
        "annotations": [
            {
                "id": n + 1,
                "image_id": i,
                "category_id": c,
                "bbox": [float(v) for v in b],
                "area": float(b[2] * b[3]),
                "iscrowd": int(k),
            }
            for n, (b, c, i, k) in enumerate(
                zip(
                    case.object_boxes,
                    ident(case.object_classes),
                    ident(case.object_images),
                    case.object_crowd,
                    strict=True,
                )
            )
        ],
    }
    results = [
        {"image_id": i, "category_id": c, "bbox": [float(v) for v in b], "score": float(s)}
        for b, c, i, s in zip(case.boxes, ident(case.classes), ident(case.images), case.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        reference = COCOeval(truth, truth.loadRes(results), "bbox")
        reference.params.maxDets = list(max_dets)
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    return reference
