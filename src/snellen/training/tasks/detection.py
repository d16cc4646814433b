"""Detection: focal and GIoU loss, mAP at IoU 0.5."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from torch import Tensor, nn

from snellen.evaluation.detection import light_map50
from snellen.models.detection.ssdlite import Detections, Target, assign, detect, detection_loss
from snellen.training.recipe import Recipe
from snellen.training.samples import Batch
from snellen.training.tasks.base import BatchLoss, LossFunction, as_terms

GUESSES = {
    "image": pl.String(),
    "class_name": pl.String(),
    "score": pl.Float64(),
    **{side: pl.Float64() for side in ("x1", "y1", "x2", "y2")},
}


class DetectionTask:
    """Boxes with labels."""

    loss_kind = "focal"
    metric_name = "mAP50"
    initial_loss_expected: float | None = None
    baseline_metric: float | None = 0.0

    def __init__(self, recipe: Recipe, class_names: Sequence[str], model: nn.Module) -> None:
        self.model = model
        self.size = recipe.image_size
        self.class_names = list(class_names)

    def targets(self, batch: Batch) -> list[Target]:
        """One Target an image."""
        return [Target(b, k) for b, k in zip(batch.boxes, batch.labels, strict=True)]

    def loss(self, outputs: Detections, targets: list[Target], replacement: LossFunction | None = None) -> BatchLoss:
        """Focal and GIoU loss; counts objects and positive anchors."""
        assignment = assign(outputs, targets)
        terms = (
            detection_loss(outputs, targets, assignment)
            if replacement is None
            else as_terms(replacement(outputs, targets), len(targets))
        )
        return BatchLoss(terms, {"targets": float(assignment.objects), "positives": float(assignment.positives)})

    def judgeable(self, outputs: Detections, targets: list[Target], images: Sequence[str]) -> list[Any]:
        """Rows of found boxes and of objects, both in input pixels: IoU does not mind the scale."""
        found = detect(outputs, self.size, min_score=0.02)
        judged = []
        for image, target, (boxes, scores, labels) in zip(images, targets, found, strict=True):
            guesses = self._rows(image, boxes, labels, scores)
            judged.append((image, guesses, self._rows(image, target.boxes, target.labels, None)))
        return judged

    def metric(self, gathered: Sequence[Any]) -> float | None:
        """mAP at IoU 0.5 by COCO's rules; None when there is no object."""
        guesses = pl.DataFrame([row for _, rows, _ in gathered for row in rows], schema=GUESSES, orient="row")
        objects = pl.DataFrame([row for _, _, rows in gathered for row in rows], schema=GUESSES, orient="row")
        objects = objects.drop("score").with_columns(crowd=pl.lit(False))
        return light_map50(objects, guesses, self.class_names, images=[image for image, _, _ in gathered])

    def _rows(self, image: str, boxes: Tensor, labels: Tensor, scores: Tensor | None) -> list[tuple[Any, ...]]:
        names = [self.class_names[k] for k in labels.tolist()]
        given = scores.tolist() if scores is not None else [None] * len(names)
        return [(image, n, s, *b) for n, s, b in zip(names, given, boxes.tolist(), strict=True)]
