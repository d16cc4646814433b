"""See LrTooLow."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._edits import higher_rate, set_recipe
from snellen.rules.run._series import fall, ratios, top_rate, warming_up
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
    inside a warm-up.

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
    )

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 1e-5
        """Update ratio below which weights stand still; dimensionless (torchmortem)."""
        healthy_gradient: float = 1e-3
        """Global gradient norm from which the gradient is not to blame."""
        least_fall: float = 0.02
        """Share by which the loss would have fallen."""
        min_steps: int = 30
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        sizes = ratios(run)
        norms = run.steps["grad_norm"].drop_nulls()
        if run.steps.height < o.min_steps or not len(sizes) or not len(norms) or warming_up(run):
            return
        norm = float(np.median(norms.to_numpy()))
        if 0 < sizes.max() < o.ratio and norm >= o.healthy_gradient and fall(run) < o.least_fall:
            rate, higher = top_rate(run), higher_rate(run)
            yield Finding(
                message=(
                    f"updates are at most {sizes.max():.1e} of the weights (limit {o.ratio:.0e}) at lr "
                    f"{rate:g}, gradients are healthy (norm {norm:.2g}) and the loss fell by "
                    f"{max(fall(run), 0.0):.1%}; multiply lr by 10 to 1000"
                ),
                evidence={"largest_update_ratio": float(sizes.max()), "median_grad_norm": norm, "lr": rate},
                fix=Fix(FixSafety.SAFE, f"try lr {higher:g}", set_recipe(lr=higher))
                if higher
                else Fix(FixSafety.UNSAFE, "multiply lr by 10"),
            )
