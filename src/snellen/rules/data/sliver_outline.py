"""See SliverOutline."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import outline_place


class SliverOutline(Rule):
    """An outline that all but misses its box.

    ## What it does
    Reports outlines that enclose a tiny part of their extent: a thread between two far points.

    ## Why is this bad?
    A vertex slipped, and the box grew with it: the detector learns a large empty box.

    ## How it is computed
    The outline encloses less than `max_fill` of its extent, and its extent is longer than `min_side` on both sides.

    ## Example
        train.json:88  sliver-outline  the polygon encloses 0.4 % of its extent ...

    ## Fix
    Look at the outline for a vertex that lies far from the others.

    ## Known false positives
    Thin diagonal objects: wires, cracks, rackets' strings.

    ## References
    None known.
    """

    name = "sliver-outline"
    code = "ANN038"
    category = Category.STYLE
    causes = ("self-intersecting-polygon", "degenerate-polygon")

    class Options(RuleOptions):
        """Thresholds."""

        max_fill: float = 0.05
        """Share of the extent, 0..1."""
        min_side: float = 16.0
        """Pixels of extent below which a few pixels decide."""

    def _outlines(self, data: DataFacts) -> pl.DataFrame:
        wide, high = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
        side = self.options.min_side
        large = ~pl.col("kind").is_in(["oriented", "bitmap"]) & (wide > side) & (high > side) & (pl.col("area") > 0)
        return data.outlines.filter(large).with_columns(fill=pl.col("area") / (wide * high))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            self._outlines(data)["fill"],
            "max_fill",
            "share of the extent that is enclosed, 0..1",
            "outlines",
            above=False,
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for outline in self._outlines(data).filter(pl.col("fill") < self.options.max_fill).iter_rows(named=True):
            fill = outline["fill"]
            yield Finding(
                message=f"the {outline['kind']} encloses {fill:.1%} of its extent (limit "
                f"{self.options.max_fill:.0%}): a vertex "
                "may have slipped, and the box with it",
                place=outline_place(outline),
                evidence={"fill": fill, "limit": self.options.max_fill},
                rank=1 - fill,
            )
