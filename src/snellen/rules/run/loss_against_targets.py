"""See LossAgainstTargets."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form
from snellen.rules.run._measures import number
from snellen.rules.run._series import accuracies, first_loss, late_loss
from snellen.watching.facts import RunFacts


class LossAgainstTargets(Rule):
    """The loss falls, and the answers are worse than guessing.

    ## What it does
    Holds the highest outputs against the targets of the training batches, whatever the loss is called.

    ## Why is this bad?
    The loss rewards something else than being right: a Dice or IoU that is minimised and not 1 minus it, a focal
    weight of p in place of 1 - p, a sign, classes in another order.

    ## How it is computed
    Only where no known form of loss was recognised. Fires when, with labels about equally frequent, the loss fell by
    `least_fall` and the late accuracy is `z` standard errors below 1 / classes, and no reported accuracy is above
    that; or when the loss fell by `nearly_all` and the accuracy ends at a kappa (Cohen 1960) of `kappa` or less: below
    what as many answers of each class would get at random places.

    ## Example
        loss-against-targets the loss fell by 99 % while accuracy went from 0.77 to 0.31 (guessing: 0.50)

    ## Fix
    Compute the loss by hand for one right and one wrong answer: the right one must be cheaper.

    ## Known false positives
    Outputs of which the lowest is the answer, as distances to prototypes are, where no accuracy is reported.

    ## References
    Karpathy, A Recipe for Training Neural Networks: verify the loss on cases whose value is known.
    """

    name = "loss-against-targets"
    code = "RUN200"
    category = Category.SUSPICIOUS
    causes = ("gradient-ascent", "class-weights-off", "negative-loss", "target-classes-shifted", "no-backward")

    class Options(RuleOptions):
        """Options of this rule."""

        least_fall: float = 0.1
        """Share by which the loss fell, where labels are even and accuracy is surely below guessing."""
        z: float = 5.0
        """Standard errors below 1 / classes."""
        even: float = 1.5
        """Share of the most frequent label times the number of classes, up to which labels are even."""
        nearly_all: float = 0.9
        """Share by which the loss fell, so that it says that all is well."""
        kappa: float = -0.02
        """Agreement beyond chance: 1 is perfect, 0 chance. A loss that serves its targets gives more than 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        counts = run.classes.filter((pl.col("phase") == "training") & (pl.col("class_id") >= 0))
        classes = counts.height
        seen = accuracies(run)
        told = run.epochs["metric"].drop_nulls().to_list() if run.metric_name.lower().startswith("acc") else []
        if form(run) or classes < 2 or len(seen) < 3 or max(told, default=0.0) > max(1.5 / classes, 0.5):
            return
        drop = 1 - late_loss(run) / first_loss(run) if first_loss(run) > 0 else 0.0
        late, rows = number(run, "late-accuracy"), number(run, "rows-distinct", "training")
        error = math.sqrt(1 / classes * (1 - 1 / classes) / max(rows, 1))
        even = number(run, "label-majority") <= o.even / classes
        below = bool(told) and even and late < 1 / classes - o.z * error and drop >= o.least_fall
        asked, answered = (counts[c].to_numpy() for c in ("recent_targets", "predicted"))
        chance = float((asked / max(asked.sum(), 1) * answered / max(answered.sum(), 1)).sum())
        last = float(np.mean(seen[-max(len(seen) // 4, 1) :]))
        lost = drop >= o.nearly_all and last - chance <= o.kappa * (1 - chance) < 0
        if not below and not lost:
            return
        value, chance = (late, 1 / classes) if below else (last, chance)
        limit = o.least_fall if below else o.nearly_all
        yield Finding(
            message=(
                f"the loss fell by {drop:.0%} (limit {limit:.0%}) while accuracy went from {seen[0]:.2f} to "
                f"{value:.2f}, where guessing gives {chance:.2f}: the loss rewards wrong answers"
            ),
            place=Place(layer="loss"),
            evidence={"fall": drop, "accuracy": value, "guessing": chance},
            fix=Fix(FixSafety.UNSAFE, "check by hand that a right answer costs less than a wrong one"),
        )
