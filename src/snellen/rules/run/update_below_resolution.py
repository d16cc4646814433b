"""See UpdateBelowResolution."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._series import signal, top_rate
from snellen.watching.facts import RunFacts


class UpdateBelowResolution(Rule):
    """Updates are smaller than what the weights can resolve.

    ## What it does
    Counts the weights in half precision that a step leaves exactly as they were although they had a gradient.

    ## Why is this bad?
    bfloat16 keeps 8 bits: an update below 1/512 of a weight rounds to nothing, however many follow.

    ## How it is computed
    Fires when, over at least `min_samples` sampled steps with at least half of the highest learning rate, the median
    share of half-precision weights with a gradient that did not change is at least `share` in the later half.

    ## Example
        update-below-resolution 99.8 % of the bfloat16 weights did not change in a step at lr 1e-5

    ## Fix
    Keep the weights in float32 and compute under autocast; or use stochastic rounding or a master copy.

    ## Known false positives
    None known.

    ## References
    Zamirai et al. 2020, Revisiting BFloat16 Training, arXiv:2010.06192.
    """

    name = "update-below-resolution"
    code = "RUN105"
    category = Category.SUSPICIOUS
    causes = (
        "lr-zero",
        "gradients-erased",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.85
        """Share of the weights, in 0..1; bfloat16 with a usual rate and Adam leaves 0.1 to 0.6."""
        min_samples: int = 3
        """Sampled steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        top = top_rate(run)
        rows = signal(run, "rounded_away").filter(pl.col("value").is_finite())
        # At the end of a decay to 0 every step is small.
        rows = rows.join(run.steps.select("step", "lr"), on="step", how="left").filter(pl.col("lr") >= top / 2)
        if rows.height < o.min_samples or not top > 0:
            return
        share = float(np.median(rows["value"].to_numpy()[rows.height // 2 :]))
        if share >= o.share:
            yield Finding(
                message=(
                    f"{share:.1%} of the half-precision weights with a gradient (limit {o.share:.0%}) were left "
                    f"unchanged by a "
                    f"step at lr {top_rate(run):g}; the updates are below the resolution of the weights' type"
                ),
                evidence={
                    "share": share,
                    "lr": top_rate(run),
                    "chain": [f"{v:.1%} unchanged at step {s}" for s, v in rows.select("step", "value").rows()[:3]],
                },
                fix=Fix(FixSafety.UNSAFE, "keep float32 weights and compute under autocast"),
            )
