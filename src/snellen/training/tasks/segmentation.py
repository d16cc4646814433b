"""Semantic segmentation: a loss by name over class maps, and mean IoU.

Shapes: N images, K classes, S side of the input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.errors import UseError
from snellen.evaluation.pixel_confusion import count_pixels
from snellen.models.losses import class_weights, expected_at_start, named_loss
from snellen.training.class_maps import names_background
from snellen.training.recipe import Recipe
from snellen.training.samples import Batch, Samples
from snellen.training.tasks.base import BatchLoss, LossFunction, as_terms

LOSS_KINDS = {"ce": "cross-entropy"}
"""Name in a recipe -> as facts give it, where the two differ."""
MOST_COUNTED = 200
"""Images of which the pixels are counted; more are taken at equal distances."""


class SegmentationTask:
    """One class map an image; labels of 255 count nowhere."""

    def __init__(
        self,
        recipe: Recipe,
        class_names: Sequence[str],
        learned: NDArray[np.int64] | None = None,
        checked: NDArray[np.int64] | None = None,
    ) -> None:
        """The recipe's loss and metric.

        Args:
            recipe: Its loss, class weights and label smoothing.
            class_names: (K,).
            learned: (N, K) pixels of each class in training images, for class weights and the loss before learning.
            checked: (N, K) pixels of each class in validation images, for the baseline; None: it is not known.

        Raises:
            UseError: Class weights without a pixel to take them from.
        """
        self.classes = len(class_names)
        weights: Tensor | None = None
        if recipe.class_weights != "none":
            if learned is None or not learned.any():
                raise UseError(f"class_weights: {recipe.class_weights} needs labelled pixels, and there are none")
            weights = class_weights(torch.from_numpy(learned.sum(axis=0)), recipe.class_weights)
        options = {"focal": {"gamma": recipe.focal_gamma}, "ce": {"label_smoothing": recipe.label_smoothing}}
        self._loss = named_loss(recipe.loss, class_weights=weights, options=options)
        self.loss_kind = LOSS_KINDS.get(recipe.loss, recipe.loss)
        self.foreground = self.classes == 2 and names_background(class_names)
        self.metric_name = "foreground IoU" if self.foreground else "mIoU"
        self.initial_loss_expected = expected_at_start(
            recipe.loss, self.classes, gamma=recipe.focal_gamma, pixels_NK=learned if weights is None else None
        )
        self.baseline_metric = _best_constant(checked.sum(axis=0), self.foreground) if checked is not None else None

    def targets(self, batch: Batch) -> Tensor:
        """Class maps (N, S, S) int64."""
        if any(m is None for m in batch.masks):
            raise ValueError("an image of a segmentation batch has no class map")
        return torch.stack([m for m in batch.masks if m is not None]).long()

    def loss(self, outputs: Tensor, targets: Tensor, replacement: LossFunction | None = None) -> BatchLoss:
        """The loss of logits (N, K, S, S) and class maps (N, S, S)."""
        if replacement is not None:
            return BatchLoss(as_terms(replacement(outputs, targets), len(targets)))
        return BatchLoss(self._loss(outputs, targets))

    def judgeable(self, outputs: Tensor, targets: Tensor, images: Sequence[str]) -> list[Any]:
        """Each image's (K, K) pixel counts, labelled x predicted, as nested lists."""
        predicted = outputs.argmax(dim=1).cpu().numpy()
        true = targets.cpu().numpy()
        counted = [count_pixels(t, p, self.classes) for t, p in zip(true, predicted, strict=True)]
        return [c.confusion[:, :-1].tolist() for c in counted]

    def metric(self, gathered: Sequence[Any]) -> float | None:
        """Mean IoU of the classes labelled or predicted; IoU of the second of two where the first is background.

        None without labels.

        Pixels are pooled over the images at the size of the input: what is scored afterwards is at their own size.
        """
        if not gathered:
            return None
        confusion = np.sum([np.asarray(c, dtype=np.int64) for c in gathered], axis=0)
        return _headline(confusion, self.foreground) if confusion.any() else None


def class_pixels(samples: Samples, classes: int) -> NDArray[np.int64]:
    """(N, K) labelled pixels of each class at the size of the input, in up to `MOST_COUNTED` images."""
    rows = range(0, len(samples), max(1, -(-len(samples) // MOST_COUNTED)))
    maps = [m.numpy() for row in rows if (m := samples.plain(row).masks) is not None]
    counts = [np.bincount(m.ravel(), minlength=256)[:classes] for m in maps]
    return np.array(counts, dtype=np.int64).reshape(-1, classes)


def _headline(confusion: NDArray[np.int64], foreground: bool) -> float | None:
    hits = np.diagonal(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    if foreground:
        return float(hits[1] / union[1]) if union[1] else None
    there = union > 0
    return float((hits[there] / union[there]).mean())


def _best_constant(counts: NDArray[np.int64], foreground: bool) -> float | None:
    """The metric of the best class said everywhere, of (K,) pixels."""
    values = []
    for k in range(len(counts)):
        confusion = np.zeros((len(counts), len(counts)), dtype=np.int64)
        confusion[:, k] = counts
        values.append(_headline(confusion, foreground))
    return max((v for v in values if v is not None), default=None)
