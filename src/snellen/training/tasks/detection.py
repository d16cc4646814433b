"""Detection: the detector's own loss, mAP at IoU 0.5."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from torch import Tensor, nn

from snellen.errors import UseError
from snellen.evaluation.detection import light_map50
from snellen.models.detection.base import Detector, Target
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
    """Boxes with labels, and masks where the dataset draws them."""

    loss_kind = "detection"
    metric_name = "mAP50"
    initial_loss_expected: float | None = None
    baseline_metric: float | None = 0.0

    def __init__(self, recipe: Recipe, class_names: Sequence[str], model: nn.Module) -> None:
        if not isinstance(model, Detector):
            raise UseError(f"{type(model).__name__} is no detector: derive it from snellen.models.detection.Detector")
        self.model = model
        self.class_names = list(class_names)

    def targets(self, batch: Batch) -> list[Target]:
        """One Target an image."""
        of_images = zip(batch.boxes, batch.labels, batch.masks, batch.seeds, strict=True)
        return [Target(b, k, m, s) for b, k, m, s in of_images]

    def loss(self, outputs: Any, targets: list[Target], replacement: LossFunction | None = None) -> BatchLoss:
        """The detector's terms; counts objects and positive anchors."""
        assignment = self.model.assign(outputs, targets)
        terms = (
            self.model.loss(outputs, targets, assignment)
            if replacement is None
            else as_terms(replacement(outputs, targets), len(targets))
        )
        return BatchLoss(terms, {"targets": float(assignment.objects), "positives": float(assignment.positives)})

    def judgeable(self, outputs: Any, targets: list[Target], images: Sequence[str]) -> list[Any]:
        """Rows of found boxes and of objects, both in input pixels: IoU does not mind the scale."""
        judged = []
        for image, target, found in zip(images, targets, self.model.detect(outputs), strict=True):
            guesses = self._rows(image, found.boxes, found.labels, found.scores)
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
