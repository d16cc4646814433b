"""See MissedSmallObjects."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class MissedSmallObjects(Rule):
    """Small objects are missed where larger ones are found.

    ## What it does
    Reports a detector whose recall on small objects is a fraction of its recall on the others.

    ## Why is this bad?
    The points are lost to resolution, and no longer training wins them: an object of a few pixels at the network's
    input leaves no trace on a feature map of stride 8 or more.

    ## How it is computed
    Recall = objects found at IoU 0.5 by any prediction / objects; small: area below 32 x 32 px (COCO). Reported when
    recall on small objects is below the limit times the recall on the others, with enough of both.

    ## Example
        missed-small-objects  recall is 0.08 on 240 small objects and 0.71 on 300 others; level recall would find 151
            more

    ## Fix
    A larger input, tiles, or a feature map of smaller stride.

    ## Known false positives
    None known; every detector finds small objects less often, the limit is far below what is normal.

    ## References
    Lin et al., Microsoft COCO, 2014 (area ranges); recall on small objects of COCO detectors is about half of that on
    large ones.
    """

    name = "missed-small-objects"
    code = "EVL015"
    category = Category.PERFORMANCE
    causes = ("boxes-in-other-units", "swapped-box-format", "no-predictions", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        small_area: float = Field(default=1024.0, gt=0)
        """px^2; COCO's bound between small and medium, 32 x 32."""
        max_ratio: float = Field(default=0.33, ge=0, le=1)
        """Recall on small objects / recall on the others; about 0.5 is normal on COCO."""
        min_recall: float = Field(default=0.3, ge=0, le=1)
        """Recall on the others: below it the model has not learned enough to be judged."""
        min_objects: int = Field(default=30, ge=1)
        """Small objects, and others, at least."""
        min_share: float = Field(default=0.1, ge=0, le=1)
        """Share of small objects among all: below it they hardly matter for the score."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge recall by size."""
        area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
        objects = scores.objects.filter(~pl.col("crowd")).with_columns((area < self.options.small_area).alias("small"))
        small, rest = objects.filter(pl.col("small")), objects.filter(~pl.col("small"))
        if min(len(small), len(rest)) < self.options.min_objects or len(small) < self.options.min_share * len(objects):
            return
        recall, other = float(small["found"].sum()) / len(small), float(rest["found"].sum()) / len(rest)
        if other < self.options.min_recall or recall >= self.options.max_ratio * other:
            return
        missed = small.filter(~pl.col("found"))
        size = f" (input {scores.input_size} px)" if scores.input_size else ""
        yield Finding(
            message=f"recall is {recall:.2f} on {len(small)} objects below {self.options.small_area**0.5:.0f} x "
            f"{self.options.small_area**0.5:.0f} px and {other:.2f} on {len(rest)} others; "
            f"level recall would find {round((other - recall) * len(small))} more: enlarge the input{size}",
            place=Place(split=scores.split),
            evidence={
                "recall_small": recall,
                "recall_others": other,
                "images": missed["image"].value_counts(sort=True)["image"].to_list()[:10],
            },
            affected=len(missed),
            of=len(objects),
        )
