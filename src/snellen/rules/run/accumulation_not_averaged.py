"""See AccumulationNotAveraged."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import family
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class AccumulationNotAveraged(Rule):
    """Gradients of several batches are added up and the loss is not divided by their number.

    ## What it does
    Counts the backward passes before each step, and compares the gradient that reaches the output with that of
    the loss.

    ## Why is this bad?
    The gradient, and with SGD the effective learning rate, is k times what was meant; a clip limit bites k times
    as early.

    ## How it is computed
    Fires when one step adds up the gradients of k >= 2 batches and the gradient at the output is `weight` or more
    of that of the whole loss, where 1/k was due. The loss that the loop reports has to be that of one batch, so
    that a sum of different losses is not taken for it.

    ## Example
        accumulation-not-averaged each step adds up 4 batches at full weight; the effective learning rate is 4
        times lr

    ## Fix
    Call `(loss / k).backward()`.

    ## Known false positives
    A learning rate tuned for the sum.

    ## References
    Transformers and Lightning documentation on gradient accumulation; PYSIASSIST.
    """

    name = "accumulation-not-averaged"
    code = "RUN092"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        weight: float = 0.8
        """Weight of each batch's loss, from which it was not divided; 1/k at most 0.5 when it was."""
        min_samples: int = 3
        """Sampled steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        counts, weights = signal(run, "backwards")["value"], signal(run, "loss_weight")["value"]
        if len(counts) < self.options.min_samples or len(weights) < self.options.min_samples:
            return
        k, weight = float(np.median(counts.to_numpy())), float(np.median(weights.to_numpy()))
        if k < 2 or not self.options.weight <= weight <= 2 - self.options.weight:
            return
        adam = family(run.optimizer).startswith("adam")
        then = (
            "Adam divides the scale out, clipping and epsilon do not"
            if adam
            else f"the effective learning rate is {k:g} lr"
        )
        yield Finding(
            message=(
                f"each step adds up the gradients of {k:g} batches, each at {weight:.2f} of its loss (limit "
                f"{1 / k:.2g}); {then}"
            ),
            evidence={
                "batches": k,
                "weight": weight,
                "chain": [
                    f"{k:g} forward and backward passes a step",
                    f"loss at weight {weight:.2f}, 1/{k:g} was due",
                    then,
                ],
            },
            fix=Fix(FixSafety.UNSAFE, f"divide the loss by {k:g} before backward"),
        )
