"""See ScoreThresholdTooHigh."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class ScoreThresholdTooHigh(Rule):
    """Predictions were cut at a score before they were evaluated.

    ## What it does
    Reports detections without a low score, where the precision at the end of the curve is still high and many
    objects are missed.

    ## Why is this bad?
    AP is the area under the whole curve: what lies beyond the last prediction counts as 0, so the score is lower than
    the model's, and not comparable with others.

    ## How it is computed
    Lowest score given; recall and precision of all predictions together (IoU 0.5). All three limits must be passed.

    ## Example
        score-threshold-too-high  no prediction scores below 0.50, and recall ends at 0.62 with a precision of 0.93

    ## Fix
    Give the evaluator every prediction from a score of 0.001 to 0.05 on; choose a threshold for use afterwards.

    ## Known false positives
    A detector whose low scores are never below the limit.

    ## References
    COCO's protocol takes the best 100 detections of an image, whatever their score.
    """

    name = "score-threshold-too-high"
    code = "EVL022"
    category = Category.PERFORMANCE
    causes = TRAINING_FAULTS

    class Options(RuleOptions):
        """Limits."""

        min_lowest: float = Field(default=0.2, ge=0, le=1)
        """Lowest score given; evaluators use 0.001 to 0.05."""
        max_recall: float = Field(default=0.85, ge=0, le=1)
        """Above it there is little left to lose."""
        min_precision: float = Field(default=0.6, ge=0, le=1)
        """At the end of the curve; there are more right predictions below (judgement)."""
        min_predictions: int = Field(default=50, ge=1)
        """Fewer are not judged."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the end of the curve."""
        counted = scores.predictions.filter(pl.col("outcome") != "ignored")
        objects = scores.objects.filter(~pl.col("crowd")).height
        if scores.task != "detection" or len(counted) < self.options.min_predictions or not objects:
            return
        lowest = float(counted["score"].min())  # type: ignore[arg-type]
        right = counted.filter(pl.col("outcome") == "correct").height
        recall, precision = right / objects, right / len(counted)
        o = self.options
        if lowest < o.min_lowest or recall > o.max_recall or precision < o.min_precision:
            return
        yield Finding(
            message=f"no prediction scores below {lowest:.2f}, and recall ends at {recall:.2f} with a precision of "
            f"{precision:.2f}: AP counts the rest of the curve as 0; evaluate without a score threshold",
            place=Place(split=scores.split),
            evidence={"lowest": lowest, "recall": recall, "precision": precision},
            affected=objects - right,
            of=objects,
        )
