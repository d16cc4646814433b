"""The losses that a value can be compared with: each a function of the outputs and targets of one batch.

Nothing is asked of the program: what its loss is follows from the number it came to. `loss_fit` decides which of the
forms below gave the numbers of several batches. Every formula is the one of `torch.nn.functional` that bears the name,
except where a comment says otherwise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MOST_ELEMENTS = 2_000_000
"""Outputs above this many numbers are compared with the common forms only, to keep the look cheap."""
MOST_BROADCAST = 4_000_000
"""Largest N x N that is computed to recognise a broadcast."""
GAMMAS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Exponents of the focal loss that are tried (Lin et al. 2017 tried 0, 0.1, 0.2, 0.5, 1, 2, 5)."""
ALPHAS = (0.25, 0.5, 0.75)
"""Weights of the positive class of the binary focal loss that are tried."""


@dataclass(frozen=True)
class Form:
    """One way to compute a loss from outputs and targets."""

    name: str
    """cross-entropy, nll, bce, bce-logits, focal, binary-focal, mse, rmse, l1, smooth-l1, log-cosh, dice, kl, ..."""
    before: str = ""
    """What is applied to the outputs before the formula: softmax, softmax-batch, sigmoid, log; "" when nothing is."""
    target: str = "values"
    """What the targets are taken for: class-ids, cast-ids (numbers made whole), one-hot, soft, values, inputs."""
    broadcast: bool = False
    """(N, 1) against (N,), so that every output meets every target."""
    ignored: int | None = None
    """Class id whose samples are left out."""
    extra: tuple[tuple[str, float], ...] = ()
    """Further settings of the formula: gamma, alpha."""


@dataclass(frozen=True)
class Value:
    """What a form gives on one batch."""

    total: Tensor
    """0-d: the sum over its terms; for a form that is no mean of terms, its value."""
    count: Tensor | float
    """Number of terms; 1 for a form that is no mean of terms."""
    samples: int
    """Length of the first axis."""
    uniform: Tensor | None = None
    """The same total with targets spread evenly over the classes, from which label smoothing is solved."""
    positive: Tensor | None = None
    """The part of the total that positive targets contribute, from which a positive weight is solved."""


@dataclass(frozen=True)
class Classes:
    """Per class: sums of the negative log-likelihood and counts, from which class weights are solved. Shapes (C,)."""

    sums: Tensor
    counts: Tensor


@dataclass
class Values:
    """Every form on one batch."""

    of: dict[Form, Value] = field(default_factory=dict)
    classes: Classes | None = None
    num_classes: int | None = None
    ignored_share: Tensor | float = 0.0
    """Share of the targets that are no class id of the outputs, 0..1."""


def class_rows(outputs: Tensor, targets: Tensor, last: bool = False) -> tuple[Tensor, Tensor] | None:
    """Outputs as (M, C) and targets as (M,) when `targets` can be one class id for each place, else None.

    The classes are on axis 1, as torch has them, or on the last, where `last` or the shapes say so. (N, C) has M = N,
    (N, C, H, W) with M = N H W,
    (N, T, C) with M = N T.
    """
    t = targets
    if outputs.dim() == t.dim() and t.dim() >= 2 and t.shape[1] == 1 and outputs.shape[1] > 1:
        t = t.squeeze(1)
    if outputs.dim() < 2 or outputs.numel() == 0 or t.numel() == 0:
        return None
    if not last and outputs.dim() == t.dim() + 1 and outputs.shape[:1] + outputs.shape[2:] == t.shape:
        return outputs.movedim(1, -1).reshape(-1, outputs.shape[1]), t.reshape(-1)
    if outputs.shape[:-1] == t.shape or outputs.shape[:-1].numel() == t.numel():
        return outputs.reshape(-1, outputs.shape[-1]), t.reshape(-1)
    return None


