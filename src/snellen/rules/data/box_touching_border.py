"""See BoxTouchingBorder."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._records import EXAMPLES, solid_boxes


class BoxTouchingBorder(Rule):
    """Many boxes that end at the image's edge.

    ## What it does
    Reports datasets of which a large part of the boxes touches the border of the image.

    ## Why is this bad?
    Cut objects are learnt in parts, and score low in evaluation; often the images were cropped after they had been
    labelled.

    ## How it is computed
    Share of boxes with a side within `slack` pixels of the border, above `max_share`.

    ## Example
        box-touching-border  612 of 900 boxes end at the image's edge ...

    ## Fix
    Cut with a margin, or mark the objects as truncated.

    ## Known false positives
    Tiles of large pictures.

    ## References
    None known.
    """

    name = "box-touching-border"
    code = "ANN027"
    category = Category.PEDANTIC
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        max_share: float = 0.5
        """Share of the boxes, 0..1."""
        slack: float = 1.0
        """Pixels from the border that count as touching it."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = solid_boxes(data).filter((pl.col("true_width") > 0) & (pl.col("true_height") > 0))
        slack = self.options.slack
        touching = boxes.filter(
            (pl.col("x1") <= slack)
            | (pl.col("y1") <= slack)
            | (pl.col("x2") >= pl.col("true_width") - slack)
            | (pl.col("y2") >= pl.col("true_height") - slack)
        )
        if boxes.height and touching.height > self.options.max_share * boxes.height:
            yield Finding(
                message=f"{touching.height:,} of {boxes.height:,} boxes end at the image's edge (limit "
                f"{self.options.max_share:.0%}): objects are learnt cut, and found cut",
                evidence={"images": touching["image"].head(EXAMPLES).to_list()},
                affected=touching.height,
                of=boxes.height,
            )
