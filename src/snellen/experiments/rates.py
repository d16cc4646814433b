"""What the learning rate does: a few steps at a tenth, once and ten times, and a sweep over all rates."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from snellen.experiments.modes import in_mode
from snellen.experiments.snapshot import restored
from snellen.experiments.subject import CannotRunError, Clock, Row, Subject

FACTORS = (0.1, 1.0, 10.0)
TRIAL_STEPS = 5
SWEEP = (1e-7, 1.0)
SWEEP_STEPS = 60
LEAST_SWEEP = 10
SMOOTHING = 0.9
DIVERGED = 4.0
"""A smoothed loss above this many times the best ends the sweep (Howard & Gugger's learning-rate finder)."""


def rate_trials(subject: Subject, clock: Clock) -> Iterator[Row]:
    """`lr-trial`: loss after 5 steps (fewer, where time is short) on the batch over the loss before.

    `setting` is the factor on every group's rate. Both losses in train mode without dropout, so that one mask does not
    decide; the optimizer is the user's, and is put back after each factor.
    """
    optimizer = subject.optimizer
    if optimizer is None:
        yield subject.row("lr-trial", None, detail="no optimizer was given")
        return
    rates = ", ".join(f"{g['lr']:g}" for g in optimizer.param_groups if "lr" in g)
    # A step is a forward pass and a backward of twice its length; before and after, the loss is taken once.
    steps = int(min(TRIAL_STEPS, (clock.passes(subject.count) / len(FACTORS) - 2) / 3))
    for factor in FACTORS:
        if clock.left <= 0 or steps < 1:
            yield subject.row("lr-trial", None, setting=factor, detail="left out: time")
            continue
        with restored(subject.model, optimizer):
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * factor
            before = _calm_loss(subject)
            taken = 0
            for _ in range(steps):
                if not math.isfinite(_step(subject, optimizer)):
                    break
                taken += 1
                if clock.left <= 0:
                    break
            after = _calm_loss(subject)
        value = after / before if before else math.nan
        value = value if math.isfinite(value) else math.inf
        detail = f"{taken} steps on one batch at {factor:g} x lr {rates}"
        yield subject.row("lr-trial", value, setting=factor, expected=None, detail=detail)


def rate_range(subject: Subject, clock: Clock, batches: Sequence[Subject] = ()) -> Iterator[Row]:
    """`lr-range`: the smoothed loss at each rate of an exponential sweep, and `lr-suggestion`, where it falls fastest.

    Smith 2017, "Cyclical Learning Rates" (arXiv:1506.01186), section 3.3; smoothing and the end of the sweep as in the
    learning-rate finder of fast.ai. The batches are taken in turn. Rates go from 1e-7 to 1; the sweep ends early
    where the loss has left its best value by a factor of four. `setting` is the rate.
    """
    optimizer = subject.optimizer
    if optimizer is None:
        yield subject.row("lr-suggestion", None, detail="no optimizer was given")
        return
    if clock.passes(subject.count) < 3 * LEAST_SWEEP:
        yield subject.row("lr-suggestion", None, detail=f"left out: time for less than {LEAST_SWEEP} steps")
        return
    # A part of the batch stands for what a batch of the loader would cost too much for.
    turn = batches if batches and subject.count == batches[0].count else (subject,)
    points: list[tuple[float, float]] = []
    smooth = best = math.nan
    base = max((g["lr"] for g in optimizer.param_groups), default=0.0)
    # Groups keep their proportion to each other.
    shares = [g["lr"] / base if base else 1.0 for g in optimizer.param_groups]
    with restored(subject.model, optimizer):
        began, steps = clock.left, SWEEP_STEPS
        number = 0
        while number < steps and clock.left > 0:
            rate = SWEEP[0] * (SWEEP[1] / SWEEP[0]) ** (number / (steps - 1))
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            loss = _step(turn[number % len(turn)], optimizer)
            if not math.isfinite(loss):
                break
            smooth = loss if number == 0 else SMOOTHING * smooth + (1 - SMOOTHING) * loss
            best = smooth if number == 0 else min(best, smooth)
            points.append((rate, loss))
            if number > 5 and smooth > best + (DIVERGED - 1) * abs(best):
                break
            number += 1
            if number == 2:
                # Few steps that span the whole range say more than many that stop at tiny rates.
                each = (began - clock.left) / 2
                steps = max(LEAST_SWEEP, min(SWEEP_STEPS, int(began / max(each, 1e-6))))
    points = smoothed(points)
    for rate, level in points:
        yield subject.row("lr-range", level, setting=rate, detail="smoothed loss at this rate")
    yield subject.row("lr-suggestion", suggested(points), detail=f"steepest fall over {len(points)} rates")


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The median of three, then the mean of five neighbours; centred, so that the fall stays at its rate."""
    levels = [level for _, level in points]
    calm = [sorted(levels[max(0, i - 1) : i + 2])[len(levels[max(0, i - 1) : i + 2]) // 2] for i in range(len(levels))]
    means = [sum(part) / len(part) for part in (calm[max(0, i - 2) : i + 3] for i in range(len(calm)))]
    return [(rate, level) for (rate, _), level in zip(points, means, strict=True)]


def suggested(points: Sequence[tuple[float, float]]) -> float | None:
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate; None when it never falls."""
    usable = [(math.log(rate), level) for rate, level in points]
    if len(usable) < 8:
        return None
    lowest = min(range(len(usable)), key=lambda i: usable[i][1])
    slopes = [
        ((usable[i + 1][1] - usable[i - 1][1]) / (usable[i + 1][0] - usable[i - 1][0]), i)
        for i in range(1, min(lowest + 1, len(usable) - 1))
    ]
    slope, at = min(slopes, default=(0.0, 0))
    return math.exp(usable[at][0]) if slope < 0 else None


def _step(subject: Subject, optimizer: Optimizer) -> float:
    """One step in train mode; the loss before it, or NaN when it has no gradient."""
    with in_mode(subject.model, True), torch.enable_grad():
        try:
            loss = subject.loss()
        except CannotRunError:
            return math.nan
        if not loss.requires_grad:
            return math.nan
        optimizer.zero_grad()
        loss.backward()
        value = float(loss.detach())
        if math.isfinite(value):
            optimizer.step()
        return value


def _calm_loss(subject: Subject) -> float:
    with in_mode(subject.model, True), torch.no_grad():
        for module in subject.model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
        try:
            return float(subject.loss())
        except CannotRunError:
            return math.nan