def values(
    outputs: Tensor, targets: Tensor, *, target: str = "", weight: Tensor | None = None, classes_only: bool = False
) -> Values:
    """Every form that fits the shapes of `outputs` (floating) and `targets`, on one batch; none that does not.

    `target` "inputs" says that the targets are the inputs of an autoencoder. `weight`: class weights of shape (C,).
    `classes_only`: cross-entropy alone, for what is solved for from many batches. Results stay on the device. Draws no
    random number.
    """
    found = Values()
    with torch.no_grad():
        out = outputs.detach().float()
        t = targets.detach()
        if t.device != out.device:
            t = t.to(out.device)
        few = out.numel() <= MOST_ELEMENTS
        rows = class_rows(out, t) if target != "inputs" and not t.is_complex() else None
        if rows is not None and out.shape != t.shape:
            # Along axis 0 the samples stand; the rows below are places of all samples, and no longer tell them apart.
            along = class_rows(F.log_softmax(out, 0), t) if few and out.dim() > 2 else None
            over_batch = None if along is None else along[0]
            for form, value in _of_classes(*rows, found, few, t.is_floating_point(), weight, over_batch):
                found.of.setdefault(form, value)
                if classes_only and found.classes is not None:
                    return found
            if few and out.dim() > 2 and out.shape[1] == out.shape[-1] and out.shape[:-1] == t.shape:
                other = class_rows(out, t, last=True)  # as many tokens as classes: it may be either axis
                for form, value in _of_classes(*other, Values(), False, False, None) if other else ():
                    found.of.setdefault(replace(form, extra=(("axis", -1.0),)), value)
            if few and out.dim() == 3 and out.shape[:-1] == t.shape and out.shape[1] > 2:
                later = class_rows(out[:, :-1], t[:, 1:])  # a language model's shift by one
                if later is not None:
                    shifted = Values()
                    for form, value in _of_classes(*later, shifted, False, t.is_floating_point(), None):
                        found.of.setdefault(Form(form.name, "shift", form.target, ignored=form.ignored), value)
        for form, value in _of_values(out, t, target or "values", few):
            found.of.setdefault(form, value)
    return found


def _sum(x: Tensor) -> Tensor:
    """Sum in double precision where the device has it: float32 partial sums would blur the fourth digit."""
    return x.sum() if x.device.type == "mps" else x.sum(dtype=torch.float64)


