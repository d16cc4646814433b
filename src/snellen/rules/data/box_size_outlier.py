"""See BoxSizeOutlier."""

import math
from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._records import box_place, solid_boxes


class BoxSizeOutlier(Rule):
    """A box of a size that its class never has.

    ## What it does
    Reports boxes whose area is far from that of all other boxes of their class.

    ## Why is this bad?
    It is most often the wrong class, a slip of the mouse, or one box around many objects.

    ## How it is computed
    The logarithm of the area relative to the image is more than `deviations` robust standard deviations (1.4826 MAD)
    from the class's median. Classes of fewer than `min_boxes` boxes have no usual size.

    ## Example
        train.json:88  box-size-outlier  the box takes 0.002 % of the image where balls take 1.1 % ...

    ## Fix
    Look at the box.

    ## Known false positives
    Classes seen from near and far alike have a wide spread, and are judged by it.

    ## References
    datumaro flags five standard deviations; Iglewicz & Hoaglin 1993 for the robust form.
    """

    name = "box-size-outlier"
    code = "ANN023"
    category = Category.STYLE
    tier = Tier.HEADERS
    causes = (
        "subpixel-box",
        "full-frame-box",
        "extreme-box-aspect",
        "box-out-of-bounds",
        "image-size-mismatch",
        "unnormalized-coordinates",
        "swapped-box-layout",
    )

    class Options(RuleOptions):
        """Thresholds."""

        deviations: float = 6.0
        """Robust standard deviations of the logarithm of the area."""
        min_boxes: int = 50
        """Boxes of a class below which it has no usual size."""

    def _boxes(self, data: DataFacts) -> pl.DataFrame:
        boxes = solid_boxes(data).filter(
            (pl.col("true_width") > 0) & (pl.col("true_height") > 0) & ~pl.col("crowd").fill_null(False)
        )
        area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
        boxes = boxes.with_columns(share=area / (pl.col("true_width") * pl.col("true_height")))
        boxes = boxes.with_columns(log=pl.col("share").log(), count=pl.len().over("class_name"))
        boxes = boxes.with_columns(middle=pl.col("log").median().over("class_name"))
        spread = 1.4826 * (pl.col("log") - pl.col("middle")).abs().median().over("class_name")
        # Half a doubling at least, so that a class of equal boxes has no outlier of a pixel's difference.
        return boxes.with_columns(
            far=(pl.col("log") - pl.col("middle")).abs() / pl.max_horizontal(spread, pl.lit(0.35))
        )

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        enough = self._boxes(data).filter(pl.col("count") >= self.options.min_boxes)
        return Measured(enough["far"], "deviations", "robust deviations of log area from the class's median", "boxes")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = self._boxes(data)
        odd = boxes.filter((pl.col("count") >= self.options.min_boxes) & (pl.col("far") > self.options.deviations))
        for box in odd.iter_rows(named=True):
            yield Finding(
                message=f"the box takes {box['share']:.2g} of the image where {box['class_name']} takes "
                f"{math.exp(box['middle']):.2g}, {box['far']:.1f} robust deviations away (limit "
                f"{self.options.deviations:g}): a wrong class or a slip is learnt as the object's size",
                place=box_place(box),
                evidence={"share": box["share"], "median": math.exp(box["middle"]), "deviations": box["far"]},
                rank=box["far"],
            )
