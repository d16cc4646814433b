"""The first batches of a training with its network, loss and optimizer, to try something on before it begins."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.data.facts import DataFacts
from snellen.training.engine import Normaliser
from snellen.training.folds import split_of
from snellen.training.optimizers import make_optimizer
from snellen.training.prepare import build_model
from snellen.training.recipe import Recipe
from snellen.training.samples import Samples, collate, epoch_batches
from snellen.training.tasks import task_of
from snellen.training.tasks.base import LossFunction


@dataclass(frozen=True)
class Rehearsal:
    """What a training by a recipe would begin with."""

    network: nn.Module
    batches: list[tuple[Tensor, Any]]
    """(input as the network gets it, targets) of the first batches; fewer images where some cannot be read."""
    loss_fn: Callable[[Any, Any], Tensor]
    """(outputs, targets) -> the loss of the batch, a scalar."""
    optimizer: Optimizer


def rehearsal_of(
    data: DataFacts,
    recipe: Recipe,
    *,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    batches: int = 1,
    device: torch.device | None = None,
) -> Rehearsal:
    """The network of the recipe, built anew on `device`, or `model` where it is; and up to `batches` first batches.

    Draws from torch's global generator. Raises UseError when there is nothing to train on.
    """
    split = split_of(data, recipe)
    network = model if model is not None else build_model(data, recipe, split)
    if device is not None:
        network.to(device)
    where = next(network.parameters()).device
    normalise = Normaliser(recipe, where)
    cut = epoch_batches(len(split.train), recipe.batch_size, recipe.seed, 0)[:batches]
    found: list[tuple[Tensor, Any]] = []
    task = None
    for rows in cut:
        samples = Samples(Path(data.root), [split.train[int(i)] for i in rows], recipe, augment=True)
        if len(samples):
            task = task or task_of(recipe, split, network, samples)
            batch = collate([samples[i] for i in range(len(samples))]).to(where)
            found.append((normalise(batch.images), task.targets(batch)))

    def loss_fn(outputs: Any, wanted: Any) -> Tensor:
        if task is None:
            raise ValueError("no image could be read")
        terms = task.loss(outputs, wanted, loss).terms.values()
        return torch.stack([t.total / t.weight.clamp(min=1) for t in terms]).sum()

    return Rehearsal(network, found, loss_fn, make_optimizer(network, recipe))
