"""See SwappedBoxLayout."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions, Tier
from snellen.rules.data._records import solid_boxes


class SwappedBoxLayout(Rule):
    """Boxes written in another layout than the format's.

    ## What it does
    Reports COCO files whose x, y, width, height hold x1, y1, x2, y2.

    ## Why is this bad?
    Every box then reaches from its corner to twice its place: most run out of the image, the loss falls a little and
    mAP stays 0.

    ## How it is computed
    Among boxes whose size is known: a good part leaves the image when read as written, none does when width and height
    are read as the second corner, and that corner always lies right of and below the first. At least `min_boxes`
    boxes.

    ## Example
        train.json  swapped-box-layout  312 of 430 boxes leave their images as x, y, w, h ...

    ## Fix
    Write width = x2 - x1 and height = y2 - y1.

    ## Known false positives
    None known: a few boxes may be ambiguous, a whole file is not.

    ## References
    COCO data format, cocodataset.org/#format-data.
    """

    name = "swapped-box-layout"
    code = "ANN026"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.2
        """Share of the boxes, 0..1, that must leave the image as written."""
        min_boxes: int = 10
        """Boxes of a file below which nothing is inferred."""
        slack: float = 2.0
        """Pixels beyond the image that are forgiven."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.format != "coco":
            return
        boxes = solid_boxes(data).filter((pl.col("true_width") > 0) & (pl.col("true_height") > 0))
        width, height = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
        slack = self.options.slack
        leaves = (pl.col("x2") > pl.col("true_width") + slack) | (pl.col("y2") > pl.col("true_height") + slack)
        corner = (
            (width > pl.col("x1"))
            & (height > pl.col("y1"))
            & (width <= pl.col("true_width") + slack)
            & (height <= pl.col("true_height") + slack)
        )
        told = boxes.group_by("file", maintain_order=True).agg(
            leaving=leaves.sum(), corners=corner.sum(), boxes=pl.len(), image=pl.col("image").first()
        )
        for row in told.iter_rows(named=True):
            swapped = row["corners"] == row["boxes"] and row["leaving"] >= self.options.min_share * row["boxes"]
            if row["boxes"] >= self.options.min_boxes and swapped:
                yield Finding(
                    message=f"{row['leaving']:,} of {row['boxes']:,} boxes leave their images as x, y, width, height, "
                    "none does "
                    "as x1, y1, x2, y2: the file holds corners, and every target is wrong",
                    place=Place(file=row["file"]),
                    evidence={"leaving": row["leaving"], "boxes": row["boxes"]},
                    affected=row["boxes"],
                    of=row["boxes"],
                    fix=Fix(
                        FixSafety.UNSAFE, "turn corners into sizes", {"op": "corners-to-sizes", "file": row["file"]}
                    ),
                )
