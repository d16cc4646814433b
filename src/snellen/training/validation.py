"""Validation loss and metric of a model, shared by the processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from snellen.training.distributed import gather_objects
from snellen.training.engine import Normaliser
from snellen.training.recipe import Recipe
from snellen.training.samples import Samples, collate
from snellen.training.tasks.base import LossFunction, Task, forward


@torch.no_grad()
def validate(
    model: nn.Module,
    task: Task,
    samples: Samples,
    images: Sequence[str],
    recipe: Recipe,
    accelerator: Accelerator,
    normalise: Normaliser,
    loss: LossFunction | None,
) -> tuple[float, float | None]:
    """Validation loss (same normalisation as in training) and metric of `model`, left in eval mode.

    `images` are the keys of `samples`. Every process gets the result of all.
    """
    model.eval()
    mine = np.arange(len(samples))[accelerator.process_index :: accelerator.num_processes]
    totals: dict[str, list[float]] = {}
    judged: list[Any] = []
    size = max(1, 2 * recipe.batch_size // recipe.accumulate)
    for begin in range(0, len(mine), size):
        rows = mine[begin : begin + size]
        batch = collate([samples[int(i)] for i in rows]).to(accelerator.device)
        targets = task.targets(batch)
        with accelerator.autocast():
            outputs = forward(model, model, normalise(batch.images), targets)
        for name, term in task.loss(outputs, targets, loss).terms.items():
            entry = totals.setdefault(name, [0.0, 0.0])
            entry[0] += float(term.total)
            entry[1] += float(term.weight)
        judged += task.judgeable(outputs, targets, [images[int(i)] for i in rows])
    gathered = gather_objects((totals, judged))
    names = {name for part, _ in gathered for name in part}
    value = 0.0
    for name in sorted(names):
        parts = [part[name] for part, _ in gathered if name in part]
        value += sum(p[0] for p in parts) / max(1.0, sum(p[1] for p in parts))
    return value, task.metric([item for _, part in gathered for item in part])