def _of_classes(
    out: Tensor,
    ids: Tensor,
    found: Values,
    few: bool,
    floating: bool,
    weight: Tensor | None,
    over_batch: Tensor | None = None,
) -> Iterator[tuple[Form, Value]]:
    kind = "class-ids"
    if floating:
        kind = "cast-ids"
        ids = torch.nan_to_num(ids).clamp(-1e9, 1e9)
    classes, m = out.shape[1], out.shape[0]
    ids = ids.long()
    valid = (ids >= 0) & (ids < classes)
    safe = ids.clamp(0, classes - 1)
    keep = valid.to(out.dtype)
    count = keep.sum()
    found.num_classes = classes
    found.ignored_share = 1 - count / m

    def picked(scores: Tensor) -> Tensor:
        return -scores.gather(1, safe[:, None])[:, 0] * keep

    logp = F.log_softmax(out, 1)
    nll = picked(logp)
    uniform = -logp.mean(1) * keep
    if classes <= 64:
        sums, counts = out.new_zeros(classes), out.new_zeros(classes)
        found.classes = Classes(sums.index_add_(0, safe, nll), counts.index_add_(0, safe, keep))
    yield Form("cross-entropy", target=kind), Value(_sum(nll), count, m, uniform=_sum(uniform))
    if weight is not None and weight.numel() == classes:
        w = weight.to(out.device, out.dtype)[safe] * keep
        yield Form("cross-entropy", target=kind, extra=(("weighted", 1.0),)), Value(_sum(nll * w), w.sum(), m)
    yield Form("nll", target=kind), Value(_sum(picked(out)), count, m)
    p = logp.exp()
    yield Form("cross-entropy", "softmax", kind), Value(_sum(picked(F.log_softmax(p, 1))), count, m)
    if not few:
        return
    yield Form("cross-entropy", "log", kind), Value(_sum(picked(out.clamp_min(1e-12).log())), count, m)
    yield Form("nll", "softmax", kind), Value(_sum(picked(p)), count, m)
    along = F.log_softmax(out, 0) if over_batch is None else over_batch
    yield Form("cross-entropy", "softmax-batch", kind), Value(_sum(picked(F.log_softmax(along.exp(), 1))), count, m)
    yield Form("nll", "softmax-batch", kind), Value(_sum(picked(along)), count, m)
    yield Form("cross-entropy", "sigmoid", kind), Value(_sum(picked(F.log_softmax(out.sigmoid(), 1))), count, m)
    yield Form("cross-entropy", "relu", kind), Value(_sum(picked(F.log_softmax(out.relu(), 1))), count, m)
    yield Form("cross-entropy", "tanh", kind), Value(_sum(picked(F.log_softmax(out.tanh(), 1))), count, m)
    for ignored in sorted({0, classes - 1}):
        some = keep * (ids != ignored)
        yield Form("cross-entropy", target=kind, ignored=ignored), Value(_sum(nll * some), some.sum(), m)
    right = (-nll).exp() * keep
    again = picked(F.log_softmax(p, 1))
    # The weight of a sample is of its probability, or of what a loss that was handed the probability takes for one.
    focals = (
        ("", right, nll, ()),
        ("softmax", right, again, ()),
        ("softmax", (-again).exp(), again, (("weight", 2.0),)),
    )
    for gamma in GAMMAS:
        for before, sure, each, more in focals:
            form = Form("focal", before, kind, extra=(("gamma", gamma), *more))
            yield form, Value(_sum((1 - sure).clamp_min(0).pow(gamma) * each), count, m)
    hot = F.one_hot(safe, classes).to(out.dtype)
    if classes > 1:
        margin = (1 - out.gather(1, safe[:, None]) + out).clamp_min(0) * (1 - hot)
        yield Form("multi-margin", target=kind), Value(_sum(margin.mean(1)), float(m), m)
        for before, shown in (("", out), ("softmax", p), ("sigmoid", out.sigmoid())):
            gap = shown - hot
            yield Form("mse", before, "one-hot"), Value(_sum(gap.square()), float(gap.numel()), m)
            yield Form("l1", before, "one-hot"), Value(_sum(gap.abs()), float(gap.numel()), m)
        yield from _of_bits(out, hot, "one-hot", out.shape[0], few)
        yield from _overlap(p, hot, "softmax", "one-hot", m)


def _of_values(out: Tensor, t: Tensor, kind: str, few: bool) -> Iterator[tuple[Form, Value]]:
    t = t.to(out.dtype) if not t.is_complex() else t.abs().to(out.dtype)
    samples = out.shape[0] if out.dim() else 1
    if out.numel() == t.numel():
        yield from _of_pairs(out, t.reshape(out.shape), kind, few, samples)
    if kind == "inputs" or out.shape == t.shape or out.shape[0] != t.shape[0]:
        return
    try:
        shape = torch.broadcast_shapes(out.shape, t.shape)
    except RuntimeError:
        return
    if max(out.numel(), t.numel()) < math.prod(shape) <= MOST_BROADCAST:
        wide, against = torch.broadcast_tensors(out, t)
        yield from _distances(wide, against, kind, True, samples)
        terms = against * F.softplus(-wide) + (1 - against) * F.softplus(wide)
        yield Form("bce-logits", "", kind, True), Value(_sum(terms), float(terms.numel()), samples)


