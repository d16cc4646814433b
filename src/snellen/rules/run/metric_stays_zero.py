"""See MetricStaysZero."""

import re
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.run._series import first_loss, late_loss
from snellen.watching.facts import RunFacts

HITS = re.compile(
    r"(val|test)?(m?ap(50|75|5095)?|(mean)?averageprecision|m?iou|dice|(micro|macro)?f1(score)?|precision|recall|acc(uracy)?|"
    r"top[15]|hits?|hitrate|pck)"
)
"""Metrics that are 0 only where nothing at all is right, without signs between letters."""


class MetricStaysZero(Rule):
    """The metric of validation is exactly 0 in every epoch, though the loss fell.

    ## What it does
    Looks for mAP, IoU, F1, accuracy and their kin that never leave 0.

    ## Why is this bad?
    A network whose loss fell that far gets something right. It is lost on the way to the score: class ids that are not
    mapped back, boxes in other units or another format, a threshold that hides all, images in another order.

    ## How it is computed
    Fires when the metric is 0 in all of at least `epochs` epochs and the median loss of the last fifth of the steps is
    below `fell` times the first.

    ## Example
        metric-stays-zero map50 is exactly 0 in all of 8 epochs while the loss fell from 4.22 to 0.0278

    ## Fix
    Print one prediction beside its target as the metric gets them, ids, units and order; then lower the threshold.

    ## Known false positives
    A detector's first epochs, if its loss falls that far in them.

    ## References
    mmdetection and ultralytics threads on mAP 0.
    """

    name = "metric-stays-zero"
    code = "RUN203"
    category = Category.SUSPICIOUS
    causes = (
        *TRAINING_FAULTS,
        "boxes-off-objects",
        "classes-never-taught",
        "degenerate-target-boxes",
        "majority-predicted",
        "metric-contradicts-loss",
        "mostly-empty-targets",
        "postprocessing-hides-predictions",
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
        "target-classes-shifted",
        "too-few-samples",
        "train-eval-mismatch",
        "validates-another-model",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        epochs: int = 4
        """Epochs with a metric."""
        fell: float = 0.1
        """Late loss over the first one; less of a fall is learned from the background alone."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        metrics = run.epochs["metric"].drop_nulls().to_numpy()
        name = re.sub(r"[^a-z0-9]", "", run.metric_name.lower())
        if len(metrics) < self.options.epochs or metrics.any() or not HITS.fullmatch(name):
            return
        first, late = first_loss(run), late_loss(run)
        if 0 <= late < self.options.fell * first:
            yield Finding(
                message=(
                    f"{run.metric_name} is exactly 0 in all of {len(metrics)} epochs while the loss fell from "
                    f"{first:.3g} to {late:.3g} (limit {self.options.fell:g} of it): what was learned does not reach "
                    "the score"
                ),
                place=Place(layer="metric", split="val"),
                evidence={"epochs": len(metrics), "first_loss": first, "late_loss": late},
                fix=Fix(
                    FixSafety.UNSAFE, "compare ids, units and order of predictions and targets where they are scored"
                ),
            )
