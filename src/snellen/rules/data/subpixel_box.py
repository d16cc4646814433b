"""See SubpixelBox."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import box_place, solid_boxes


class SubpixelBox(Rule):
    """A box thinner than a pixel or two.

    ## What it does
    Reports boxes of positive size whose shorter side is below two pixels of the image.

    ## Why is this bad?
    MMDetection drops boxes below 1 px. The others train on a target that vanishes when the image is resized; most
    often it is a slip of the mouse.

    ## How it is computed
    Shorter of width and height, in pixels of the image as it is, below `min_side`. Boxes of no size are degenerate-
    box.

    ## Example
        train.json:88  subpixel-box  the box is 0.4 x 14 px (limit 2 px) ...

    ## Fix
    Draw the box again, or drop it.

    ## Known false positives
    Lines, such as wires or cracks, that are boxed on purpose.

    ## References
    MMDetection 2.x, CocoDataset._parse_ann_info: w < 1 or h < 1 is left out.
    """

    name = "subpixel-box"
    code = "ANN020"
    category = Category.SUSPICIOUS
    causes = ("swapped-box-layout",)

    class Options(RuleOptions):
        """Thresholds."""

        min_side: float = 2.0
        """Pixels of the image; MMDetection drops below 1."""

    def _boxes(self, data: DataFacts) -> pl.DataFrame:
        short = pl.min_horizontal(pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1"))
        return solid_boxes(data).with_columns(short=short)

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._boxes(data)["short"], "min_side", "pixels of the shorter side", "boxes", above=False)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.min_side
        for box in self._boxes(data).filter(pl.col("short") < limit).iter_rows(named=True):
            width, height = box["x2"] - box["x1"], box["y2"] - box["y1"]
            yield Finding(
                message=f"the box is {width:.2g} x {height:.2g} px (limit {limit:g} px): it vanishes when the image is "
                "resized; MMDetection drops boxes below 1 px, the others learn from them",
                place=box_place(box),
                evidence={"width": width, "height": height, "limit": limit},
                rank=-box["short"],
                fix=Fix(FixSafety.UNSAFE, "drop the box", {"op": "drop-box", "file": box["file"], "row": box["row"]}),
            )
