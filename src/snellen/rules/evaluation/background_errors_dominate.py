"""See BackgroundErrorsDominate."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class BackgroundErrorsDominate(Rule):
    """Most lost points are boxes where there is nothing.

    ## What it does
    Reports a detector whose false positives on the background cost more than all other errors together.

    ## Why is this bad?
    The model has not learned what the objects are not, or the objects there were never labelled.

    ## How it is computed
    TIDE's cost: mAP50 with every background error (overlap at most 0.1 with any object) deleted, minus mAP50.
    Reported when it is large and at least half of the costs of all error types together.

    ## Example
        background-errors-dominate  900 boxes lie on no object; without them mAP50 is 0.24 higher

    ## Fix
    Look at the images in the evidence first: unlabelled objects are fixed in the labels. Else add images without
    objects, or mine hard negatives (focal loss, more negatives per positive).

    ## Known false positives
    Incompletely labelled data: the predictions are right and the labels wrong.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "background-errors-dominate"
    code = "EVL013"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", "likely-unlabelled-objects", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_cost: float = Field(default=0.1, ge=0, le=1)
        """Points of mAP50 (0..1)."""
        min_share: float = Field(default=0.5, ge=0, le=1)
        """Share of the sum of all types' costs."""
        min_count: int = Field(default=20, ge=1)
        """Errors of this type; fewer say little."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the costs."""
        cost, total = scores.error_costs.get("background", 0.0), sum(scores.error_costs.values())
        errors = scores.predictions.filter(pl.col("outcome") == "background").sort("score", descending=True)
        o = self.options
        if cost < o.min_cost or cost < o.min_share * total or len(errors) < o.min_count:
            return
        yield Finding(
            message=f"{len(errors)} of {len(scores.predictions)} predictions lie on no object; without them mAP50 "
            f"would be {cost:.2f} higher (limit {o.min_cost:g}), {cost / total:.0%} of all lost points",
            place=Place(split=scores.split),
            evidence={
                "costs": scores.error_costs,
                "images": errors["image"].unique(maintain_order=True).to_list()[:10],
            },
            affected=len(errors),
            of=len(scores.predictions),
        )
