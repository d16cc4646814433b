"""See DuplicateDetections."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class DuplicateDetections(Rule):
    """Objects are boxed several times.

    ## What it does
    Reports second and further boxes on objects that a better box has found.

    ## Why is this bad?
    Each is a false positive: non-maximum suppression is missing or too weak.

    ## How it is computed
    Predictions at or above the score threshold of the best F1 whose overlap with an object of their class, found by
    a better one, is at least 0.5, as a share of all predictions there.

    ## Example
        duplicate-detections  210 of 540 shown predictions (39 %) box an object a second time; it costs 0.12 of mAP50

    ## Fix
    Suppress with an IoU threshold of 0.5 to 0.6, per class, after the boxes are decoded and before the best are kept.

    ## Known false positives
    Crowded scenes whose objects overlap by more than half.

    ## References
    Bolya et al., TIDE, ECCV 2020 (duplicate errors).
    """

    name = "duplicate-detections"
    code = "EVL014"
    category = Category.SUSPICIOUS
    causes = ("repeated-prediction", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_share: float = Field(default=0.15, ge=0, le=1)
        """Share of the predictions at the best threshold; a detector with suppression stays below 0.05 (judgement)."""
        min_count: int = Field(default=10, ge=1)
        """Fewer say little."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions at the best threshold."""
        threshold = scores.score("f1_threshold")
        if threshold is None:
            return
        shown = scores.predictions.filter((pl.col("score") >= threshold) & (pl.col("outcome") != "ignored"))
        doubled = shown.filter(pl.col("outcome") == "duplicate")
        if len(doubled) < self.options.min_count or len(doubled) < self.options.min_share * len(shown):
            return
        cost = scores.error_costs.get("duplicate", 0.0)
        yield Finding(
            message=f"{len(doubled)} of {len(shown)} predictions with a score of at least {threshold:.2f} "
            f"({len(doubled) / len(shown):.0%}) box an object that a better one has found; it costs "
            f"{cost:.2f} of mAP50: non-maximum suppression is missing or too weak",
            place=Place(split=scores.split),
            evidence={"cost": cost, "images": doubled["image"].unique(maintain_order=True).to_list()[:10]},
            affected=len(doubled),
            of=len(shown),
        )
