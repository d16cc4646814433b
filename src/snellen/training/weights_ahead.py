"""What the terms of a loss are divided by, known before the first part of a batch is computed.

A term is a sum and a weight, and the loss of a batch divides by the weight of the whole. Where a batch is computed
in parts, each part's gradient needs that weight although the later parts have not been looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from snellen.training import checkpoint
from snellen.training.tasks.base import LossFunction, Task


@runtime_checkable
class WeighsByTargets(Protocol):
    """A task whose targets alone decide the weights."""

    def weights(self, targets: Any, replacement: LossFunction | None) -> Mapping[str, Tensor] | None:
        """Weight of each term of the loss of these targets; None where the outputs have a say."""


def weights_ahead(
    task: Task, model: nn.Module, parts: Sequence[tuple[Any, Any]], replacement: LossFunction | None
) -> dict[str, Tensor]:
    """Sum over `parts`, (arguments of the forward pass, targets), of the weights of each term.

    Where the targets do not decide them, the parts run through the network once without gradient, with the very random
    numbers that the step will draw; buffers and generators are put back.
    """
    found: dict[str, Tensor] = {}

    def add(weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            found[name] = found[name] + weight.detach() if name in found else weight.detach()

    if isinstance(task, WeighsByTargets):
        known = [task.weights(targets, replacement) for _, targets in parts]
        if all(weights is not None for weights in known):
            for weights in known:
                add(weights or {})
            return found
    with rehearsed(model), torch.no_grad():
        for arguments, targets in parts:
            # Not the call, so that whoever watches the run's passes does not take this for one.
            terms = task.loss(model.forward(*arguments), targets, replacement).terms
            add({name: term.weight for name, term in terms.items()})
    return found


@contextmanager
def rehearsed(model: nn.Module) -> Iterator[None]:
    """On leaving, buffers and generators are as they were."""
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    randoms = checkpoint.random_states()
    try:
        yield
    finally:
        checkpoint.restore_random_states(randoms)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
