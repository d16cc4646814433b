"""See PredictionsOfAbsentClass."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions


class PredictionsOfAbsentClass(Rule):
    """False positives of classes without a single object cost nothing.

    ## What it does
    Reports shown predictions of classes of which the evaluated images hold no object.

    ## Why is this bad?
    Average precision is not defined for a class without objects, and leaves it out of the mean: however many boxes the
    model draws of it, mAP stays. Users of the model see them all.

    ## How it is computed
    Predictions at or above the score threshold of the best F1 of classes without objects, as a share of all shown.

    ## Example
        predictions-of-absent-class  85 of 620 shown predictions (14 %) are of classes without any object here ('bus':
            60, 'train': 25): all are false, and cost no mAP

    ## Fix
    Score on images that hold each class, and count these as false positives when models are compared.

    ## Known false positives
    Objects of these classes that are there and not labelled.

    ## References
    COCOeval.accumulate: classes without objects have precision -1 and are left out of the mean.
    """

    name = "predictions-of-absent-class"
    code = "EVL046"
    category = Category.SUSPICIOUS
    causes = ("shifted-class-ids", "classification-errors-dominate", "background-errors-dominate")

    class Options(RuleOptions):
        """Limits."""

        min_share: float = Field(default=0.05, ge=0, le=1)
        """Of the shown predictions; the odd false positive of a rare class stays below (judgement)."""
        min_count: int = Field(default=10, ge=1)
        """Fewer say little."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions at the best threshold."""
        threshold = scores.score("f1_threshold")
        if threshold is None or scores.task != "detection" or not scores.predictions_without_objects:
            return
        absent = scores.per_class.filter(pl.col("objects") == 0)["class_name"]
        shown = scores.predictions.filter((pl.col("score") >= threshold) & (pl.col("outcome") != "ignored"))
        bad = shown.filter(pl.col("class_name").is_in(absent.implode()))
        if len(bad) < self.options.min_count or len(bad) < self.options.min_share * len(shown):
            return
        counts = dict(bad["class_name"].value_counts(sort=True).head(10).rows())
        told = ", ".join(f"{name!r}: {count}" for name, count in list(counts.items())[:3])
        yield Finding(
            message=f"{len(bad)} of {len(shown)} shown predictions ({len(bad) / len(shown):.0%}) are of classes "
            f"without any object here ({told}): all are false, and cost no mAP",
            place=Place(split=scores.split),
            evidence={
                "classes": counts,
                "all_scores": scores.predictions_without_objects,
                "images": bad["image"].unique(maintain_order=True).to_list()[:10],
            },
            affected=len(bad),
            of=len(shown),
        )
