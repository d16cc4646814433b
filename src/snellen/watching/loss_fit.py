"""Which form of loss gave the numbers of several batches.

A single number is met by chance; the same form, reduction and factor on every batch looked at is not. The tolerance is
`TOLERANCE` relative, the chance of one form to meet three unrelated numbers is then below 1e-10.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.watching.loss_forms import Classes, Form, Values

TOLERANCE = 1e-4
"""Relative; float32 sums differ by about 1e-6."""
LOW_TOLERANCE = 1e-2
"""The same for losses computed in half precision (float16 has 11 bits, bfloat16 has 8), none solved for."""
FAR_TOLERANCE = 1e-3
"""In half precision, for forms with something before them."""
ROUNDING = 1e-6
"""Errors below it are all the same: float32 of a mean."""
LEAST_BATCHES = 2
"""Batches that have to agree on a form without free numbers; 3 where a number is solved for."""
LEAST_FOR_SCALE = 4
"""Batches on which one factor has to hold: of some dozens of forms one fits three by chance."""
LEAST_SPREAD = 20.0
"""A solved factor is believed when the form's value varies by this many tolerances between batches."""
OF_CLASSES = ("class-ids", "cast-ids", "one-hot")
"""Kinds of targets that are class ids."""
SMALL = 1e-2
"""Looks with a loss below this share of the largest are left out, if enough remain: logarithms of probabilities near 1
are differences of like numbers, and lose digits."""
REST = 0.2
"""Largest share of a loss that another term beside a distance may have for the distance to be named."""
LEAST_FOR_PART = 5
"""Batches for that."""
PARTS = ("mse", "l1", "smooth-l1")
"""Distances that other terms are added to: the divergence of a variational autoencoder, a penalty of weights."""
LEAST_LOSS = 1e-7
"""Smaller losses are rounding and agree with anything."""


@dataclass(frozen=True)
class Look:
    """One batch: the loss that the program reported, and every form's value on it, read from the device."""

    loss: float
    values: dict[Form, dict[str, float]]
    """Form -> total, count, samples and, where taken, uniform and positive."""
    sums: tuple[float, ...] = ()
    """Negative log-likelihood per class; empty when not taken."""
    counts: tuple[float, ...] = ()
    ignored_share: float = 0.0
    num_classes: int | None = None
    low_precision: bool = False


def look(loss: float, found: Values, *, low_precision: bool = False) -> Look:
    """Read `found` from the device in one transfer and put it beside the loss."""
    slots: list[tuple[Form, str]] = []
    tensors: list[Tensor] = []
    read: dict[Form, dict[str, float]] = {}
    for form, value in found.of.items():
        read[form] = {"samples": float(value.samples)}
        for name in ("total", "count", "uniform", "positive"):
            part = getattr(value, name)
            if isinstance(part, Tensor):
                slots.append((form, name))
                tensors.append(part)
            elif part is not None:
                read[form][name] = float(part)
    classes: Classes | None = found.classes
    extra = [] if classes is None else [classes.sums, classes.counts]
    share = [found.ignored_share] if isinstance(found.ignored_share, Tensor) else []
    flat = _read([*tensors, *extra, *share])
    for (form, name), number in zip(slots, flat, strict=False):
        read[form][name] = number
    rest = flat[len(slots) :]
    width = 0 if classes is None else len(classes.sums)
    return Look(
        loss=loss,
        values=read,
        sums=tuple(rest[:width]),
        counts=tuple(rest[width : 2 * width]),
        ignored_share=rest[2 * width] if share else 0.0,
        num_classes=found.num_classes,
        low_precision=low_precision,
    )


def _read(tensors: Sequence[Tensor]) -> list[float]:
    if not tensors:
        return []
    device = tensors[0].device
    kind = torch.float32 if device.type == "mps" else torch.float64
    numbers: list[float] = torch.cat([t.reshape(-1).to(device, kind) for t in tensors]).tolist()
    return numbers


