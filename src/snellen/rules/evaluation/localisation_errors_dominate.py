"""See LocalisationErrorsDominate."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class LocalisationErrorsDominate(Rule):
    """Objects are seen and named, and the boxes sit badly.

    ## What it does
    Reports a detector whose lost points are mostly boxes that overlap their object by less than 0.5.

    ## Why is this bad?
    The classifier is not the problem: better boxes alone would win the points in the message.

    ## How it is computed
    TIDE's cost: mAP50 with every localisation error (overlap 0.1 to 0.5 with an object of its class) mended, minus
    mAP50. Reported when it is large and at least half of the costs of all error types together.

    ## Example
        localisation-errors-dominate  160 boxes overlap their object by less than 0.5; mending them wins 0.31 of mAP50

    ## Fix
    Compare anchor sizes with the objects, give the box loss more weight or use an IoU loss, enlarge the input, train
    longer. Check that boxes are scaled with the image.

    ## Known false positives
    Objects without a clear outline, whose labels differ as much as the predictions.

    ## References
    Bolya et al., TIDE, ECCV 2020.
    """

    name = "localisation-errors-dominate"
    code = "EVL012"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", *TRAINING_FAULTS)

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
        cost, total = scores.error_costs.get("localisation", 0.0), sum(scores.error_costs.values())
        errors = scores.predictions.filter(pl.col("outcome") == "localisation").sort("score", descending=True)
        o = self.options
        if cost < o.min_cost or cost < o.min_share * total or len(errors) < o.min_count:
            return
        yield Finding(
            message=f"{len(errors)} predictions overlap their object by less than 0.5 (median "
            f"{float(np.median(errors['iou'].to_numpy())):.2f}); mending only these wins {cost:.2f} of mAP50 "
            f"(limit {o.min_cost:g}), {cost / total:.0%} of all lost points",
            place=Place(split=scores.split),
            evidence={
                "costs": scores.error_costs,
                "images": errors["image"].unique(maintain_order=True).to_list()[:10],
            },
            affected=len(errors),
            of=len(scores.predictions),
        )
