"""See LrTooHigh."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import LOSS_FAULTS, START_FAULTS
from snellen.rules.run._edits import lower_rate, set_recipe
from snellen.rules.run._layers import matrices
from snellen.rules.run._series import fall, first_loss, late_loss, losses, ratios, signal, top_rate
from snellen.watching.facts import RunFacts

FIRST = 3
"""Samples that show the first updates; the first three steps are always sampled."""


class LrTooHigh(Rule):
    """The learning rate is too high: updates are large and the loss rises or stays up.

    ## What it does
    Compares the size of the updates with the size of the weights, and what the loss did after them.

    ## Why is this bad?
    Each step overshoots: the loss explodes or settles where the network answers the same for every input; ReLUs
    die.

    ## How it is computed
    Fires when the largest sampled update ratio ||dW||/||W|| is at least `ratio` (1e-1: healthy runs have about 1e-3;
    TheDeepChecker uses the same limit) and either a loss after step 0 is non-finite or above `rise` times the first, or
    over `min_steps` steps at a rate that stays the loss fell by less than `least_fall`. Fires too when one of the first
    updates was at least `large`, the loss rose `early_rise`-fold within `soon` steps and then fell by less than
    `learned`; when one was at least `replaced`; and when one of the first was at least `deadly` and killed a ReLU layer
    that was alive at step 0. Silent when a ReLU was dead at step 0 already: then the learning rate is not the root.

    ## Example
        lr-too-high updates reach 230 % of the weights (limit 10 %) at lr 3 and the loss rose from 2.31 to 4e3; divide
        lr by 10

    ## Fix
    The edit is the rate at which the first updates are about 5 % of the weights (SGD: 1 %), or a tenth of what a sweep
    suggested. By hand: divide the rate by 10 until the first ten losses fall; add a warm-up.

    ## Known false positives
    A network whose weights start near zero has large ratios; the loss has to misbehave as well.

    ## References
    TheDeepChecker (update ratio above 1e-1); Bengio 2012, Practical Recommendations, section 3.1.1.
    """

    name = "lr-too-high"
    code = "RUN002"
    category = Category.CORRECTNESS
    causes = (
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
        "momentum-too-high",
        "accumulation-not-averaged",
        "parameter-in-two-optimizers",
        "optimizer-state-lost",
        "class-pure-batches",
        "scaler-bypassed",
        *LOSS_FAULTS,
        *START_FAULTS,
        "clip-after-step",
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
        large: float = 0.15
        """Update ratio in the first samples from which a rise of the loss right after is its work; RMSprop and Adagrad
        start with 0.3 to 0.4 in healthy runs, whose loss does not rise."""
        early_rise: float = 1.1
        """Loss within `soon` steps over the first one."""
        soon: int = 20
        """Steps after the first that are soon."""
        learned: float = 0.25
        """Share by which the loss has fallen in spite of its rise, from which the steps can hardly be too large: sparse
        models such as skip-grams jump at first and learn best so."""
        replaced: float = 1.0
        """Update ratio at which one step replaces the weights: the initialisation is gone, whatever the loss does."""
        few: int = 50
        """Weights of a line or a small table, whose first values are no more than a place to start from."""
        deadly: float = 0.03
        """Update ratio in the first samples that is to blame for a layer of ReLU that died then."""
        from_zero: float = 20.0
        """Ratio of the first update above which the weights began at about 0, where a ratio says nothing."""
        zero: float = 1e6
        """Ratio of the first updates that is only met where all weights began at 0, as those of a table of values: its
        first loss is as small as it is by chance."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        values, sizes = losses(run), ratios(run)
        first = first_loss(run)
        if len(values) < 3 or not len(sizes) or not np.isfinite(first):
            return
        lbfgs = run.optimizer.lower() == "lbfgs"
        killed = not lbfgs and o.deadly <= sizes[:FIRST].max() <= o.from_zero and self._killed(run)
        if sizes.max() < o.ratio and not killed:
            return
        if sizes[:FIRST].max() > o.zero and np.isfinite(values).all():
            return
        # A step of LBFGS is many, each tried on the loss before it is taken.
        measured = sizes[0] <= o.from_zero and not lbfgs
        drawn = [row["start_norm"] for row in matrices(run)]
        kinds = set(run.modules.filter(pl.col("parameters") > 0)["kind"])
        # Points in a space begin close together and are moved apart, as in Poincaré embeddings.
        points = kinds == {"Embedding"}
        # One linear layer learns the same from everywhere.
        if (drawn and not any(drawn)) or len(drawn) == 1 or points or 0 < run.trainable_params < o.few:
            measured = False  # There is no initialisation to be lost.
        whole = float(sizes[:FIRST].max()) if measured else 0.0
        starts = signal(run, "zero_fraction").filter(pl.col("step") == 0)["value"]
        if starts.len() and float(starts.to_numpy().max()) >= o.dead:
            return  # What was dead before the first update was not killed by it.
        later = values[1:]
        # The middle of three, so that one hard batch of few samples is no explosion.
        level = np.median(np.stack([later[:-2], later[1:-1], later[2:]]), axis=0) if len(later) > 2 else later
        # A loss that may be negative has no floor to be a multiple of.
        floored = first > 0 and float(np.nanmin(values)) >= 0
        exploded = not np.isfinite(later).all() or (floored and float(level.max()) > o.rise * first)
        # What fell at once and stays there has learned what there was.
        learned = first > 0 and late_loss(run) < (1 - o.learned) * first
        stuck = len(values) >= o.min_steps and fall(run) < o.least_fall and not learned and _stays(run)
        early = later[: o.soon][np.isfinite(later[: o.soon])]
        jumped = (
            len(values) >= o.min_steps
            and 0 < first < float(early.max(initial=0.0)) / o.early_rise
            and whole >= o.large
            and fall(run) < o.learned
        )
        if not (exploded or stuck or jumped or killed or whole >= o.replaced):
            return
        limit = o.ratio if sizes.max() >= o.ratio else o.deadly
        rate, lower = top_rate(run), lower_rate(run)
        peak = (
            float(np.nanmax(np.where(np.isfinite(later), later, np.nan))) if np.isfinite(later).any() else float("inf")
        )
        if exploded:
            what = f"the loss rose from {first:.3g} to {peak:.3g}"
        elif jumped:
            what = f"the loss rose at once from {first:.3g} to {early.max():.3g}, and since fell by {fall(run):.0%}"
        elif stuck:
            what = f"the loss fell by {max(fall(run), 0.0):.1%} in {len(values)} steps"
        elif killed:
            what = "a layer of ReLU that was alive has been dead ever since"
        else:
            what = "nothing is left of the initialisation"
        chain = [
            f"updates of {', '.join(f'{v:.0%}' for v in sizes[:FIRST])} of the weights in the first samples",
            f"loss {first:.3g} before the first update, {peak:.3g} at most after it",
            f"lr {rate:g}",
        ]
        yield Finding(
            message=(
                f"one update moved the weights by {sizes.max():.0%} of their norm (limit {limit:.0%}) "
                f"at lr {rate:g} and {what}; the steps overshoot"
            ),
            evidence={
                "largest_update_ratio": float(sizes.max()),
                "lr": rate,
                "first_loss": first,
                "peak_loss": peak,
                "chain": chain,
            },
            fix=Fix(FixSafety.SAFE, f"try lr {lower:g}", set_recipe(lr=lower))
            if lower
            else Fix(FixSafety.UNSAFE, "divide lr by 10"),
        )

    def _killed(self, run: RunFacts) -> bool:
        """Whether a ReLU, alive at step 0, was dead soon after and in all samples from there on."""
        for _, rows in signal(run, "zero_fraction").sort("step").group_by("layer"):
            steps, zeros = rows["step"].to_numpy(), rows["value"].to_numpy()
            soon = np.flatnonzero((steps > 0) & (steps <= self.options.soon))
            if len(soon) and steps[0] == 0 and bool((zeros[soon[-1] :] >= self.options.dead).all()):
                return True
        return False


def _stays(run: RunFacts) -> bool:
    """Whether half of the steps had at least a tenth of the highest rate: a loss cannot fall at no rate."""
    rates = run.steps["lr"].drop_nulls().to_numpy()
    return not len(rates) or bool(np.median(rates) >= 0.1 * rates.max())
