"""See ClippingDominates."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class ClippingDominates(Rule):
    """Gradient clipping removes nearly the whole update.

    ## What it does
    Compares the norm before clipping with the limit.

    ## Why is this bad?
    The update is a tiny fraction of the gradient; with SGD the effective learning rate is that much lower.

    ## How it is computed
    Fires when more than `share` of the steps are clipped and the median limit / norm of those is below `ratio`.

    ## Example
        clipping-dominates 150 of 150 steps are clipped to 0.001 % of their gradient

    ## Fix
    Set the limit near the 90th percentile of the unclipped norm.

    ## Known false positives
    Adaptive optimizers (Adam) divide the scale out again, so that they train all the same.

    ## References
    Google's deep learning tuning playbook: clip at the 90th percentile; above 50 % clipped, lower the learning
    rate.
    """

    name = "clipping-dominates"
    code = "RUN020"
    category = Category.SUSPICIOUS
    causes = ("lr-too-high", "initial-loss-off", "gradients-not-cleared")

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps that are clipped, in 0..1 (tuning playbook)."""
        ratio: float = 0.01
        """Median share of the gradient that is left, in 0..1."""
        min_steps: int = 10
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.steps.filter(pl.col("clip_limit").is_not_null() & pl.col("grad_norm").is_finite())
        clipped = rows.filter(pl.col("grad_norm") > pl.col("clip_limit"))
        if rows.height < self.options.min_steps or clipped.height <= self.options.share * rows.height:
            return
        kept = float(np.median((clipped["clip_limit"] / clipped["grad_norm"]).to_numpy()))
        if kept < self.options.ratio:
            yield Finding(
                message=(
                    f"{clipped.height} of {rows.height} steps are clipped (limit "
                    f"{self.options.share:.0%}) to {kept:.1e} of their gradient; clipping removes the "
                    "update"
                ),
                evidence={
                    "clip_limit": rows["clip_limit"][0],
                    "kept": kept,
                    "percentile_90": float(np.quantile(rows["grad_norm"].to_numpy(), 0.9)),
                },
                affected=clipped.height,
                of=rows.height,
                fix=Fix(FixSafety.UNSAFE, "clip at the 90th percentile of the unclipped norm"),
            )
