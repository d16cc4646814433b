"""See SuppressionRemovesObjects."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class SuppressionRemovesObjects(Rule):
    """Non-maximum suppression removes true objects that overlap.

    ## What it does
    Reports objects that overlap another of their class by more than suppression lets two boxes overlap, of which only
    one was found.

    ## Why is this bad?
    However well the network sees them, all but one of such objects are lost after it.

    ## How it is computed
    The IoU that no two predictions of a class and image exceed (but 0.1 % of them) is the threshold that suppression
    used. Lost: an object whose overlap with another of its class reaches that less 0.05, which is not found while an
    object of its class in the image at the same risk is. Cost: mAP50 if they were found (taken off the count).

    ## Example
        suppression-removes-objects  boxes overlap by at most 0.45; 62 of 140 objects that overlap more are lost, which
            costs 0.04 of mAP50

    ## Fix
    A higher IoU threshold of suppression, weighed against duplicates: `snellen evaluate RUN --data DATA --fix` chooses
    it, and `snellen predict` applies it; `snellen.evaluation.suppression.sweep` scores the predictions of other
    programs, from before suppression, at several. Or soft suppression.

    ## Known false positives
    A detector that misses overlapped objects by itself: then raising the threshold brings duplicates and no objects.

    ## References
    Bodla et al., Soft-NMS, ICCV 2017.
    """

    name = "suppression-removes-objects"
    code = "EVL025"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_lost: int = Field(default=10, ge=1)
        """Objects; fewer may be chance."""
        min_share: float = Field(default=0.25, ge=0, le=1)
        """Of the objects at risk; half is the most there can be where two overlap."""
        min_cost: float = Field(default=0.01, ge=0, le=1)
        """Points of mAP50 (0..1)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge what was lost."""
        found, o = scores.suppressed, self.options
        lost, risk = round(found.get("lost", 0)), round(found.get("at_risk", 0))
        if lost < o.min_lost or lost < o.min_share * risk or found["cost"] < o.min_cost:
            return
        limit = found["limit"]
        close = scores.objects.filter((pl.col("same_class_iou") >= limit - 0.05) & ~pl.col("found") & ~pl.col("crowd"))
        yield Finding(
            message=f"boxes of a class overlap by at most {limit:.2f}, and {lost} of {risk} objects that overlap as "
            f"much or more are lost beside another that is found; they cost {found['cost']:.2f} of mAP50: "
            "suppression is too strong for them",
            place=Place(split=scores.split),
            evidence={**found, "images": close["image"].value_counts(sort=True)["image"].to_list()[:10]},
            affected=lost,
            of=risk,
            rank=found["cost"],
        )
