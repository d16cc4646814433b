"""See OverconfidentScores."""

from collections.abc import Iterator
from math import sqrt

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class OverconfidentScores(Rule):
    """A classifier is much surer than it is right.

    ## What it does
    Reports a classifier whose mean top probability is far above its accuracy.

    ## Why is this bad?
    A threshold on the score does not do what it says: of the answers at 0.95, far fewer than 95 % are right.

    ## How it is computed
    Mean top probability minus accuracy, and the expected calibration error over 15 bins; both must exceed the limit,
    and the gap must exceed twice the standard error of the accuracy. A model that is less sure than right (usual
    early in training) is not reported.

    ## Example
        overconfident-scores  mean confidence is 0.94 and accuracy 0.78 on 1200 images (ECE 0.16)

    ## Fix
    Temperature scaling on a held-out split: `snellen evaluate RUN --data DATA --fix` fits it, and `snellen predict`
    applies it. Less training past the best validation loss, label smoothing, mixup.

    ## Known false positives
    Validation data that rightly differs from training data; the finding is true all the same.

    ## References
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (ECE, 15 bins, values of 0.04 to 0.16).
    """

    name = "overconfident-scores"
    code = "EVL016"
    category = Category.SUSPICIOUS
    causes = ("constant-prediction", "shifted-class-ids", "train-val-gap", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        max_gap: float = Field(default=0.1, ge=0, le=1)
        """Mean confidence minus accuracy, and ECE; uncalibrated networks of the reference reach 0.04 to 0.16."""
        min_images: int = Field(default=200, ge=1)
        """ECE over 15 bins is mostly noise below."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge confidence against accuracy."""
        ece, accuracy = scores.score("ece"), scores.score("accuracy")
        n = len(scores.predictions)
        if scores.task != "classification" or ece is None or accuracy is None or n < self.options.min_images:
            return
        confidence = float(scores.predictions["score"].mean())  # type: ignore[arg-type]
        gap = confidence - accuracy
        if min(gap, ece) <= self.options.max_gap or gap <= 2 * sqrt(accuracy * (1 - accuracy) / n):
            return
        wrong = scores.predictions.filter(pl.col("outcome") != "correct").sort("score", descending=True)
        yield Finding(
            message=f"mean confidence is {confidence:.2f} and accuracy {accuracy:.2f} on {n} images (ECE "
            f"{ece:.2f}, limit {self.options.max_gap:g}): a threshold on the score promises too much",
            place=Place(split=scores.split),
            evidence={
                "ece": ece,
                "confidence": confidence,
                "accuracy": accuracy,
                "images": wrong["image"].to_list()[:10],
            },
            affected=len(wrong),
            of=n,
        )
