"""See NegativeLoss."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._loss import loss_name
from snellen.rules.run._series import cross_entropy, losses
from snellen.watching.facts import RunFacts

NEVER = ("mse", "rmse", "l1", "smooth-l1", "log-cosh", "focal", "binary-focal", "multi-margin")
"""Recognised losses that cannot be negative, whatever their targets are."""


class NegativeLoss(Rule):
    """A loss that cannot be negative is.

    ## What it does
    Looks for negative values of cross-entropy, focal losses and distances.

    ## Why is this bad?
    The sign is flipped or the loss is fed with something else than logits; the run maximises its error.

    ## How it is computed
    Fires when at least `min_steps` losses are below 0, the first of them within `soon` steps or a tenth of all, and the
    loss, told or recognised by value, is cross-entropy, focal, a margin or a distance.

    ## Example
        negative-loss cross-entropy is negative in 149 of 150 steps

    ## Fix
    Minimise the loss, not its negative; give NLLLoss the output of log_softmax.

    ## Known false positives
    None known.

    ## References
    AutoTrainer, abnormal loss.
    """

    name = "negative-loss"
    code = "RUN023"
    category = Category.CORRECTNESS
    causes = ("gradient-ascent", "nll-without-log-softmax", "cross-entropy-of-numbers", "class-weights-off")

    class Options(RuleOptions):
        """Options of this rule."""

        min_steps: int = 3
        """Negative losses before anything is said."""
        soon: int = 20
        """Steps, or a tenth of all, within which the first of them comes."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        values = losses(run)
        if bool(run.options.get("maximize", False)):
            return  # The negative of a loss, maximised, is the loss minimised.
        below = int((values < 0).sum())
        if not (values[: max(self.options.soon, len(values) // 10)] < 0).any():
            return  # What is negative only later may be another loss, of a later stage.
        if (
            cross_entropy(run) or loss_name(run) in NEVER or run.loss_kind.startswith("focal")
        ) and below >= self.options.min_steps:
            yield Finding(
                message=(
                    f"{loss_name(run)} is negative in {below} of {len(values)} steps (limit "
                    f"{self.options.min_steps}), which it cannot be: its sign is flipped or it gets no "
                    "logits"
                ),
                evidence={"lowest": float(np.nanmin(values))},
                affected=below,
                of=len(values),
                fix=Fix(
                    FixSafety.UNSAFE, "minimise the loss, not its negative; give NLLLoss the output of log_softmax"
                ),
            )
