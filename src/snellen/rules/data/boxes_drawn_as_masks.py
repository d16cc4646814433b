"""See BoxesDrawnAsMasks."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import EXAMPLES


class BoxesDrawnAsMasks(Rule):
    """Masks that are rectangles.

    ## What it does
    Reports datasets of which most outlines fill their boxes: boxes exported as polygons.

    ## Why is this bad?
    A mask head trained on rectangles learns to fill boxes. It costs its computation and gives nothing that the box
    does not.

    ## How it is computed
    The outline encloses `min_fill` of its extent or more; reported when a share of at least `min_share` of the
    outlines does, with at least `min_outlines` of them.

    ## Example
        boxes-drawn-as-masks  430 of 430 outlines fill their boxes ...

    ## Fix
    Draw outlines, or train a detector on the boxes.

    ## Known false positives
    Objects that are rectangles: documents, screens, windows.

    ## References
    cvflow reports single outlines that fill 0.98 of their box.
    """

    name = "boxes-drawn-as-masks"
    code = "ANN037"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        min_fill: float = 0.98
        """Share of the extent, 0..1, from which an outline is a rectangle; cvflow's limit."""
        min_share: float = 0.5
        """Share of the outlines, 0..1."""
        min_outlines: int = 10
        """Outlines below which nothing is inferred."""

    def _outlines(self, data: DataFacts) -> pl.DataFrame:
        extent = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
        known = data.outlines.filter((pl.col("kind") != "oriented") & (extent > 0) & pl.col("area").is_not_null())
        return known.with_columns(fill=pl.col("area") / extent)

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            self._outlines(data)["fill"], "min_fill", "share of the extent that is enclosed, 0..1", "outlines"
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = self._outlines(data)
        full = known.filter(pl.col("fill") >= self.options.min_fill)
        enough = known.height >= self.options.min_outlines
        if enough and full.height >= self.options.min_share * known.height:
            yield Finding(
                message=f"{full.height:,} of {known.height:,} outlines fill their boxes (limit "
                f"{self.options.min_share:.0%}): "
                "they are boxes, and a mask head learns nothing else from them",
                evidence={"images": full["image"].head(EXAMPLES).to_list()},
                affected=full.height,
                of=known.height,
            )