def fit(looks: Sequence[Look]) -> dict[str, Any]:
    """The form that explains every finite loss of `looks`; {} when none does.

    Keys: name, before, target, broadcast, ignored and the settings of the formula, as in `loss_forms.Form`; reduction
    (mean, sum, or batch-mean: the sum over the length of the first axis); sign (1, or -1 when the value is its
    negative); scale (what the value is multiplied by, above 0); smoothing (of labels, 0..1); weights (of the classes,
    mean 1; [] when none were found); positive_weight; classes; ignored_share; batches (how many agreed); error (largest
    relative distance).
    """
    usable = [k for k in looks if math.isfinite(k.loss) and abs(k.loss) > LEAST_LOSS]
    if len(usable) < LEAST_BATCHES:
        return {}
    top = max(abs(k.loss) for k in usable)
    clear = [k for k in usable if abs(k.loss) >= SMALL * top]
    usable = clear if len(clear) >= LEAST_BATCHES else usable
    tolerance = LOW_TOLERANCE if any(k.low_precision for k in usable) else TOLERANCE
    forms = [f for f in usable[0].values if all(f in k.values for k in usable)]
    found = _exact(forms, usable, tolerance)
    if found is None and len(usable) > LEAST_BATCHES:
        # With a number to solve for one of dozens of forms fits to a hundredth, so that half precision gets no more.
        found = (
            _smoothed(forms, usable, TOLERANCE)
            or (_scaled(forms, usable, TOLERANCE) if len(usable) >= LEAST_FOR_SCALE else None)
            or _positive_weighted(forms, usable, TOLERANCE)
            or _weighted(usable)
        )
    if found is None:
        return {}
    return {
        "smoothing": 0.0,
        "weights": [],
        "positive_weight": None,
        "scale": 1.0,
        **found,
        "classes": usable[0].num_classes if found["target"] in OF_CLASSES else None,
        "ignored_share": float(np.mean([k.ignored_share for k in usable])) if found["target"] in OF_CLASSES else 0.0,
        "batches": len(usable),
    }


def main_part(looks: Sequence[Look]) -> dict[str, Any]:
    """The distance that is the larger part of the loss, where no form is all of it; {} when there is none.

    The loss is a sum of the mean distance and something at least 0 that is at most `REST` of it and varies between
    batches by at most `REST` of what the loss varies. Keys: part, target, rest (its largest share).
    """
    usable = [k for k in looks if math.isfinite(k.loss) and k.loss > LEAST_LOSS]
    if len(usable) < LEAST_FOR_PART or any(k.low_precision for k in usable):
        return {}
    losses = np.array([k.loss for k in usable])
    for form in usable[0].values:
        if form.name not in PARTS or form.before or form.broadcast or any(form not in k.values for k in usable):
            continue
        rest = losses - _reduced(form, usable)["mean"]
        small = (rest >= -TOLERANCE * losses).all() and (rest <= REST * losses).all()
        varied = losses.std() >= LEAST_SPREAD * TOLERANCE * losses.mean()
        if small and varied and rest.std() <= REST * losses.std():
            return {"part": form.name, "target": form.target, "rest": float((rest / losses).max())}
    return {}


def _about(form: Form, reduction: str, sign: int, error: float, **more: Any) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": form.name,
        "before": form.before,
        "target": form.target,
        "broadcast": form.broadcast,
        "ignored": form.ignored,
        "reduction": reduction,
        "sign": sign,
        "error": error,
    }
    return about | dict(form.extra) | more


def _reduced(form: Form, looks: Sequence[Look]) -> dict[str, np.ndarray]:
    """Reduction -> the form's value on each batch (batches,)."""
    total = np.array([k.values[form]["total"] for k in looks])
    count = np.array([k.values[form]["count"] for k in looks])
    samples = np.array([k.values[form]["samples"] for k in looks])
    with np.errstate(divide="ignore", invalid="ignore"):
        out = {"mean": total / count}
        if (count > 1).all():
            out["sum"] = total
            if (samples != count).any() and (samples > 1).all():
                out["batch-mean"] = total / samples
    return out


def _exact(forms: Sequence[Form], looks: Sequence[Look], tolerance: float) -> dict[str, Any] | None:
    """The first form that fits; a later one where it fits ten times as well.

    With targets far from 0 and outputs near it, a squared error is nearly the same with each target and with all.
    """
    losses = np.array([k.loss for k in looks])
    best: tuple[float, dict[str, Any]] | None = None
    for form in forms:
        for reduction, value in _reduced(form, looks).items():
            if not np.isfinite(value).all() or (np.abs(value) < LEAST_LOSS).any():
                continue
            ratio = losses / value
            sign = 1 if ratio[0] > 0 else -1
            error = float(np.abs(sign * ratio - 1).max())
            limit = min(tolerance, FAR_TOLERANCE) if form.before else tolerance
            if error <= limit and (best is None or max(error, ROUNDING) < 0.1 * best[0]):
                best = error, _about(form, reduction, sign, error)
    return None if best is None else best[1]


