"""See LossSummedOverBatch."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._loss import form
from snellen.rules.run._series import fall, first_loss, losses, ratios
from snellen.watching.facts import RunFacts


class LossSummedOverBatch(Rule):
    """The loss is a sum over the batch, and the steps are too large for it.

    ## What it does
    Recognises the reduction of the loss, and looks whether the run suffers from it.

    ## Why is this bad?
    The gradient, and with it every step of plain SGD, is as many times larger as the batch has terms; a larger batch
    makes it larger still, and clipping cuts all of it off.

    ## How it is computed
    Fires when the loss equals the sum of its terms and one of these holds: a loss is not finite; a later loss is above
    `rise` times the first; the loss fell by less than `least_fall` in `min_steps` steps; an update moved the weights by
    `ratio` or more; the gradient is above `clipped` times the clipping limit in more than half of the steps. A sum
    with a rate that fits is silent.

    ## Example
        loss-summed-over-batch the loss is the sum of 32 cross-entropies and the first update moved the weights by 60 %

    ## Fix
    `reduction="mean"`, or a learning rate divided by the number of terms.

    ## Known false positives
    A sum by intent in a run that fails for another reason.

    ## References
    TheDeepChecker doubles the batch and compares the losses; Goyal et al. 2017, section 2.1, on sums and means.
    """

    name = "loss-summed-over-batch"
    code = "RUN046"
    category = Category.CORRECTNESS
    causes = ("non-finite-data",)

    class Options(RuleOptions):
        """Options of this rule."""

        rise: float = 3.0
        """As in lr-too-high."""
        least_fall: float = 0.05
        """As in lr-too-high."""
        min_steps: int = 40
        """As in lr-too-high."""
        ratio: float = 0.1
        """As in lr-too-high: ||dW|| / ||W||; healthy runs have about 1e-3."""
        clipped: float = 4.0
        """Gradient over clipping limit; runs that clip outliers have a median below 1."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if known.get("reduction") != "sum" or known.get("sign") != 1 or len(losses(run)) < 3:
            return
        harm = self._harm(run)
        if harm:
            yield Finding(
                message=(
                    f"the loss is the sum of the batch's {known['name']} terms, not their mean (limit 1 term), and "
                    f"{harm}: steps are as many times too large as there are terms"
                ),
                place=Place(layer="loss"),
                evidence={"loss": known["name"], "error": known["error"], "first_loss": first_loss(run)},
                fix=Fix(FixSafety.UNSAFE, 'reduction="mean"', set_recipe(loss_reduction="mean")),
            )

    def _harm(self, run: RunFacts) -> str:
        o, values, sizes, first = self.options, losses(run), ratios(run), first_loss(run)
        if not np.isfinite(values).all():
            return f"{int((~np.isfinite(values)).sum())} losses are not finite"
        if first > 0 and values[1:].max() > o.rise * first:
            return f"it rose from {first:.3g} to {values[1:].max():.3g}"
        if len(values) >= o.min_steps and fall(run) < o.least_fall:
            return f"it fell by {max(fall(run), 0):.1%} in {len(values)} steps"
        if len(sizes) and sizes.max() >= o.ratio:
            return f"one update moved the weights by {sizes.max():.0%} of their norm"
        limits = run.steps.drop_nulls(["clip_limit", "grad_norm"])
        if limits.height:
            over = float(np.median(limits["grad_norm"].to_numpy() / limits["clip_limit"].to_numpy()))
            if over > o.clipped:
                return f"the median gradient is {over:.0f} times the clipping limit"
        return ""
