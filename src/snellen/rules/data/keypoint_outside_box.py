"""See KeypointOutsideBox."""

from collections.abc import Iterator

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.data._keypoints import points
from snellen.rules.data._records import outline_place


class KeypointOutsideBox(Rule):
    """A visible keypoint far from its object's box.

    ## What it does
    Reports labelled keypoints that lie outside the box of their object.

    ## Why is this bad?
    Top-down pose models crop the box and look inside: the point is not there, and the target lies off the heat map.

    ## How it is computed
    A point of visibility 1 or 2 lies beyond the box by more than `slack` of the box's longer side.

    ## Example
        train.json:88  keypoint-outside-box  'nose' lies 41 px outside the box ...

    ## Fix
    Move the point, or widen the box.

    ## Known false positives
    Boxes of the visible part with points of the hidden part.

    ## References
    COCO keypoints; Xiao et al. 2018 (SimpleBaseline) crop 1.25 times the box.
    """

    name = "keypoint-outside-box"
    code = "ANN042"
    category = Category.SUSPICIOUS
    causes = ("degenerate-box",)

    class Options(RuleOptions):
        """Thresholds."""

        slack: float = 0.125
        """Of the box's longer side, 0..1: half of the quarter that top-down models add around the box."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = data.boxes.select("object", *CORNERS)
        labelled = points(data).filter(pl.col("v") > 0).join(boxes, on="object").drop_nulls(list(CORNERS))
        side = pl.max_horizontal(pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1"))
        beyond = pl.max_horizontal(
            pl.col("x1") - pl.col("x"),
            pl.col("x") - pl.col("x2"),
            pl.col("y1") - pl.col("y"),
            pl.col("y") - pl.col("y2"),
        )
        far = labelled.with_columns(beyond=beyond).filter((pl.col("beyond") > self.options.slack * side) & (side > 0))
        for point in (
            far.sort("beyond", descending=True)
            .unique("object", keep="first", maintain_order=True)
            .iter_rows(named=True)
        ):
            yield Finding(
                message=f"{point['name']} lies {point['beyond']:.0f} px outside the box of its object (limit "
                f"{self.options.slack:.0%} of its side): models that crop the box never see it",
                place=outline_place(point),
                evidence={"point": point["name"], "x": point["x"], "y": point["y"]},
                rank=point["beyond"],
            )
