"""See LrTooLow."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import higher_rate, set_recipe
from snellen.rules.run._measures import number
from snellen.rules.run._series import cross_entropy, event, fall, late_loss, ratios, top_rate, warming_up
from snellen.watching.facts import RunFacts


class LrTooLow(Rule):
    """The learning rate is too low: gradients are healthy and the weights hardly move.

    ## What it does
    Finds runs whose every sampled update is tiny although gradients are not.

    ## Why is this bad?
    Training needs a hundred to ten thousand times as many steps as it should.

    ## How it is computed
    Fires after `min_steps` steps when the largest sampled update ratio ||dW||/||W|| is below `ratio` and above 0,
    the median gradient norm is at least `healthy_gradient`, and the loss fell by less than `least_fall`. Silent
    inside a warm-up. Where a copy of the network, trained on a few samples, brought the loss below `learnable` of what
    the run has, `ratio_of_learnable` is the limit; and `ratio_at_chance` where moreover the run ended with a
    cross-entropy of `chance` or more of the entropy of its labels. Fires, too, for a OneCycleLR that was made for as
    many steps as the run had, was stepped in less than `stepped` of them, and ended with its rate still below half its
    peak.

    ## Example
        lr-too-low updates are at most 3e-8 of the weights (limit 1e-5) at lr 1e-7 while gradients are healthy (norm
        0.9)

    ## Fix
    The edit is the rate at which the first updates are about 5 % of the weights (SGD: 1 %). By hand: multiply the rate
    by 10 until the update ratio is about 1e-3.

    ## Known false positives
    A fine-tuning that starts at a minimum; its gradients are usually small too.

    ## References
    torchmortem and Karpathy's recipe: about 1e-3 is usual, below 1e-5 nothing is learned.
    """

    name = "lr-too-low"
    code = "RUN003"
    category = Category.SUSPICIOUS
    causes = (
        "clipping-dominates",
        "lr-zero",
        "parameters-missing-from-optimizer",
        "gradients-erased",
        "update-below-resolution",
        "adam-eps-dominates",
        "clip-before-unscale",
        "lr-decays-too-fast",
        "labels-carry-no-information",
        "dead-relu",
        "vanishing-gradient",
        "signal-lost-in-depth",
        "scheduler-never-called",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 1e-5
        """Update ratio below which weights stand still; dimensionless (torchmortem)."""
        healthy_gradient: float = 1e-3
        """Global gradient norm from which the gradient is not to blame."""
        least_fall: float = 0.02
        """Share by which the loss would have fallen."""
        ratio_of_learnable: float = 5e-5
        """The same where the trial learned a few of the samples; a twentieth of the usual 1e-3."""
        ratio_at_chance: float = 1e-3
        """The same where that trial went well and the run ended at chance; the usual size."""
        chance: float = 0.95
        """Last losses over the entropy of the labels from which a run is at chance."""
        fall_at_chance: float = 0.05
        """Share by which the loss of such a run fell at most."""
        learnable: float = 0.5
        """Loss of that trial over the run's last losses, in 0..1."""
        stepped: float = 0.25
        """Share of its steps that a one-cycle schedule made; its rise is 0.3 of them by default."""
        long: int = 100
        """Steps after which a warm-up must have let the network learn something."""
        min_steps: int = 30
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        kept_low = self._kept_low(run)
        if kept_low:
            yield kept_low
            return
        sizes = ratios(run)
        norms = run.steps["grad_norm"].drop_nulls()
        if run.steps.height < o.min_steps or not len(sizes) or not len(norms):
            return
        learnable = self._learnable(run)
        at_chance = run.finished and learnable and self._at_chance(run)
        # A run may be stopped within its warm-up; one that ends in it without having learned had too long a one.
        if warming_up(run) and not (at_chance and run.steps.height >= o.long):
            return
        norm = float(np.median(norms.to_numpy()))
        limit, least = o.ratio, o.least_fall
        if learnable:
            limit, least = (o.ratio_at_chance, o.fall_at_chance) if at_chance else (o.ratio_of_learnable, least)
        if 0 < sizes.max() < limit and norm >= o.healthy_gradient and fall(run) < least:
            rate, higher = top_rate(run), higher_rate(run)
            yield Finding(
                message=(
                    f"updates are at most {sizes.max():.1e} of the weights (limit {limit:.0e}) at lr "
                    f"{rate:g}, gradients are healthy (norm {norm:.2g}) and the loss fell by "
                    f"{max(fall(run), 0.0):.1%}; multiply lr by 10 to 1000"
                ),
                evidence={"largest_update_ratio": float(sizes.max()), "median_grad_norm": norm, "lr": rate},
                fix=Fix(FixSafety.SAFE, f"try lr {higher:g}", set_recipe(lr=higher))
                if higher
                else Fix(FixSafety.UNSAFE, "multiply lr by 10"),
            )

    def _learnable(self, run: RunFacts) -> bool:
        """Whether the same network learned a few of the samples when it was trained on them at another rate."""
        rows = run.trials.filter(pl.col("trial") == "overfit-loss")["value"].drop_nulls()
        return len(rows) > 0 and float(rows.min()) < self.options.learnable * late_loss(run)  # type: ignore[arg-type]

    def _at_chance(self, run: RunFacts) -> bool:
        """Whether the cross-entropy is in the end no better than that of the labels' shares."""
        entropy = number(run, "label-entropy")
        return cross_entropy(run) and entropy > 0 and late_loss(run) >= self.options.chance * entropy

    def _kept_low(self, run: RunFacts) -> Finding | None:
        """The finding for a one-cycle schedule that is stepped per epoch and was made for batches."""
        total, peak, made = (event(run, f"scheduler-{what}") for what in ("total", "peak", "steps"))
        steps, rate = run.steps.height, top_rate(run)
        if total is None or peak is None or made is None or not run.finished or steps < self.options.min_steps:
            return None
        whole = 0.9 * steps <= total["value"] <= 1.1 * steps
        if not whole or made["value"] >= self.options.stepped * total["value"] or not rate < 0.5 * peak["value"]:
            return None
        return Finding(
            message=(
                f"OneCycleLR was made for {total['value']:g} steps and stepped {made['value']:g} times (limit "
                f"{self.options.stepped:.0%}) in a run of {steps}: the lr rose to {rate:.3g} of {peak['value']:g} at "
                "most; it is stepped per epoch, not per batch"
            ),
            evidence={"total": total["value"], "made": made["value"], "lr": rate, "peak": peak["value"]},
            fix=Fix(FixSafety.UNSAFE, "call scheduler.step() after each optimizer.step()"),
        )
