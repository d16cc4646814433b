"""See WeightDecayDominates."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import fall, weight_norms
from snellen.rules.run._trials import learned
from snellen.watching.facts import RunFacts


class WeightDecayDominates(Rule):
    """Weight decay, or a penalty on the weights in the loss, is stronger than the data.

    ## What it does
    Compares the pull of weight decay with that of the data, early in the run, and the weights' norm with that of the
    start.

    ## Why is this bad?
    The weights shrink to 0 and the network answers the same for every image.

    ## How it is computed
    Coupled decay (SGD, Adam): wd ||W|| / ||g||. Decoupled (AdamW): share of lr wd in the update ratio, as odds.
    Fires when the median over the first samples is at least `ratio` (TheDeepChecker: 2) and the loss fell by less
    than `least_fall` over `min_steps`. Fires too, whatever the decay is called, when the norm of all weights fell to
    less than `kept` of its start, and either the loss fell by less than `least_fall` or the outputs of different
    samples differ by less than `constant` of their size.

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
    causes = ("gradients-erased", "layer-without-gradient", "gradient-ascent", "negative-loss", "optimizer-never-steps")

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 2.0
        """Pull of decay over pull of data."""
        least_fall: float = 0.3
        """Share by which the loss would have fallen."""
        min_steps: int = 40
        """Steps before anything is said."""
        kept: float = 0.3
        """Norm of all weights at the end over that at the start; up to 0.9 no healthy run is spoken of."""
        constant: float = 1e-4
        """Relative deviation of the outputs among samples of a network that answers one constant."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        if run.steps.height < o.min_steps:
            return
        decay, flat = float(run.options.get("weight_decay") or 0.0), fall(run) < o.least_fall
        decoupled = run.optimizer in ("AdamW", "NAdamW", "LAMB") or bool(run.options.get("decoupled_weight_decay"))
        norms = weight_norms(run)
        pull = self._pull(run, norms, decay, decoupled) if decay > 0 and flat else 0.0
        weights = norms["weight"].to_numpy()
        kept = float(weights[-1] / weights[0]) if len(weights) and weights[0] > 0 else 1.0
        answers = learned(run, "sample-spread", o.min_steps)
        constant = answers is not None and answers["value"] < o.constant
        name = f"weight decay {decay:g}" if decay > 0 else "a penalty on the weights in the loss"
        if pull >= o.ratio:
            what = f"{name} pulls {pull:.1f} times as hard as the data (limit {o.ratio:g}) in the first samples"
        elif kept < o.kept and (flat or constant):
            what = f"the weights shrank to {kept:.1%} of their norm (limit {o.kept:.0%}), as {name} makes them"
        else:
            return
        then = "the network answers one constant" if constant else f"the loss fell by {max(fall(run), 0.0):.1%}"
        usual = 0.05 if decoupled else 5e-4
        yield Finding(
            message=f"{what}, and {then}; the weights shrink instead of learning",
            evidence={"weight_decay": decay, "pull": pull, "kept": kept},
            fix=Fix(FixSafety.UNSAFE, f"use weight_decay {usual:g}", set_recipe(weight_decay=usual))
            if decay > 0
            else Fix(FixSafety.UNSAFE, "divide the factor of the penalty by 1000"),
        )

    @staticmethod
    def _pull(run: RunFacts, norms: pl.DataFrame, decay: float, decoupled: bool) -> float:
        """Pull of the decay over that of the data in the first samples; 0 where it was not measured."""
        rows = run.steps.join(norms, on="step").drop_nulls(["grad_norm", "update_ratio", "lr"]).sort("step").head(5)
        rows = rows.filter((pl.col("grad_norm") > 0) & (pl.col("update_ratio") > 0) & (pl.col("lr") > 0))
        if not rows.height:
            return 0.0
        if decoupled:
            part = (decay * rows["lr"] / rows["update_ratio"]).clip(0, 0.999)
            return float(np.median((part / (1 - part)).to_numpy()))
        return float(np.median((decay * rows["weight"] / rows["grad_norm"]).to_numpy()))
