"""See TargetScaleOff."""

import math
from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import distance, rows
from snellen.rules.run._series import late_loss
from snellen.watching.facts import RunFacts


class TargetScaleOff(Rule):
    """The numbers to regress are far larger than what a fresh network gives, and the run is spent on the way there.

    ## What it does
    Compares the targets with the first outputs, and the last losses with what their mean as the only answer would cost.

    ## Why is this bad?
    A last layer begins near 0 and moves by about the learning rate a step; prices of 200,000 are out of reach.

    ## How it is computed
    Fires when the loss is a distance, the root mean square of the targets is at least `ratio` times that of the first
    outputs and of 1, and after `steps` steps the loss is above that of the constant guess: the variance of the targets
    for a squared error, 0.8 deviations for an absolute one.

    ## Example
        target-scale-off targets of mean 2.1e+05 and std 8e+04 against first outputs of 0.12

    ## Fix
    Standardise the targets by mean and deviation of the training part, and undo it when predicting; or take their
    logarithm.

    ## Known false positives
    None known: the run ended worse than the mean of its targets.

    ## References
    LeCun et al. 1998, Efficient BackProp, section 4.5 (target values).
    """

    name = "target-scale-off"
    code = "RUN201"
    category = Category.SUSPICIOUS
    causes = ("broadcast-loss", "loss-not-finite", "optimizer-never-steps", "no-backward", "lr-zero", "gradient-ascent")

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 30.0
        """Root mean square of the targets over that of the first outputs."""
        steps: int = 100
        """Steps after which the scale should have been reached."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known, targets, outputs = distance(run), rows(run, "target"), rows(run, "output")
        found = targets.drop_nulls(["mean", "std"])
        first = outputs.drop_nulls(["mean", "std"]).head(1).to_dicts()
        if not known or run.steps.height < self.options.steps or not found.height or not first:
            return
        if known.get("reduction", "mean") != "mean" or known.get("scale", 1.0) != 1.0:
            return
        means, stds = found["mean"].to_numpy(), found["std"].to_numpy()
        mean, std = float(means.mean()), math.sqrt(float((stds**2).mean() + means.var()))
        size, begun = math.hypot(mean, std), math.hypot(first[0]["mean"], first[0]["std"])
        constant = std**2 if known["name"] == "mse" else 0.8 * std
        late = late_loss(run)
        if size < self.options.ratio * max(begun, 1.0) or not late > constant or not np.isfinite(late):
            return
        yield Finding(
            message=(
                f"the targets have mean {mean:.3g} and std {std:.3g}, the first outputs a size of {begun:.2g} "
                f"(limit: a factor of {self.options.ratio:g}), and after {run.steps.height} steps the loss is "
                f"{late:.3g} where their mean as the only answer costs {constant:.3g}: the run is spent on reaching "
                "their scale"
            ),
            place=Place(layer="target"),
            evidence={"mean": mean, "std": std, "outputs": begun, "late_loss": late, "constant": constant},
            fix=Fix(FixSafety.UNSAFE, "standardise the targets: (y - mean) / std of the training part"),
        )
