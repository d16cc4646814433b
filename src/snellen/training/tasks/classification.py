"""Classification: a loss by name, cross-entropy unless the recipe says otherwise, and accuracy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snellen.models.losses import class_weights, expected_at_start, named_loss
from snellen.training.recipe import Recipe
from snellen.training.samples import Batch
from snellen.training.splits import Example
from snellen.training.tasks.base import BatchLoss, LossFunction, as_terms

LOSS_KINDS = {"ce": "cross-entropy"}
"""Name in a recipe -> as facts give it, where the two differ."""


class ClassificationTask:
    """One label an image, or shares of labels where images are mixed."""

    metric_name = "accuracy"

    def __init__(
        self,
        recipe: Recipe,
        class_names: Sequence[str],
        val: Sequence[Example] = (),
        train: Sequence[Example] = (),
    ) -> None:
        """Class weights come from the labels of `train`, the baseline from those of `val`.

        Raises UseError for a loss that single labels cannot have.
        """
        weights: Tensor | None = None
        if recipe.class_weights != "none":
            weights = class_weights(_counts(train, len(class_names)), recipe.class_weights)
        options = {"focal": {"gamma": recipe.focal_gamma}, "ce": {"label_smoothing": recipe.label_smoothing}}
        self._loss = named_loss(recipe.loss, class_weights=weights, maps=False, options=options)
        self._classes = len(class_names)
        # Which labels are the hardest is up to the network.
        self._by_labels = "ohem-ce" not in recipe.loss.split("+")
        self.loss_kind = LOSS_KINDS.get(recipe.loss, recipe.loss)
        # Uniform guesses cost ln C, with or without label smoothing and weights.
        self.initial_loss_expected = expected_at_start(recipe.loss, len(class_names), gamma=recipe.focal_gamma)
        shares = _counts(val, len(class_names))
        self.baseline_metric = float(shares.max() / shares.sum()) if val else None

    def targets(self, batch: Batch) -> Tensor:
        """Labels (N,) int64, or (N, C) float32 shares that add up to 1."""
        return torch.cat(batch.labels)

    def loss(self, outputs: Tensor, targets: Tensor, replacement: LossFunction | None = None) -> BatchLoss:
        """The loss of logits (N, C) with labels (N,) or shares (N, C); counts images whose (largest) class is found."""
        terms = (
            self._loss(outputs, targets)
            if replacement is None
            else as_terms(replacement(outputs, targets), len(targets))
        )
        labels = targets.argmax(dim=1) if targets.is_floating_point() else targets
        correct = (outputs.detach().argmax(dim=1) == labels).sum()
        return BatchLoss(terms, {"correct": float(correct)})

    def weights(self, targets: Tensor, replacement: LossFunction | None = None) -> dict[str, Tensor] | None:
        """What each term of the loss is divided by, which the labels alone decide; None where they do not."""
        if replacement is not None or not self._by_labels:
            return None
        logits = torch.zeros(len(targets), self._classes, device=targets.device)
        return {name: term.weight for name, term in self._loss(logits, targets).items()}

    def judgeable(self, outputs: Tensor, targets: Tensor, images: Sequence[str]) -> list[Any]:
        """Whether each image's class was found."""
        return [int(right) for right in (outputs.argmax(dim=1) == targets).tolist()]

    def metric(self, gathered: Sequence[Any]) -> float | None:
        """Share of images whose class was found."""
        return sum(gathered) / len(gathered) if gathered else None


def _counts(examples: Sequence[Example], classes: int) -> Tensor:
    return torch.bincount(torch.tensor([e.label for e in examples], dtype=torch.int64), minlength=classes)
