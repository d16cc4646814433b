"""What the outputs depend on: the input at all, its order, and other samples of the batch."""

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor, nn

from snellen.experiments.modes import BATCH_STATISTICS, in_mode
from snellen.experiments.nest import mapped, one_a_sample, tensors
from snellen.experiments.subject import CannotRunError, Row, Subject

SAME = 1e-4
"""Change over the outputs' root mean square up to which two answers are one."""


def input_dependence(subject: Subject) -> Iterator[Row]:
    """How far the outputs move, over their root mean square, in eval mode.

    `zeroed-input` (every number of the input 0), `constant-input` (the mean of the batch in every sample),
    `permuted-input` (one order of all values within a sample, the same for each), `sample-spread` (the outputs of the
    batch's samples among each other: 0 when every sample gets one answer). Integer inputs are not touched by the first
    three. `input-spread`: the inputs' own deviation among the samples, over their root mean square.
    """
    with in_mode(subject.model, False):
        plain = subject.table()
        size = max(float(plain.square().mean().sqrt()), 1e-12)
        if subject.count > 1:
            apart = float((plain - plain.mean(0)).square().mean().sqrt()) / size
            yield subject.row("sample-spread", apart, detail="outputs of the samples among each other, in eval mode")
            yield subject.row("input-spread", _input_spread(subject), detail="inputs of the samples among each other")
        if not subject.float_inputs:
            return
        changes: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
            ("zeroed-input", torch.zeros_like),
            ("constant-input", lambda t: t.mean(0, keepdim=True).expand_as(t).contiguous()),
            ("permuted-input", _shuffled),
        )
        for trial, change in changes:
            try:
                other = subject.table(_floats_changed(subject, change))
            except CannotRunError as error:
                yield subject.row(trial, None, detail=str(error))
                continue
            moved = float((other - plain).square().mean().sqrt()) / size
            yield subject.row(trial, moved, detail="change of the outputs over their root mean square")


def _input_spread(subject: Subject) -> float:
    """The largest over the input tensors; integers differ or not."""
    best = 0.0
    for t in tensors(subject.inputs):
        x = t.detach().float().reshape(len(t), -1)
        best = max(best, float((x - x.mean(0)).square().mean().sqrt() / x.square().mean().sqrt().clamp_min(1e-12)))
    return best


def _floats_changed(subject: Subject, change: Callable[[Tensor], Tensor]) -> object:
    return mapped(subject.inputs, lambda t: change(t) if t.is_floating_point() else t)


def _shuffled(t: Tensor) -> Tensor:
    """One order of the values of a sample, the same for all samples; drawn from a generator of its own."""
    order = torch.randperm(prod(t.shape[1:]), generator=torch.Generator().manual_seed(0)).to(t.device)
    return t.reshape(len(t), -1)[:, order].reshape(t.shape)


def cross_sample(subject: Subject) -> Iterator[Row]:
    """How much of a sample's output hangs on the other samples of the batch.

    `cross-sample` in eval mode (batch norm by its running statistics) and `cross-sample-training` in train mode apart
    from batch norm: the share (L2, 0..1) of the gradient of one sample's outputs, times the deviations of the inputs,
    that falls on other samples' inputs, the larger of the first sample's and the last one's. Where inputs are integers:
    1 if the outputs of a sample change when the others are put in another order, else 0. `cross-sample-order`: 1 if the
    other samples' order matters, 0 if only which they are. Null, with the reason, where the first axis need not be that
    of the samples.
    """
    count = subject.count
    reason = _not_judgeable(subject)
    if reason:
        yield subject.row("cross-sample", None, detail=reason)
        return
    by_own = any(isinstance(m, BATCH_STATISTICS) and m.running_mean is None for m in subject.model.modules())
    if by_own:
        yield subject.row(
            "cross-sample", None, detail="batch norm without running statistics couples samples by design"
        )
        return
    with in_mode(subject.model, False):
        # Two passes more, where answers are compared: a gradient is of one pass.
        if not subject.float_inputs and _draws(subject):
            yield subject.row("cross-sample", None, detail="the same batch gets another answer at every pass")
            return
        share = _share(subject)
        yield subject.row(
            "cross-sample", share, expected=0.0, detail="share of a sample's gradient on other samples, eval mode"
        )
        if share > 0 and count > 2 and not (subject.float_inputs and _draws(subject)):
            yield subject.row("cross-sample-order", _order_matters(subject), detail="other samples in another order")
    if subject.float_inputs and not any(isinstance(m, nn.modules.dropout._DropoutNd) for m in subject.model.modules()):
        with in_mode(subject.model, True, apart=BATCH_STATISTICS):
            share = _share(subject)
        yield subject.row("cross-sample-training", share, expected=0.0, detail="train mode, batch norm as in eval mode")


