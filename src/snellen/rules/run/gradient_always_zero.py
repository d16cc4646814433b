"""See GradientAlwaysZero."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class GradientAlwaysZero(Rule):
    """Layers get a gradient that is always exactly 0.

    ## What it does
    Lists parameters whose gradient norm was 0 at every sampled step while others had one.

    ## Why is this bad?
    They keep their start: an operation behind them has derivative 0 everywhere, or their result is multiplied by
    0.

    ## How it is computed
    Fires for parameters with a gradient of exactly 0 in all of at least `min_samples` samples over at least
    `min_steps` steps, while another parameter had one above 0 in each of them; a bias beside weights that learn is
    left out. Dead ReLUs and vanished gradients do the same and come first.

    ## Example
        gradient-always-zero 4 parameters (stem.0.weight ...) had a gradient of exactly 0 in 9 of 9 samples

    ## Fix
    Look behind the last layer named for round, sign, argmax, a comparison, a clamp that always bites, or a factor
    of 0.

    ## Known false positives
    A loss term whose weight is 0 on purpose.

    ## References
    PYSIASSIST: non-differentiable operations in the path; torch-audit TA103.
    """

    name = "gradient-always-zero"
    code = "RUN097"
    category = Category.SUSPICIOUS
    causes = (
        "no-positive-targets",
        "mostly-empty-targets",
        "target-boxes-in-other-units",
        "dead-relu",
        "step-function-in-forward",
        "projection-dead",
        "vanishing-gradient",
        "constant-input",
        "gradients-erased",
        "loss-not-finite",
        "relu-on-logits",
        "initial-loss-off",
        "update-below-resolution",
        "symmetric-units",
        "initial-weights-off-scale",
        "signal-lost-in-depth",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        min_samples: int = 5
        """Sampled steps in which it must have been 0."""
        min_steps: int = 20
        """Steps between the first and the last of them; a zero-initialised branch opens after one."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        rows = signal(run, "grad_norm").filter(pl.col("value").is_finite())
        if rows.is_empty():
            return
        each = rows.group_by("layer", maintain_order=True).agg(
            samples=pl.len(), largest=pl.col("value").max(), first=pl.col("step").min(), last=pl.col("step").max()
        )
        live = each.filter(pl.col("largest") > 0)
        learning = {name.rpartition(".")[0] for name in live["layer"]}
        zero = each.filter(
            (pl.col("largest") == 0)
            & (pl.col("samples") >= o.min_samples)
            & (pl.col("last") - pl.col("first") >= o.min_steps)
            # A bias beside weights that learn: what it adds cancels, as a constant does between two critics' means.
            & ~(pl.col("layer").str.ends_with("bias") & pl.col("layer").str.replace(r"\.?[^.]*$", "").is_in(learning))
        )
        if zero.is_empty() or live.is_empty():
            return
        names = zero["layer"].to_list()
        samples = int(zero["samples"][0])
        yield Finding(
            message=(
                f"{plural(len(names), 'parameter')} ({listed(names, 3)}) had a gradient of exactly 0 in all "
                f"{samples} samples "
                f"(limit {o.min_samples}) while {plural(live.height, 'other')} had one; an operation behind "
                f"{names[-1].rpartition('.')[0] or names[-1]} has no derivative"
            ),
            place=Place(layer=names[-1]),
            evidence={
                "parameters": names[:20],
                "chain": [f"0 at {len(names)} parameters up to {names[-1]}", f"above 0 from {live['layer'][0]} on"],
            },
            affected=len(names),
            of=each.height,
            fix=Fix(FixSafety.UNSAFE, "replace the operation without a derivative"),
        )
