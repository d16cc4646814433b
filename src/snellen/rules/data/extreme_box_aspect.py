"""See ExtremeBoxAspect."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import box_place, solid_boxes


class ExtremeBoxAspect(Rule):
    """A box many times longer than wide.

    ## What it does
    Reports boxes whose sides differ by a factor that no usual anchor and few objects have, where their class is not
    so.

    ## Why is this bad?
    Anchors of ratios 1/2 to 2 overlap such a box by a few per cent: it is never matched, and counts as background.

    ## How it is computed
    Longer over shorter side is `min_ratio` or more, and `departure` times the median of its class or more.

    ## Example
        train.json:88  extreme-box-aspect  the box is 480 x 9 px, 53 times longer than wide ...

    ## Fix
    Draw the box again; for objects that are so, add anchors of their shape.

    ## Known false positives
    Poles, wires, text lines: classes of which it is usual are passed over.

    ## References
    labellint looks at the quartiles of the ratio.
    """

    name = "extreme-box-aspect"
    code = "ANN022"
    category = Category.STYLE
    causes = ("subpixel-box",)

    class Options(RuleOptions):
        """Thresholds."""

        min_ratio: float = 20.0
        """Longer over shorter side; RetinaNet's longest anchor has 2."""
        departure: float = 5.0
        """Times the class's median ratio."""

    def _boxes(self, data: DataFacts) -> pl.DataFrame:
        width, height = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
        return solid_boxes(data).with_columns(ratio=pl.max_horizontal(width, height) / pl.min_horizontal(width, height))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._boxes(data)["ratio"], "min_ratio", "longer over shorter side", "boxes")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = self._boxes(data).with_columns(usual=pl.col("ratio").median().over("class_name"))
        least = pl.max_horizontal(pl.lit(self.options.min_ratio), self.options.departure * pl.col("usual"))
        for box in boxes.filter(pl.col("ratio") >= least).iter_rows(named=True):
            yield Finding(
                message=f"the box is {box['x2'] - box['x1']:.0f} x {box['y2'] - box['y1']:.0f} px, {box['ratio']:.0f} "
                "times "
                f"longer than wide (limit {self.options.min_ratio:g}, usual for {box['class_name']} "
                f"{box['usual']:.1f}): no "
                "anchor overlaps it, so it is learnt as background",
                place=box_place(box),
                evidence={"ratio": box["ratio"], "median": box["usual"], "limit": self.options.min_ratio},
                rank=box["ratio"],
            )
