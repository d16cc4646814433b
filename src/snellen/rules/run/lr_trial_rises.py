"""See LrTrialRises."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import lower_rate, set_recipe
from snellen.rules.run._trials import last, trials
from snellen.watching.facts import RunFacts


class LrTrialRises(Rule):
    """Five trial steps at the chosen learning rate raise the loss; at a tenth they lower it.

    ## What it does
    Takes five steps on one batch, from the same weights, at 0.1, 1 and 10 times the learning rate.

    ## Why is this bad?
    The first steps of the training overshoot; what pretrained weights knew is lost.

    ## How it is computed
    Loss after over loss before is at least `rise` at the chosen rate (or not finite), and below 1 at a tenth of it
    or the sweep over all rates suggests less than a tenth.

    ## Example
        lr-trial-rises  five steps at lr 10 take the loss to 41 times what it was (limit 2), at a tenth to 0.71 times

    ## Fix
    Divide the learning rate by 10, or warm it up.

    ## Known false positives
    A peak rate that a warm-up reaches only later: compare with the rate that the schedule begins with.

    ## References
    Smith 2017, Cyclical Learning Rates (arXiv:1506.01186), section 3.3.
    """

    name = "lr-trial-rises"
    code = "RUN067"
    category = Category.SUSPICIOUS
    causes = ("lr-too-high", "initial-loss-off", "negative-loss", "input-scale-off", "initial-scale-off")

    class Options(RuleOptions):
        """Options of this rule."""

        rise: float = 2.0
        """Loss after five steps over before; momentum alone overshoots by less at rates that train well."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = dict(trials(run, "lr-trial").select("setting", "value").iter_rows())
        here, tenth = rows.get(1.0), rows.get(0.1)
        if here is None or tenth is None or here < self.options.rise or tenth <= 0:
            return
        best = last(run, "lr-suggestion")
        rates = run.steps.select(pl.col("lr").max())["lr"].to_list() if run.steps.height else []
        rate = rates[0] if rates and rates[0] else None
        if tenth >= 1 and not (best and rate and best["value"] < rate / 10):
            return
        lower = lower_rate(run)
        hint = f"; the sweep suggests {best['value']:.2g}" if best else ""
        yield Finding(
            message=(
                f"five steps on one batch at lr {f'{rate:g}' if rate else 'as set'} take the loss to {here:.3g} times "
                f"what it was (limit {self.options.rise:g}), at a tenth of it to {tenth:.2g} times{hint}"
            ),
            evidence={"at_lr": here, "at_tenth": tenth, "suggestion": best["value"] if best else None},
            fix=Fix(FixSafety.UNSAFE, f"try lr {lower:g}", set_recipe(lr=lower))
            if lower
            else Fix(FixSafety.UNSAFE, "divide lr by 10"),
        )
