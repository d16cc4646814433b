"""See InitialLossOff."""

import math
from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import expected_first, rows
from snellen.rules.run._series import event, first_loss, losses
from snellen.watching.facts import RunFacts

MOST_OUTPUTS = 100_000
"""Outputs from which nobody would take the loss for that of a uniform guess among too many."""


class InitialLossOff(Rule):
    """The first loss is far above what an untrained network should have.

    ## What it does
    Compares the loss of step 0 with the value that theory expects, ln C for cross-entropy, told or recognised by value.

    ## Why is this bad?
    The network starts confidently wrong: input or initial weights have the wrong scale, and first gradients are
    huge.

    ## How it is computed
    Fires when loss_0 > expected + max(expected, `margin`) (TheDeepChecker: off by 1.0 ln C). A loss below
    expectation is a pretrained start and fine. The hint blames the input when its standard deviation is above
    `input_std`, a sum over the batch when loss_0 / batch size is within `sum_margin` of the expected value, and
    otherwise the initial weights, or a head of about exp(loss_0) outputs, whose uniform guess has this loss.

    ## Example
        initial-loss-off the first loss is 41.3 where 2.3 is expected; the input has std 73

    ## Fix
    Normalise the input (mean 0, std 1); use the framework's default initialisation; average the loss over the batch.

    ## Known false positives
    A loss with weights or extra terms: give its own initial_loss_expected or None.

    ## References
    Karpathy, A Recipe for Training Neural Networks: verify loss at init.
    """

    name = "initial-loss-off"
    code = "RUN017"
    category = Category.SUSPICIOUS
    causes = (
        "loss-summed-over-batch",
        "unsigned-wraparound",
        "nll-without-log-softmax",
        "non-finite-data",
        "input-scale-off",
        "input-normalized-twice",
        "non-finite-weights",
        "initial-scale-off",
        "head-class-count-mismatch",
        "initial-weights-off-scale",
        "exploding-gradient",
        "symmetric-units",
        "update-below-resolution",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        margin: float = 1.0
        """Least distance above the expected loss, in nats."""
        input_std: float = 5.0
        """Standard deviation of the input from which its scale is blamed; normalised images have about 1."""
        harmless: float = 0.5
        """Share of the expected loss to which the loss has come down at the end, from which its start did no harm:
        heads with a scale or a margin (ArcFace) begin high by design."""
        frozen: float = 0.5
        """Share of the weights, in 0..1, that are not trained from which the head sits on features of a scale of their
        own, and its first loss says nothing of the initialisation."""
        sum_margin: float = 0.1
        """Relative distance of loss / batch size from the expected loss; untrained networks are within 0.05."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        first, expected = first_loss(run), expected_first(run)
        if expected is None or not math.isfinite(first) or _frozen(run) > self.options.frozen:
            return
        limit = expected + max(expected, self.options.margin)
        if first > limit:
            told = rows(run, "input")
            ids = told.height > 0 and str(told["dtype"][0]).startswith("int")
            scale = None if ids else event(run, "input-scale")
            std = float(scale["value"]) if scale and scale["value"] is not None else None
            size = run.steps["batch_size"][0] or 1
            unknown = "the input is ids" if ids else "the scale of the input is not known"
            hint = scale["message"] if scale else unknown
            if std is not None and std > self.options.input_std:
                hint += ": normalise it"
            elif size > 1 and abs(first / size - expected) <= self.options.sum_margin * expected:
                hint = f"it is the batch size of {size} times {first / size:.3g}: the loss is a sum, not a mean"
            elif self._harmless(run, expected):
                return
            else:
                hint += "; if that is meant, the initial weights are too large"
                if first < math.log(MOST_OUTPUTS):
                    hint += f", or the head has some {math.exp(first):.0f} outputs"
            yield Finding(
                message=(
                    f"the first loss is {first:.3g} where an untrained network has {expected:.3g} (limit "
                    f"{limit:.3g}); {hint}"
                ),
                evidence={"first_loss": first, "expected": expected, "input_std": std, "batch_size": size},
                place=Place(step=0),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "normalise the input, keep the framework's initialisation and average the loss over the batch",
                ),
            )

    def _harmless(self, run: RunFacts, expected: float) -> bool:
        """Whether the loss has come far below that of an untrained network all the same."""
        values = losses(run)
        last = values[-max(len(values) // 5, 3) :]
        return bool(np.isfinite(last).all() and float(np.median(last)) < self.options.harmless * expected)


def _frozen(run: RunFacts) -> float:
    """Share of the weights that are not trained."""
    sizes = [(math.prod(row["shape"]), row["trainable"]) for row in run.parameters.iter_rows(named=True)]
    return sum(n for n, trained in sizes if not trained) / max(sum(n for n, _ in sizes), 1)
