"""See SkewedOrientedBox."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import outline_place


class SkewedOrientedBox(Rule):
    """An oriented box that is no rectangle.

    ## What it does
    Reports oriented boxes whose corners are not right angles.

    ## Why is this bad?
    Trainers fit the smallest rotated rectangle around the four points and learn that: it is larger than what was
    drawn.

    ## How it is computed
    The largest departure of a corner from 90 degrees, above `max_skew`.

    ## Example
        labels/0007.txt:3  skewed-oriented-box  a corner is 12 degrees off (limit 5) ...

    ## Fix
    Draw the box again with a tool that keeps right angles.

    ## Known false positives
    Objects in perspective, outlined by four points on purpose.

    ## References
    cv2.minAreaRect; DOTA's quadrilaterals are such (Xia et al. 2018).
    """

    name = "skewed-oriented-box"
    code = "ANN040"
    category = Category.STYLE
    causes = ("degenerate-polygon", "self-intersecting-polygon")

    class Options(RuleOptions):
        """Thresholds."""

        max_skew: float = 5.0
        """Degrees; cvflow's limit."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(data.outlines["skew"], "max_skew", "degrees off the right angle", "rotated boxes")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for outline in data.outlines.filter(pl.col("skew") > self.options.max_skew).iter_rows(named=True):
            yield Finding(
                message=f"a corner is {outline['skew']:.0f} degrees off the right angle (limit "
                f"{self.options.max_skew:g}): "
                "trainers learn the rectangle around it, which is larger",
                place=outline_place(outline),
                evidence={"skew": outline["skew"]},
                rank=outline["skew"],
            )
