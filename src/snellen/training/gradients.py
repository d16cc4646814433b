"""The gradient of one batch, computed whole or in parts, by one process or by several: the same either way."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from snellen.training.distributed import sum_over_ranks
from snellen.training.tasks.base import LossFunction, Task, forward, forward_arguments
from snellen.training.weights_ahead import weights_ahead

COUNTED = ("correct", "targets", "positives")
"""What a task counts beside its loss, of which the trainer keeps account."""


class Gradients:
    """Backward passes of a network under a task's loss."""

    def __init__(
        self, net: nn.Module, model: nn.Module, task: Task, accelerator: Accelerator, loss: LossFunction | None
    ) -> None:
        """`net` is `model` as the processes share it; `loss` takes the place of the task's."""
        self.net, self.model, self.task, self.accelerator, self.loss = net, model, task, accelerator, loss

    def add(self, parts: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, list[float]]:
        """Add the gradient of the batch's loss to the parameters; `parts` are (input, targets) of this process.

        Returns this process's share of the loss, a float64 scalar, and of the counts (`COUNTED`).
        """
        # What is divided by is the count of the whole batch, over its parts and over the processes, so that the sum of
        # all their losses is the batch's loss.
        ahead: Tensor | None = None
        if len(parts) > 1:
            known = [(forward_arguments(self.model, x, targets), targets) for x, targets in parts]
            ahead = _together(list(weights_ahead(self.task, self.model, known, self.loss).values()))
        loss = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        counts = [0.0] * len(COUNTED)
        for number, (x, targets) in enumerate(parts, 1):
            # Processes exchange gradients once, when the last part's are in.
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(self.net):
                outputs = forward(self.net, self.model, x, targets)
                found = self.task.loss(outputs, targets, self.loss)
                weights = ahead if ahead is not None else _together([t.weight for t in found.terms.values()])
                mine = torch.stack([t.total for t in found.terms.values()]).div(weights).sum()
                # DDP averages over processes; we want their sum.
                self.accelerator.backward(mine * self.accelerator.num_processes)
            loss = loss + mine.detach()
            counts = [n + found.counts.get(name, 0.0) for n, name in zip(counts, COUNTED, strict=True)]
        return loss, counts

    def clip(self, limit: float | None) -> Tensor | None:
        """Scale the gradients to a global L2 norm of at most `limit`; returns the norm before."""
        norm: Tensor | None = self.accelerator.clip_grad_norm_(self.model.parameters(), limit or math.inf)
        return norm


def _together(weights: Sequence[Tensor]) -> Tensor:
    """The weights over all processes, at least 1 each, float32."""
    mine = torch.stack([weight.detach().to(torch.float64) for weight in weights])
    return sum_over_ranks(mine).clamp(min=1).to(torch.float32)
