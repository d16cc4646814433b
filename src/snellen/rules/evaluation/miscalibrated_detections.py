"""See MiscalibratedDetections."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class MiscalibratedDetections(Rule):
    """A detector's scores promise far more than they keep.

    ## What it does
    Reports a detector whose mean score is far above the share of its detections that is right.

    ## Why is this bad?
    A threshold on the score does not do what it says: of the boxes at 0.9, far fewer than 90 % are objects. AP does not
    show it, since it asks only for the order.

    ## How it is computed
    Over the predictions of at least 0.05 that count: mean score minus share right at IoU 0.5, and the expected
    calibration error over 15 bins. Both must exceed the limit, and an isotonic map fitted on half of the images must at
    least halve the error on the other half. A detector that is less sure than right (usual) is not reported.

    ## Example
        miscalibrated-detections  scores promise 0.74 and 0.41 is right (calibration error 0.33); an isotonic map leaves
            0.03 of it on images it was not fitted on

    ## Fix
    Fit a map on held-out predictions and apply it to every score: `snellen evaluate RUN --data DATA --fix` does, and
    `snellen predict` applies it; for predictions of other programs, `fit_detection_scaling` in
    `snellen.evaluation.detection_calibration`. The order of the boxes and the AP stay.

    ## Known false positives
    Incompletely labelled data: right boxes count as wrong.

    ## References
    Küppers et al., Multivariate Confidence Calibration for Object Detection, CVPR Workshops 2020.
    """

    name = "miscalibrated-detections"
    code = "EVL024"
    category = Category.SUSPICIOUS
    causes = (
        "boxes-in-other-units",
        "swapped-box-format",
        "shifted-class-ids",
        "duplicate-detections",
        "likely-unlabelled-objects",
        "localisation-errors-dominate",
        "background-errors-dominate",
        "classification-errors-dominate",
        "ambiguous-errors-dominate",
        "train-val-gap",
        *TRAINING_FAULTS,
    )

    class Options(RuleOptions):
        """Limits."""

        max_error: float = Field(default=0.15, ge=0, le=1)
        """Calibration error and inflation; detectors of the reference reach 0.05 to 0.2, mostly by being unsure."""
        min_predictions: int = Field(default=300, ge=1)
        """Predictions of at least 0.05: 15 bins of fewer are mostly noise."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge score against share right."""
        if scores.task == "classification":
            return
        error, inflation, left = (scores.score(m) for m in ("ece", "score_inflation", "ece_isotonic"))
        used = scores.predictions.filter((pl.col("score") >= 0.05) & (pl.col("outcome") != "ignored"))
        if error is None or inflation is None or left is None or len(used) < self.options.min_predictions:
            return
        if min(error, inflation) <= self.options.max_error or left > error / 2:
            return
        mean = float(used["score"].mean())  # type: ignore[arg-type]
        wrong = used.filter(pl.col("outcome") != "correct").sort("score", descending=True)
        yield Finding(
            message=f"scores promise {mean:.2f} and {mean - inflation:.2f} is right, on {len(used)} predictions "
            f"(calibration error {error:.2f}, limit {self.options.max_error:g}); an isotonic map leaves {left:.2f} of "
            "it on images it was not fitted on",
            place=Place(split=scores.split),
            evidence={
                "ece": error,
                "inflation": inflation,
                "ece_isotonic": left,
                "ece_temperature": scores.score("ece_temperature"),
                "images": wrong["image"].unique(maintain_order=True).to_list()[:10],
            },
            affected=len(wrong),
            of=len(used),
            fix=Fix(
                FixSafety.SAFE, "map every score to the share right", {"op": "calibrate-scores", "kind": "isotonic"}
            ),
        )
