"""See IdenticalBoxSizes."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.data._records import solid_boxes


class IdenticalBoxSizes(Rule):
    """A class whose boxes are all of one size.

    ## What it does
    Reports classes of which nearly all boxes have the very same width and height.

    ## Why is this bad?
    Such boxes were stamped, not drawn: around points, or by a script. The network learns that one size, and IoU
    against the objects' real outlines stays low.

    ## How it is computed
    The share of a class's boxes with its most frequent width and height, to a tenth of a pixel, is `min_share` or
    more. Classes of fewer than `min_boxes` boxes are passed over.

    ## Example
        identical-box-sizes  412 of 430 boxes of 'cell' are 32.0 x 32.0 px ...

    ## Fix
    Draw boxes around what is seen, or train a point detector.

    ## Known false positives
    Synthetic data, and objects that truly have one size at one distance.

    ## References
    datumaro: FarFromLabelMean and value dominance look at the same distributions.
    """

    name = "identical-box-sizes"
    code = "ANN024"
    category = Category.STYLE

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.8
        """Share of the class's boxes, 0..1; datumaro's dominance limit."""
        min_boxes: int = 20
        """Boxes of a class below which equal sizes may be chance."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = (
            solid_boxes(data)
            .filter(~pl.col("crowd").fill_null(False))
            .with_columns(w=(pl.col("x2") - pl.col("x1")).round(1), h=(pl.col("y2") - pl.col("y1")).round(1))
        )
        sizes = boxes.group_by("class_name", "w", "h").len("same").sort("same", descending=True)
        sizes = sizes.with_columns(of=pl.col("same").sum().over("class_name"))
        top = sizes.unique("class_name", keep="first", maintain_order=True).drop_nulls("class_name")
        stamped = top.filter(
            (pl.col("of") >= self.options.min_boxes) & (pl.col("same") >= self.options.min_share * pl.col("of"))
        )
        for row in stamped.iter_rows(named=True):
            yield Finding(
                message=f"{row['same']:,} of {row['of']:,} boxes of {row['class_name']!r} are {row['w']:g} x "
                f"{row['h']:g} px "
                f"(limit {self.options.min_share:.0%}): stamped rather than drawn, so the objects' real extent is "
                "never learnt",
                place=Place(class_name=row["class_name"]),
                evidence={"same": row["same"], "width": row["w"], "height": row["h"]},
                affected=row["same"],
                of=row["of"],
            )
