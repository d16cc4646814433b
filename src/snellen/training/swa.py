"""Stochastic weight averaging (Izmailov 2018, arXiv:1803.05407, algorithm 1): the mean of weights at epochs' ends."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class StochasticAverage:
    """The running mean of a model's state; `values` is a state dict, empty until the first epoch is in it."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.count = 0

    def after_step(self, model: nn.Module, step: int) -> None:
        """Nothing: epochs count."""

    @torch.no_grad()
    def after_epoch(self, model: nn.Module) -> None:
        """w_swa <- (w_swa n + w) / (n + 1), algorithm 1; what is counted and not measured is taken as it is."""
        self.count += 1
        for name, now in model.state_dict().items():
            if self.count == 1 or not now.is_floating_point():
                self.values[name] = now.detach().clone()
            else:
                self.values[name] += (now - self.values[name]) / self.count

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"values": self.values, "count": self.count}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""
        self.values = {k: v.to(device) for k, v in state["values"].items()}
        self.count = state["count"]


def has_batchnorm(model: nn.Module) -> bool:
    """Whether some layer keeps statistics of batches, which those of averaged weights are not."""
    return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in model.modules())


@contextmanager
def counting_anew(model: nn.Module) -> Iterator[None]:
    """Within, forward passes in train mode make the running statistics anew: their mean over the batches seen.

    The statistics of frozen norms, which are in eval mode, stay.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None and m.training]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def renew_batchnorm(model: nn.Module, inputs: Iterable[Any]) -> None:
    """Take the running statistics of `model`, which is in train mode, anew from `inputs` (tuples of arguments)."""
    with counting_anew(model):
        for arguments in inputs:
            model.forward(*arguments)  # Not the call: whoever watches the run's passes is not meant.
