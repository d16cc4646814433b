"""See RepeatedPrediction."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions

BOX = ("image", "class_name", "score", "x1", "y1", "x2", "y2")


class RepeatedPrediction(Rule):
    """The same prediction stands in the file twice.

    ## What it does
    Reports detections that repeat another one to the last digit, and images that a file labels or annotates again.

    ## Why is this bad?
    A second box on the same object is a false positive: a file that was written twice loses half of its precision. Of
    labels and masks, one an image counts, and which one was meant is not known.

    ## How it is computed
    Detections whose image, class, score and four coordinates all equal those of another, as a share of all; and, from
    one on, records left out as `repeated-image` or `duplicate-segment-id` (the first counts).

    ## Example
        repeated-prediction  450 of 900 predictions repeat another one to the last digit: was the file written twice?

    ## Fix
    Write each prediction once; where the files of several processes are merged, drop the images that a distributed
    sampler dealt out twice.

    ## Known false positives
    Coarsely rounded boxes and scores of a detector without suppression.

    ## References
    torch.utils.data.DistributedSampler repeats images to make the parts equal, and evaluation then counts them twice.
    """

    name = "repeated-prediction"
    code = "EVL044"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Limits."""

        min_share: float = Field(default=0.01, ge=0, le=1)
        """Of the detections; below it, boxes of rounded coordinates that happen to be equal."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge detections by their equals, and what was left out."""
        again = scores.problems.filter(pl.col("kind").is_in(["repeated-image", "duplicate-segment-id"]))
        if len(again):
            of = len(scores.predictions) + len(again)
            yield Finding(
                message=f"{len(again)} records say again what another says of the same image "
                f"({str(again['value'][0])[:80]!r}): the first counts",
                place=Place(split=scores.split),
                evidence={"rows": again["row"].to_list()[:20], "images": again["image"].unique().to_list()[:10]},
                affected=len(again),
                of=of,
            )
        boxes = scores.predictions.filter(pl.col("x1").is_not_null()) if scores.task == "detection" else None
        if boxes is None or boxes.is_empty():
            return
        extra = boxes.filter(~pl.struct(BOX).is_first_distinct())
        if extra.is_empty() or len(extra) < self.options.min_share * len(boxes):
            return
        yield Finding(
            message=f"{len(extra)} of {len(boxes)} predictions repeat another one to the last digit: was the file "
            "written twice, or an image predicted by two processes?",
            place=Place(split=scores.split),
            evidence={"images": extra["image"].unique(maintain_order=True).to_list()[:10]},
            affected=len(extra),
            of=len(boxes),
        )
