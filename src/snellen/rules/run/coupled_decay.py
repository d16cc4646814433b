"""See CoupledDecay."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import family
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import weight_norms
from snellen.watching.facts import RunFacts


class CoupledDecay(Rule):
    """Adam is given weight decay that is meant for AdamW.

    ## What it does
    Looks for weight decay in Adam, which adds it to the gradient, and how much of the gradient it makes.

    ## Why is this bad?
    Adam divides the decay by the same root as the gradient: weights with small gradients are decayed hard, others
    not at all.

    ## How it is computed
    Fires for Adam (not AdamW) when wd ||W|| is at least `share` of the gradient norm, median over the first
    samples.

    ## Example
        coupled-decay weight decay 0.1 in Adam makes 40 % of the gradient (limit 10 %)

    ## Fix
    Use AdamW.

    ## Known false positives
    Recipes tuned with Adam and a small L2 term stay below the limit.

    ## References
    Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, arXiv:1711.05101; torch-audit TA401.
    """

    name = "coupled-decay"
    code = "RUN087"
    category = Category.STYLE

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.1
        """wd ||W|| / ||g|| from which decay steers; L2 terms of 1e-4 make about 1e-3."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        decay = float(run.options.get("weight_decay") or 0.0)
        if decay <= 0 or family(run.optimizer) != "adam" or run.options.get("decoupled_weight_decay"):
            return
        rows = run.steps.join(weight_norms(run), on="step").drop_nulls(["grad_norm"]).sort("step").head(5)
        rows = rows.filter(pl.col("grad_norm") > 0)
        if not rows.height:
            return
        share = float(np.median((decay * rows["weight"] / rows["grad_norm"]).to_numpy()))
        if share >= self.options.share:
            yield Finding(
                message=(
                    f"weight decay {decay:g} in {run.optimizer} makes {share:.0%} of the gradient (limit "
                    f"{self.options.share:.0%}) and is divided by Adam's root with it; AdamW decays apart from "
                    f"the gradient"
                ),
                evidence={"weight_decay": decay, "share": share, "chain": [f"{run.optimizer}", f"decay {decay:g}"]},
                fix=Fix(FixSafety.UNSAFE, "use AdamW", set_recipe(optimizer="adamw")),
            )
