"""Is the network more than one linear map?"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snellen.experiments.modes import in_mode
from snellen.experiments.nest import mapped
from snellen.experiments.subject import Row, Subject

CERTAIN = 1e-4
"""Relative distance below which the midpoint is taken for linear; float32 rounding through ten layers is about 1e-6."""


def midpoint(subject: Subject) -> Iterator[Row]:
    """`midpoint`: ||f((a+b)/2) - (f(a)+f(b))/2|| / ||f(a)-f(b)|| over pairs of samples, in eval mode; 0: linear.

    For a linear f also `linear-depth`: the number of weight layers in series, from how f(x) - f(0) grows when every
    weight matrix is multiplied by 2: as 2 to that power. The weights are put back.
    """
    if subject.count < 2 or not subject.float_inputs:
        yield subject.row("midpoint", None, detail="needs two samples of floating-point numbers")
        return
    with in_mode(subject.model, False):
        # From one sample to its neighbour may be a step within one linear region of a ReLU network: go beyond it.
        wide = mapped(subject.inputs, lambda t: 3 * t if t.is_floating_point() else t)
        other = mapped(wide, lambda t: -2 * t.roll(1, 0) if t.is_floating_point() else t)
        middle = mapped(wide, lambda t: (t - 2 * t.roll(1, 0)) / 2 if t.is_floating_point() else t)
        a, b, m = subject.table(wide), subject.table(other), subject.table(middle)
        apart = float((a - b).norm())
        if apart <= 1e-6 * float(a.norm()):
            yield subject.row("midpoint", None, detail="the outputs do not move with the input")
            return
        value = float((m - (a + b) / 2).norm()) / apart
        yield subject.row("midpoint", value, detail="distance from the chord, over its length")
        if value < CERTAIN:
            yield subject.row("linear-depth", _depth(subject), detail="weight layers in series")


def _depth(subject: Subject) -> float:
    weights = [p for p in subject.model.parameters() if p.dim() >= 2]
    kept = [w.detach().clone() for w in weights]
    before = _rise(subject)
    try:
        with torch.no_grad():
            for w in weights:
                w.mul_(2)
        after = _rise(subject)
    finally:
        with torch.no_grad():
            for w, value in zip(weights, kept, strict=True):
                w.copy_(value)
    ratio = float(after.norm() / before.norm().clamp_min(1e-30))
    return math.log2(ratio) if 0 < ratio < float("inf") else float("nan")


def _rise(subject: Subject) -> Tensor:
    zero = mapped(subject.inputs, lambda t: torch.zeros_like(t) if t.is_floating_point() else t)
    return subject.table() - subject.table(zero)


def weight_layers(model: nn.Module) -> int:
    """Modules with a weight matrix of their own."""
    return sum(any(p.dim() >= 2 for p in m.parameters(recurse=False)) for m in model.modules())