def _of_pairs(out: Tensor, same: Tensor, kind: str, few: bool, samples: int) -> Iterator[tuple[Form, Value]]:
    yield from _distances(out, same, kind, False, samples)
    yield from _of_bits(out, same, kind, samples, few)
    if few:
        for before, shown in (("sigmoid", out.sigmoid()), ("tanh", out.tanh())):
            gap = shown - same
            yield Form("mse", before, kind), Value(_sum(gap.square()), float(gap.numel()), samples)
        yield from _overlap(out.sigmoid(), same, "sigmoid", kind, samples)
        yield from _overlap(out, same, "", kind, samples)
    if out.dim() < 2 or out.shape[1] < 2:
        return
    logp = F.log_softmax(out, 1)
    terms = float(out.numel() // out.shape[1])
    yield Form("cross-entropy", target="soft"), Value(_sum(-same * logp), terms, samples)
    log_t = torch.where(same > 0, same, 1.0).log()
    for before, shown in (("log-softmax", logp), ("", out)):
        yield Form("kl", before, "soft"), Value(_sum(same * (log_t - shown)), float(out.numel()), samples)
    if few:
        again = F.log_softmax(logp.exp(), 1)
        yield Form("cross-entropy", "softmax", "soft"), Value(_sum(-same * again), terms, samples)


def _distances(out: Tensor, t: Tensor, kind: str, broadcast: bool, samples: int) -> Iterator[tuple[Form, Value]]:
    gap = (out - t).abs()
    n = float(gap.numel())
    squares = _sum(gap.square())
    yield Form("mse", "", kind, broadcast), Value(squares, n, samples)
    yield Form("l1", "", kind, broadcast), Value(_sum(gap), n, samples)
    yield (
        Form("smooth-l1", "", kind, broadcast),
        Value(_sum(torch.where(gap < 1, 0.5 * gap.square(), gap - 0.5)), n, samples),
    )
    yield Form("rmse", "", kind, broadcast), Value((squares / n).sqrt(), 1.0, samples)
    # log cosh d = d + log(1 + exp(-2 d)) - log 2, without overflow
    yield (
        Form("log-cosh", "", kind, broadcast),
        Value(_sum(gap + F.softplus(-2 * gap) - math.log(2)), n, samples),
    )
    yield Form("poisson", "", kind, broadcast), Value(_sum(out.exp() - t * out), n, samples)


def _of_bits(out: Tensor, t: Tensor, kind: str, samples: int, few: bool) -> Iterator[tuple[Form, Value]]:
    n = float(out.numel())
    positive = t * F.softplus(-out)
    each = positive + (1 - t) * F.softplus(out)
    yield Form("bce-logits", "", kind), Value(_sum(each), n, samples, positive=_sum(positive))
    p = out.sigmoid()
    again = t * F.softplus(-p) + (1 - t) * F.softplus(p)
    yield Form("bce-logits", "sigmoid", kind), Value(_sum(again), n, samples)
    # torch cuts the logarithms of its binary cross-entropy at -100; programs of one's own cut the outputs.
    low, high = out.clamp_min(0).log().clamp_min(-100), (1 - out).clamp_min(0).log().clamp_min(-100)
    yield Form("bce", "", kind), Value(_sum(-(t * low + (1 - t) * high)), n, samples)
    for cut in (1e-6, 1e-7, 1e-8):
        q = out.clamp(cut, 1 - cut)
        total = _sum(-(t * q.log() + (1 - t) * (1 - q).log()))
        yield Form("bce", "", kind, extra=(("cut", cut),)), Value(total, n, samples)
    if not few:
        return
    right = (-each).exp()
    for gamma in GAMMAS:
        focal = (1 - right).clamp_min(0).pow(gamma) * each
        total, of_positive = _sum(focal), _sum(focal * t)
        yield Form("binary-focal", "", kind, extra=(("gamma", gamma),)), Value(total, n, samples)
        for alpha in ALPHAS:
            weighted = alpha * of_positive + (1 - alpha) * (total - of_positive)
            extra = (("gamma", gamma), ("alpha", alpha))
            yield Form("binary-focal", "", kind, extra=extra), Value(weighted, n, samples)


def _overlap(p: Tensor, t: Tensor, before: str, kind: str, samples: int) -> Iterator[tuple[Form, Value]]:
    """Dice, over the whole batch and per sample, 1 - (2 sum pt + s) / (sum p + sum t + s)."""
    for smooth in (1.0, 1e-6, 1e-5):
        whole = 1 - (2 * _sum(p * t) + smooth) / (_sum(p) + _sum(t) + smooth)
        yield Form("dice", before, kind, extra=(("smooth", smooth),)), Value(whole, 1.0, samples)
        if p.dim() >= 2:
            a, b = p.flatten(1).double() if p.device.type != "mps" else p.flatten(1), t.flatten(1)
            each = 1 - (2 * (a * b).sum(1) + smooth) / (a.sum(1) + b.sum(1) + smooth)
            yield (
                Form("dice", before, kind, extra=(("smooth", smooth), ("per-sample", 1.0))),
                Value(each.mean(), 1.0, samples),
            )
