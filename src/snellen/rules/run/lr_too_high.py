"""See LrTooHigh."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import LOSS_FAULTS, START_FAULTS
from snellen.rules.run._series import fall, first_loss, losses, ratios, signal, top_rate
from snellen.watching.facts import RunFacts


class LrTooHigh(Rule):
    """The learning rate is too high: updates are large and the loss rises or stays up.

    ## What it does
    Compares the size of the updates with the size of the weights, and what the loss did after them.

    ## Why is this bad?
    Each step overshoots: the loss explodes or settles where the network answers the same for every input; ReLUs
    die.

    ## How it is computed
    Fires when the largest sampled update ratio ||dW||/||W|| is at least `ratio` (1e-1: healthy runs have about
    1e-3; TheDeepChecker uses the same limit) and either a loss after step 0 is non-finite or above `rise` times the
    first, or over `min_steps` steps the loss fell by less than `least_fall`. Silent when a ReLU was dead at step 0
    already: then the learning rate is not the root.

    ## Example
        lr-too-high updates reach 230 % of the weights (limit 10 %) at lr 3 and the loss rose from 2.31 to 4e3; divide
        lr by 10

    ## Fix
    Divide the learning rate by 10 until the first ten losses fall; add a warm-up.

    ## Known false positives
    A network whose weights start near zero has large ratios; the loss has to misbehave as well.

    ## References
    TheDeepChecker (update ratio above 1e-1); Bengio 2012, Practical Recommendations, section 3.1.1.
    """

    name = "lr-too-high"
    code = "RUN002"
    category = Category.CORRECTNESS
    causes = (
        *LOSS_FAULTS,
        "input-scale-off",
        "gradients-not-cleared",
        "initial-loss-off",
        "constant-input",
        "softmax-before-cross-entropy",
        "relu-on-logits",
        "softmax-over-batch",
        "negative-loss",
        "weight-decay-dominates",
        "non-finite-weights",
        "symmetric-initialisation",
        "initial-scale-off",
        "exploding-gradient",
        *START_FAULTS,
    )

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 0.1
        """Largest sampled ||dW|| / ||W|| that is still usual; dimensionless."""
        rise: float = 3.0
        """A later loss above this many times the first counts as explosion; above the noise of small batches."""
        least_fall: float = 0.05
        """Share by which the loss must have fallen after `min_steps`."""
        dead: float = 0.98
        """Share of zeros of a ReLU at step 0 from which initialisation or input is to blame, in 0..1."""
        min_steps: int = 40
        """Steps before a loss that stays up counts."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        values, sizes = losses(run), ratios(run)
        first = first_loss(run)
        if len(values) < 3 or not len(sizes) or not np.isfinite(first) or sizes.max() < o.ratio:
            return
        starts = signal(run, "zero_fraction").filter(pl.col("step") == 0)["value"]
        if starts.len() and float(starts.to_numpy().max()) >= o.dead:
            return  # What was dead before the first update was not killed by it.
        later = values[1:]
        exploded = not np.isfinite(later).all() or (first > 0 and float(later.max()) > o.rise * first)
        stuck = len(values) >= o.min_steps and fall(run) < o.least_fall
        if not (exploded or stuck):
            return
        rate = top_rate(run)
        peak = (
            float(np.nanmax(np.where(np.isfinite(later), later, np.nan))) if np.isfinite(later).any() else float("inf")
        )
        what = (
            f"the loss rose from {first:.3g} to {peak:.3g}"
            if exploded
            else f"the loss fell by {max(fall(run), 0.0):.1%} in {len(values)} steps"
        )
        yield Finding(
            message=(
                f"one update moved the weights by {sizes.max():.0%} of their norm (limit {o.ratio:.0%}) "
                f"at lr {rate:g} and {what}; the steps overshoot"
            ),
            evidence={"largest_update_ratio": float(sizes.max()), "lr": rate, "first_loss": first, "peak_loss": peak},
            fix=Fix(FixSafety.UNSAFE, f"try lr {rate / 10:g}"),
        )
