"""Averages of the weights over a run: which one a recipe asks for, and the model that carries it for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from snellen.training.ema import AveragedWeights
from snellen.training.recipe import Recipe
from snellen.training.swa import StochasticAverage


class Average(Protocol):
    """Weights beside those that are trained."""

    values: dict[str, Tensor]
    """A state dict; empty as long as there is nothing to average."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Hear of an optimizer step."""

    def after_epoch(self, model: nn.Module) -> None:
        """Hear of the end of an epoch that is averaged."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""


def average_of(recipe: Recipe, model: nn.Module) -> Average | None:
    """The average that `recipe` asks for; None: the last weights count."""
    if recipe.ema_decay:
        return AveragedWeights(model, recipe.ema_decay)
    return StochasticAverage() if recipe.swa_epochs else None


def is_averaged(recipe: Recipe, epoch: int) -> bool:
    """Whether the end of `epoch` is one of those that stochastic weight averaging takes."""
    return epoch >= recipe.epochs - recipe.swa_epochs


@contextmanager
def carried(model: nn.Module, average: Average | None) -> Iterator[None]:
    """Within, `model` has the averaged weights, where there are any."""
    if average is None or not average.values:
        yield
        return
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.values)
    try:
        yield
    finally:
        model.load_state_dict(kept)
