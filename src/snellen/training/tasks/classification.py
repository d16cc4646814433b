"""Classification: cross-entropy and accuracy."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from snellen.models.loss import LossTerm
from snellen.training.recipe import Recipe
from snellen.training.samples import Batch
from snellen.training.splits import Example
from snellen.training.tasks.base import BatchLoss, LossFunction, as_terms


class ClassificationTask:
    """One label an image."""

    loss_kind = "cross-entropy"
    metric_name = "accuracy"

    def __init__(self, recipe: Recipe, class_names: Sequence[str], val: Sequence[Example] = ()) -> None:
        self.smoothing = recipe.label_smoothing
        # Uniform guesses cost ln C, with or without label smoothing.
        self.initial_loss_expected: float | None = math.log(len(class_names))
        shares = torch.bincount(torch.tensor([e.label for e in val], dtype=torch.int64)) if val else None
        self.baseline_metric = float(shares.max() / shares.sum()) if shares is not None else None

    def targets(self, batch: Batch) -> Tensor:
        """Labels (N,) int64."""
        return torch.cat(batch.labels)

    def loss(self, outputs: Tensor, targets: Tensor, replacement: LossFunction | None = None) -> BatchLoss:
        """Cross-entropy of logits (N, C) with labels (N,), summed over images."""
        images = len(targets)
        if replacement is not None:
            terms = as_terms(replacement(outputs, targets), images)
        else:
            total = cross_entropy(outputs.float(), targets, reduction="sum", label_smoothing=self.smoothing)
            terms = {"classes": LossTerm(total, total.new_tensor(float(images)).detach())}
        correct = (outputs.detach().argmax(dim=1) == targets).sum()
        return BatchLoss(terms, {"correct": float(correct)})

    def judgeable(self, outputs: Tensor, targets: Tensor, images: Sequence[str]) -> list[Any]:
        """Whether each image's class was found."""
        return [int(right) for right in (outputs.argmax(dim=1) == targets).tolist()]

    def metric(self, gathered: Sequence[Any]) -> float | None:
        """Share of images whose class was found."""
        return sum(gathered) / len(gathered) if gathered else None
