"""See ClippingDominates."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import family, sequences
from snellen.rules.run._edits import rounded, set_recipe
from snellen.rules.run._series import fall, signal
from snellen.watching.facts import RunFacts


class ClippingDominates(Rule):
    """Gradient clipping removes nearly the whole update.

    ## What it does
    Compares the norm before clipping with the limit.

    ## Why is this bad?
    The update is a tiny fraction of the gradient; with SGD the effective learning rate is that much lower.

    ## How it is computed
    Fires when more than `share` of the steps are clipped and the median limit / norm of those is below `ratio`. Where
    the loop does not tell its limit, the norm of a few gradients after backward is compared with that which the
    optimizer meets. Silent for Adam while its epsilon is small against what is left, and where the loss fell by
    `learned` all the same.

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
    causes = (
        "lr-too-high",
        "initial-loss-off",
        "gradients-not-cleared",
        "clip-before-unscale",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps that are clipped, in 0..1 (tuning playbook)."""
        ratio: float = 0.01
        """Median share of the gradient that is left, in 0..1."""
        learned: float = 0.5
        """Share by which the loss fell in spite of it; where clipping holds a run up it falls by less than 0.01."""
        min_steps: int = 10
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        whole = signal(run, "eps_kept").filter(pl.col("step") >= 1)["value"].drop_nulls().drop_nans()
        if family(run.optimizer).startswith("adam") and len(whole) and float(whole.median() or 0.0) >= 0.5:  # type: ignore[arg-type]
            return  # Adam divides the scale out again, unless the rest is below its epsilon.
        if fall(run) >= self.options.learned:
            return
        if run.steps["clip_limit"].drop_nulls().is_empty():
            yield from self._by_trace(run)
            return
        rows = run.steps.filter(pl.col("clip_limit").is_not_null() & pl.col("grad_norm").is_finite())
        clipped = rows.filter(pl.col("grad_norm") > pl.col("clip_limit"))
        if rows.height < self.options.min_steps or clipped.height <= self.options.share * rows.height:
            return
        kept = float(np.median((clipped["clip_limit"] / clipped["grad_norm"]).to_numpy()))
        if kept < self.options.ratio:
            usual = float(np.quantile(rows["grad_norm"].to_numpy(), 0.9))
            yield Finding(
                message=(
                    f"{clipped.height} of {rows.height} steps are clipped (limit "
                    f"{self.options.share:.0%}) to {kept:.1e} of their gradient; clipping removes the "
                    "update"
                ),
                evidence={
                    "clip_limit": rows["clip_limit"][0],
                    "kept": kept,
                    "percentile_90": usual,
                },
                affected=clipped.height,
                of=rows.height,
                fix=_clip_at(usual),
            )

    def _by_trace(self, run: RunFacts) -> Iterator[Finding]:
        """The same for a loop that tells no limit: from what is left of the gradients when the optimizer meets them."""
        orders = list(sequences(run))
        clipped = sum(s.steps for s in orders if "clip" in s.calls)
        if any("unscale" in s.calls for s in orders) or clipped <= self.options.share * sum(s.steps for s in orders):
            return
        values = signal(run, "clip_kept")["value"].to_numpy()
        values = values[np.isfinite(values)]
        if len(values) < 3 or run.steps.height < self.options.min_steps:
            return
        kept = float(np.median(values))
        if 0 < kept < self.options.ratio:
            norms = run.steps["grad_norm"].drop_nulls().to_numpy()
            before = float(np.median(norms)) / kept if len(norms) else float("nan")
            yield Finding(
                message=(
                    f"{clipped} of {run.steps.height} steps are clipped (limit {self.options.share:.0%}) to {kept:.1e} "
                    f"of their gradient, whose norm was about {before:.2g}; clipping removes the update"
                ),
                evidence={
                    "kept": kept,
                    "percentile_90": before,
                    "chain": [f"gradient norm {before:.2g} after backward", f"{kept:.1e} of it at step()"],
                },
                affected=clipped,
                of=run.steps.height,
                fix=_clip_at(before),
            )


def _clip_at(norm: float) -> Fix:
    limit = rounded(norm)
    if not 0 < limit < np.inf:
        return Fix(FixSafety.SAFE, "do not clip the gradient", set_recipe(clip_norm=0.0))
    return Fix(FixSafety.SAFE, f"clip at {limit:g}, the usual norm, or not at all", set_recipe(clip_norm=limit))
