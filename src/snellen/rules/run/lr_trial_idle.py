"""See LrTrialIdle."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import rounded, set_recipe
from snellen.rules.run._trials import last, trials
from snellen.watching.facts import RunFacts


class LrTrialIdle(Rule):
    """Five trial steps at ten times the chosen learning rate still change nothing.

    ## What it does
    Takes five steps on one batch, from the same weights, at 0.1, 1 and 10 times the learning rate, and sweeps the rate.

    ## Why is this bad?
    The training will take a hundred times longer than it need, or never arrive.

    ## How it is computed
    Five steps at 10 times the chosen rate lower the loss by less than `least` of it, and the sweep's suggestion is at
    least `apart` times the chosen rate. A rate that a warm-up has set low counts as the one it rises to.

    ## Example
        lr-trial-idle  five steps at 10 times lr 1e-07 lower the loss by 0.01 %; the sweep suggests 0.02

    ## Fix
    Raise the learning rate towards the suggestion.

    ## Known false positives
    Fine-tuning that is meant to move hardly at all.

    ## References
    Smith 2017, Cyclical Learning Rates (arXiv:1506.01186), section 3.3.
    """

    name = "lr-trial-idle"
    code = "RUN068"
    category = Category.SUSPICIOUS
    causes = (
        "lr-too-low",
        "lr-zero",
        "layer-without-gradient",
        "parameters-missing-from-optimizer",
        "dead-relu",
        "vanishing-gradient",
        "constant-input",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        least: float = 1e-3
        """Share by which five steps at ten times the rate should lower the loss of the batch they are taken on."""
        apart: float = 300.0
        """Suggested over chosen rate; a sweep on one batch suggests up to a few tens too much."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = dict(trials(run, "lr-trial").select("setting", "value").iter_rows())
        ten, best = rows.get(10.0), last(run, "lr-suggestion")
        rates = run.steps.select(pl.col("lr").max())["lr"].drop_nulls().to_list()
        if ten is None or best is None or not rates or rates[0] <= 0:
            return
        if not 0 <= 1 - ten < self.options.least or best["value"] < self.options.apart * rates[0]:
            return
        higher = rounded(best["value"] / 10)
        yield Finding(
            message=(
                f"five steps on one batch at 10 times lr {rates[0]:g} lower its loss by {1 - ten:.2%} (limit "
                f"{self.options.least:.1%}); the sweep suggests {best['value']:.2g}"
            ),
            evidence={"at_ten_times": ten, "suggestion": best["value"], "lr": rates[0]},
            fix=Fix(FixSafety.UNSAFE, f"try lr {higher:g}", set_recipe(lr=higher)),
        )
