"""The loss as a function of the batch: its value before learning, and what it makes of more and fewer samples."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from snellen.experiments.modes import in_mode
from snellen.experiments.nest import tensors
from snellen.experiments.subject import CannotRunError, Row, Subject

MOST_SINGLES = 8


def initial_loss(subject: Subject) -> Iterator[Row]:
    """`initial-loss`: the loss of the batch in train mode, against what a blind guess has, where theory says it.

    A blind guess has ln C under cross-entropy of C classes, ln 2 under binary cross-entropy with logits, and the mean
    square of the targets under a squared error (outputs start about 0). Also `prior-entropy` (nats), what knowing the
    classes' shares in this batch and nothing else would cost, or `target-variance` of regression.
    """
    with in_mode(subject.model, True), torch.no_grad():
        outputs = subject.outputs()
        value = float(subject.loss(outputs))
    expected, name = blind_loss(subject, outputs, value)
    yield subject.row("initial-loss", value, expected=expected, detail=name)
    target = _one(subject.targets)
    if target is not None and not target.is_floating_point() and target.dim() == 1:
        shares = target.unique(return_counts=True)[1].float()
        shares = shares / shares.sum()
        yield subject.row(
            "prior-entropy", float(-(shares * shares.log()).sum()), detail="entropy of the batch's classes"
        )
    elif target is not None and target.is_floating_point() and target.numel() > 1:
        yield subject.row("target-variance", float(target.float().var(correction=0)), detail="variance of the targets")


def blind_loss(subject: Subject, outputs: object, value: float) -> tuple[float | None, str]:
    """What a blind guess would cost, and the name of the loss, recognised by its value; None when it is not."""
    target = _one(subject.targets)
    out = next((t for t in tensors(outputs) if t.is_floating_point()), None)
    if target is None or out is None:
        return None, "no theory for this loss"
    f = torch.nn.functional
    guesses: list[tuple[str, Tensor, float]] = []
    with torch.no_grad():
        try:
            if not target.is_floating_point() and out.dim() == target.dim() + 1:
                axis = 1 if out.shape[:1] + out.shape[2:] == target.shape else -1
                moved = out.movedim(axis, 1).float()
                guesses.append(("cross-entropy", f.cross_entropy(moved, target.long()), math.log(moved.shape[1])))
            elif target.is_floating_point() and out.shape == target.shape:
                guesses.append(("mse", f.mse_loss(out.float(), target.float()), float(target.float().square().mean())))
                if bool(((target >= 0) & (target <= 1)).all()):
                    bce = f.binary_cross_entropy_with_logits(out.float(), target.float())
                    guesses.append(("bce-with-logits", bce, math.log(2)))
        except (RuntimeError, IndexError, ValueError):
            return None, "no theory for this loss"
    for name, found, blind in guesses:
        if math.isclose(float(found), value, rel_tol=1e-3, abs_tol=1e-6):
            return blind, name
    if guesses and guesses[0][0] == "cross-entropy" and isinstance(outputs, Tensor) and _softmax_within(subject, out):
        return None, "softmax of classes"
    return None, "no theory for this loss"


def _softmax_within(subject: Subject, out: Tensor) -> bool:
    """Whether the loss does not mind one number added to all scores of a sample, as smoothed and focal losses do."""
    if subject.loss_fn is None:
        return False
    shift = torch.linspace(-1, 2, len(out), device=out.device).reshape(-1, *[1] * (out.dim() - 1))
    with torch.no_grad():
        try:
            plain, moved = (float(subject.loss(t)) for t in (out.detach(), out.detach() + shift))
        except CannotRunError:
            return False
    return math.isclose(plain, moved, rel_tol=1e-4)


def _one(targets: object) -> Tensor | None:
    found = list(tensors(targets))
    return found[0] if len(found) == 1 else None


def batch_size(subject: Subject) -> Iterator[Row]:
    """What more samples do to the loss, in eval mode.

    `batch-loss`: the loss of up to 8 samples, against the mean of their losses one at a time (`expected`), with the
    number of samples as `setting`. `doubled-batch`: the loss of every sample twice over that of every sample once; a
    mean gives 1, a sum 2.
    """
    if subject.loss_fn is None and not subject.takes_targets:
        yield subject.row("batch-loss", None, detail="no loss function was given")
        return
    with in_mode(subject.model, False), torch.no_grad():
        few = subject.smaller(MOST_SINGLES)
        count = few.count
        if count < 2:
            yield subject.row("batch-loss", None, detail="one sample")
            return
        outputs = few.outputs()
        if few.by_sample(outputs) is None:
            raise CannotRunError("the outputs are not one row of numbers a sample")
        together = float(few.loss(outputs))
        singles = [float(few.of([i]).loss()) for i in range(count)]
        twice = float(few.of([*range(count), *range(count)]).loss())
    detail = f"{count} samples together, against the mean of one at a time"
    mean = sum(singles) / count
    yield subject.row("batch-loss", together, expected=mean, setting=float(count), detail=detail)
    if together != 0 and math.isfinite(twice) and math.isfinite(together):
        yield subject.row(
            "doubled-batch", twice / together, expected=1.0, detail="loss of every sample twice, over once"
        )