def _not_judgeable(subject: Subject) -> str:
    """Why the first axis of this batch need not count samples; empty when it does."""
    count = subject.count
    if count < 3:
        return "fewer than 3 samples"
    with in_mode(subject.model, False):
        subject.table()
        try:
            fewer = subject.of(range(count - 1))
            if fewer.by_sample(fewer.outputs()) is None:
                return "the number of outputs does not follow the number of samples"
        except CannotRunError:
            # A network over a graph of so many nodes; its first axis is no batch.
            return "the model takes no other number of samples"
    targets = [t for t in tensors(subject.targets) if t.dim()]
    if not targets:
        return "no targets tell which axis counts samples"
    if one_a_sample(subject.targets):
        return "" if len(subject.targets) == count else "targets are of another number of samples"
    if any(t.shape[0] != count for t in targets):
        return "targets have another first axis"
    inputs = next(iter(tensors(subject.inputs)))
    if any(t.dim() > 1 and inputs.dim() > 1 and t.shape[1] == inputs.shape[1] and t.shape[1] > 1 for t in targets):
        # (time, batch) and (batch, time) look alike; the outputs' second axis may be that of the samples.
        return "targets share two axes with the inputs, so that either may count samples"
    return ""


def _draws(subject: Subject) -> bool:
    """Whether the same batch gets another answer at the second pass, as where neighbours or latents are drawn."""
    plain, again = subject.table(), subject.table()
    return _apart(plain, again, plain) > SAME


def _apart(a: Tensor, b: Tensor, outputs: Tensor) -> float:
    """Largest difference, over the root mean square of the outputs."""
    return float((a - b).abs().max()) / max(float(outputs.square().mean().sqrt()), 1e-12)


def _share(subject: Subject) -> float:
    if not subject.float_inputs:
        return _changes_with_others(subject)
    inputs = mapped(subject.inputs, lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
    leaves = [t for t in tensors(inputs) if t.is_floating_point()]
    with torch.enable_grad():
        outputs = subject.by_sample(_through(subject, inputs))
    if outputs is None or not outputs.requires_grad:
        raise CannotRunError("the outputs have no gradient with respect to the inputs")
    weights = torch.randn(outputs.shape[1], generator=torch.Generator().manual_seed(0)).to(outputs.device)
    best = 0.0
    for sample in (0, subject.count - 1):
        grads = torch.autograd.grad(
            (outputs[sample] * weights).sum(), leaves, retain_graph=sample == 0, allow_unused=True
        )
        energy = torch.zeros(subject.count, dtype=torch.float64)
        for g, x in zip(grads, leaves, strict=True):
            if g is not None:
                # What never changes, as the dark border of digits, may have any gradient: 1e12 behind a division by
                # its norm. So each number's gradient counts by how far the number moves in this batch.
                moved = g.detach().double() * x.detach().double().std(0)
                energy += moved.square().reshape(subject.count, -1).sum(1).cpu()
        total = float(energy.sum())
        if total > 0:
            best = max(best, ((total - float(energy[sample])) / total) ** 0.5)
    return best


def _through(subject: Subject, inputs: object) -> object:
    """The outputs with a graph to `inputs`; a first layer that works in place needs a tensor that is no leaf."""
    return subject.outputs(mapped(inputs, lambda t: t * 1 if t.requires_grad else t))


def _changes_with_others(subject: Subject) -> float:
    """1 if the last sample's outputs change when all others are the first one, else 0."""
    count = subject.count
    plain, other = subject.table(), subject.of([0] * (count - 1) + [count - 1]).table()
    return float(_apart(plain[-1], other[-1], plain) > SAME)


def _order_matters(subject: Subject) -> float:
    """1 if the last sample's outputs change when the others come in reverse, else 0."""
    count = subject.count
    plain, other = subject.table(), subject.of([*reversed(range(count - 1)), count - 1]).table()
    return float(_apart(plain[-1], other[-1], plain) > SAME)