def _scaled(forms: Sequence[Form], looks: Sequence[Look], tolerance: float) -> dict[str, Any] | None:
    """The same factor on every batch: a weight of the loss, or its division by the steps of an accumulation."""
    losses = np.array([k.loss for k in looks])
    best: tuple[float, dict[str, Any]] | None = None
    for form in forms:
        for reduction, value in _reduced(form, looks).items():
            if not np.isfinite(value).all() or (np.abs(value) < LEAST_LOSS).any():
                continue
            ratio = losses / value
            middle = float(np.median(ratio))
            error = float(np.abs(ratio / middle - 1).max())
            spread = float(np.ptp(np.abs(value)) / np.abs(value).max())
            if (
                error <= tolerance
                and spread >= LEAST_SPREAD * max(error, tolerance / 10)
                and (best is None or error < 0.1 * best[0])
            ):
                sign = 1 if middle > 0 else -1
                best = error, _about(form, reduction, sign, error, scale=abs(middle))
    return best[1] if best else None


def _solved(numbers: np.ndarray, tolerance: float) -> float | None:
    """The number on which all batches agree, within a hundred tolerances: a difference of near values was divided."""
    if not np.isfinite(numbers).all():
        return None
    middle = float(np.median(numbers))
    return middle if float(np.abs(numbers - middle).max()) <= 100 * tolerance * max(abs(middle), 0.01) else None


def _smoothed(forms: Sequence[Form], looks: Sequence[Look], tolerance: float) -> dict[str, Any] | None:
    """(1 - s) CE + s U, with U the cross-entropy against the uniform distribution: Szegedy et al. 2016, section 7."""
    losses = np.array([k.loss for k in looks])
    for form in forms:
        if form.name != "cross-entropy" or form.before or "uniform" not in looks[0].values[form]:
            continue
        plain = _reduced(form, looks)
        total = np.array([k.values[form]["uniform"] for k in looks])
        for reduction, value in plain.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                even = total * value / np.array([k.values[form]["total"] for k in looks])
            gap = even - value
            if not np.isfinite(gap).all() or (np.abs(gap) > 100 * tolerance * np.abs(value)).sum() < LEAST_BATCHES:
                continue
            # Least squares: a batch on which the two nearly agree says little, and is rounded most.
            s = float((losses - value) @ gap / (gap @ gap))
            if 1e-3 < s <= 1 + 1e-3:
                guess = (1 - s) * value + s * even
                error = float(np.abs(losses / guess - 1).max())
                if error <= tolerance:
                    return _about(form, reduction, 1, error, smoothing=round(s, 4))
    return None


def _positive_weighted(forms: Sequence[Form], looks: Sequence[Look], tolerance: float) -> dict[str, Any] | None:
    losses = np.array([k.loss for k in looks])
    for form in forms:
        if "positive" not in looks[0].values[form]:
            continue
        positive = np.array([k.values[form]["positive"] for k in looks])
        total = np.array([k.values[form]["total"] for k in looks])
        for reduction, value in _reduced(form, looks).items():
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = (losses * total / value - (total - positive)) / positive
            if (w := _solved(weight, tolerance)) is not None and w >= -1e-3:
                guess = value * (total + (w - 1) * positive) / total
                error = float(np.abs(losses / guess - 1).max())
                if error <= tolerance:
                    return _about(form, reduction, 1, error, positive_weight=round(max(w, 0.0), 4))
    return None


def _weighted(looks: Sequence[Look]) -> dict[str, Any] | None:
    """Class weights: sum_c w_c (S_c - L n_c) = 0 on every batch, with S_c the class's sum of negative log-likelihoods.

    The weights are the null vector of that matrix; it is believed when it is one (the smallest singular value is
    rounding, the next is not), from at least two batches more than classes, and no weight is negative.
    """
    if not looks[0].sums or any(len(k.sums) != len(looks[0].sums) for k in looks):
        return None
    sums, counts = np.array([k.sums for k in looks]), np.array([k.counts for k in looks])
    losses = np.array([k.loss for k in looks])
    seen = counts.sum(0) > 0
    if seen.sum() < 2 or len(looks) < seen.sum() + 2:
        return None
    matrix = (sums - losses[:, None] * counts)[:, seen]
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True).clip(1e-12)
    scale = np.linalg.norm(matrix, axis=0).clip(1e-12)
    _, singular, right = np.linalg.svd(matrix / scale)
    if len(singular) < seen.sum() or singular[-1] > 1e-4 * singular[0] or singular[-1] > 0.02 * singular[-2]:
        return None
    weights = right[-1] / scale
    weights = weights * np.sign(weights.sum())
    weights /= weights.mean()
    if weights.min() < -1e-2:
        return None
    whole = np.full(len(seen), np.nan)
    whole[seen] = weights.clip(0)
    form = Form("cross-entropy", target="class-ids")
    return _about(
        form, "mean", 1, float(singular[-1]), weights=[None if np.isnan(w) else round(float(w), 4) for w in whole]
    )
