"""Can the model learn one batch by heart?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.experiments.losses import blind_loss
from snellen.experiments.modes import DROPOUT, in_mode
from snellen.experiments.nest import tensors
from snellen.experiments.subject import Clock, Row, Subject

STEPS = 200
RATES = (3e-3, 3e-4)
"""Tried one after the other: small networks need the larger, deep ones without norm the smaller."""
SAMPLES = 16


def overfit_one_batch(subject: Subject, clock: Clock, steps: int = STEPS, samples: int = SAMPLES) -> Iterator[Row]:
    """Train the weights on at most 16 samples by Adam, without dropout, until they are fitted or time is out.

    `overfit-loss`: last loss over first, with the steps taken as `setting`. `overfit-score`: share of samples whose
    class is found, or share of the targets' variance that is explained; null for other losses. `overfit-plateau`: the
    loss at the end over that at half-time. `overfit-gradient`: the gradient's norm at the end over that at the start.
    The weights are left as trained: `restored` puts them back.
    """
    few = subject.smaller(samples)
    parameters = [p for p in few.model.parameters() if p.requires_grad]
    if not parameters:
        yield subject.row("overfit-loss", None, detail="nothing is trainable")
        return
    start = [p.detach().clone() for p in parameters]
    best: Fitted | None = None
    for number, rate in enumerate(RATES):
        if number:
            with torch.no_grad():
                for p, value in zip(parameters, start, strict=True):
                    p.copy_(value)
        found = _fit(few, parameters, rate, steps, clock.part(clock.left * (0.8 if number == 0 else 1.0)))
        if found is not None and (best is None or found.ratio < best.ratio):
            best = found
        if (best is not None and (best.score or 0) >= 0.99) or clock.left <= 0:
            break
    if best is None:
        yield subject.row("overfit-loss", None, detail="the loss is not finite, or has no gradient")
        return
    taken = float(best.steps)
    detail = f"{few.count} samples, {best.steps} steps of Adam without dropout"
    yield subject.row("overfit-loss", best.ratio, setting=taken, detail=detail)
    yield subject.row("overfit-score", best.score, setting=taken, expected=1.0, detail=detail)
    yield subject.row("overfit-plateau", best.plateau, setting=taken, detail="last loss over that at half-time")
    yield subject.row("overfit-gradient", best.gradient, setting=taken, detail="last gradient norm over the first")


@dataclass(frozen=True)
class Fitted:
    """What came of one attempt."""

    ratio: float
    """Last loss over first."""
    score: float | None
    steps: int
    plateau: float
    """Median loss of the last tenth over that of the tenth before half-time."""
    gradient: float
    """Last gradient norm over the first."""


def _fit(subject: Subject, parameters: list[nn.Parameter], rate: float, steps: int, clock: Clock) -> "Fitted | None":
    optimizer = torch.optim.Adam(parameters, lr=rate)
    losses: list[float] = []
    norms: list[float] = []
    score: float | None = None
    with in_mode(subject.model, True), torch.enable_grad():
        for module in subject.model.modules():
            if isinstance(module, DROPOUT):
                module.eval()
        for step in range(steps):
            outputs = subject.outputs()
            loss = subject.loss(outputs)
            value = float(loss.detach())
            if not loss.requires_grad or not math.isfinite(value):
                break
            losses.append(value)
            looking = step % 10 == 9 or step == steps - 1 or clock.left <= 0
            pull = _pull(loss, outputs) if looking else None
            optimizer.zero_grad()
            loss.backward()
            norms.append(_norm(parameters))
            if looking:
                score = batch_score(outputs, subject, value, pull)
                if (score is not None and score >= 0.999 and abs(value) < 0.1 * abs(losses[0])) or clock.left <= 0:
                    break
            optimizer.step()
    if not losses or losses[0] == 0:
        return None
    tenth = max(len(losses) // 10, 1)
    middle = losses[max(len(losses) // 2 - tenth, 0) : max(len(losses) // 2, 1)]
    half, late = sorted(middle)[len(middle) // 2], sorted(losses[-tenth:])[tenth // 2]
    plateau = late / half if half else 1.0
    return Fitted(losses[-1] / losses[0], score, len(losses), plateau, norms[-1] / norms[0] if norms[0] else 0.0)


def _norm(parameters: list[nn.Parameter]) -> float:
    grads = [p.grad.detach().float() for p in parameters if p.grad is not None and p.grad.layout == torch.strided]
    return float(torch.stack(torch._foreach_norm(grads)).norm()) if grads else 0.0


def _pull(loss: Tensor, outputs: object) -> Tensor | None:
    """dloss/doutput; None where there is no single output tensor behind the loss."""
    out = next((t for t in tensors(outputs) if t.is_floating_point() and t.dim() and t.requires_grad), None)
    return None if out is None else torch.autograd.grad(loss, out, retain_graph=True, allow_unused=True)[0]


def batch_score(outputs: object, subject: Subject, value: float, pull: Tensor | None = None) -> float | None:
    """Share of right classes (cross-entropy, binary cross-entropy) or of explained variance (squared error).

    None for a loss that is none of these, or targets that are not one tensor. With `pull`, dloss/doutput, wrong answers
    that the loss does not pull at (padding that it ignores) are not counted.
    """
    name = blind_loss(subject, outputs, value)[1]
    out = next((t.detach().float() for t in tensors(outputs) if t.is_floating_point() and t.dim()), None)
    target = next(iter(tensors(subject.targets)), None)
    if out is None or target is None:
        return None
    if name in ("cross-entropy", "softmax of classes"):
        axis = 1 if out.shape[:1] + out.shape[2:] == target.shape else -1
        counted, right = (target >= 0) & (target < out.shape[axis]), out.argmax(axis) == target
        if pull is not None and pull.shape == out.shape:
            counted = counted & (right | (pull != 0).any(axis))
        return float(right[counted].float().mean()) if bool(counted.any()) else None
    if name == "bce-with-logits":
        return float(((out > 0) == (target > 0.5)).float().mean())
    spread = float(target.float().var(correction=0)) if target.numel() > 1 else 0.0
    return 1 - float((out - target).square().mean()) / spread if name == "mse" and spread > 1e-12 else None
