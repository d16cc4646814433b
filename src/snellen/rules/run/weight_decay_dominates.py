"""See WeightDecayDominates."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import fall, signal
from snellen.watching.facts import RunFacts


class WeightDecayDominates(Rule):
    """Weight decay is stronger than the gradient.

    ## What it does
    Compares the pull of weight decay with that of the data, early in the run.

    ## Why is this bad?
    The weights shrink to 0 and the network answers the same for every image.

    ## How it is computed
    Coupled decay (SGD, Adam): wd ||W|| / ||g||. Decoupled (AdamW): share of lr wd in the update ratio, as odds.
    Fires when the median over the first samples is at least `ratio` (TheDeepChecker: 2) and the loss fell by less
    than `least_fall` over `min_steps`.

    ## Example
        weight-decay-dominates decay pulls 4.8 times as hard as the data at weight_decay 1

    ## Fix
    Use 1e-4 to 5e-4 with SGD, 0.01 to 0.1 with AdamW.

    ## Known false positives
    None known: near convergence decay does outweigh gradients, so that only early samples count.

    ## References
    TheDeepChecker, regularisation gradient / data gradient.
    """

    name = "weight-decay-dominates"
    code = "RUN021"
    category = Category.SUSPICIOUS
    causes = ("gradients-erased", "layer-without-gradient")

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 2.0
        """Pull of decay over pull of data."""
        least_fall: float = 0.3
        """Share by which the loss would have fallen."""
        min_steps: int = 40
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        decay = float(run.options.get("weight_decay") or 0.0)
        if decay <= 0 or run.steps.height < o.min_steps or not fall(run) < o.least_fall:
            return
        norms = signal(run, "weight_norm").group_by("step").agg(weight=(pl.col("value") ** 2).sum().sqrt())
        rows = run.steps.join(norms, on="step").drop_nulls(["grad_norm", "update_ratio", "lr"]).sort("step").head(5)
        rows = rows.filter((pl.col("grad_norm") > 0) & (pl.col("update_ratio") > 0) & (pl.col("lr") > 0))
        if not rows.height:
            return
        decoupled = run.optimizer in ("AdamW", "NAdamW", "LAMB") or bool(run.options.get("decoupled_weight_decay"))
        usual = 0.05 if decoupled else 5e-4
        if decoupled:
            part = (decay * rows["lr"] / rows["update_ratio"]).clip(0, 0.999)
            pull = float(np.median((part / (1 - part)).to_numpy()))
        else:
            pull = float(np.median((decay * rows["weight"] / rows["grad_norm"]).to_numpy()))
        if pull >= o.ratio:
            yield Finding(
                message=(
                    f"weight decay {decay:g} pulls {pull:.1f} times as hard as the data (limit "
                    f"{o.ratio:g}) in the first samples and the loss fell by {max(fall(run), 0.0):.1%}; "
                    "the weights shrink instead of learning"
                ),
                evidence={"weight_decay": decay, "pull": pull},
                fix=Fix(FixSafety.UNSAFE, f"use weight_decay {usual:g}", set_recipe(weight_decay=usual)),
            )
