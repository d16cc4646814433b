"""See ObjectsInOnePlace."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._records import solid_boxes


class ObjectsInOnePlace(Rule):
    """Objects that all lie in the same part of the picture.

    ## What it does
    Reports detection datasets whose objects lie in one ninth of the picture.

    ## Why is this bad?
    The network may learn the place instead of the object: convolution sees the border through its padding. It then
    misses objects elsewhere.

    ## How it is computed
    Box centres are counted on a 3 x 3 grid over the image; reported when one cell holds `min_share` of them or more,
    with at least `min_boxes` boxes.

    ## Example
        objects-in-one-place  97 % of the boxes lie in the middle ninth of the picture ...

    ## Fix
    Add pictures with objects elsewhere, or train with random crops and shifts.

    ## Known false positives
    Set-ups in which the object always lies there, in use too.

    ## References
    Kayhan & van Gemert 2020, On Translation Invariance in CNNs, arXiv:2003.07064.
    """

    name = "objects-in-one-place"
    code = "DST015"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.95
        """Share of the boxes, 0..1."""
        min_boxes: int = 100
        """Boxes below which nothing is inferred."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = solid_boxes(data).filter((pl.col("true_width") > 0) & (pl.col("true_height") > 0) & pl.col("usable"))
        if boxes.height < self.options.min_boxes:
            return
        across = ((pl.col("x1") + pl.col("x2")) / 2 / pl.col("true_width") * 3).floor().clip(0, 2).cast(pl.Int64)
        down = ((pl.col("y1") + pl.col("y2")) / 2 / pl.col("true_height") * 3).floor().clip(0, 2).cast(pl.Int64)
        cells = boxes.select(across=across, down=down).group_by("across", "down").len().sort("len", descending=True)
        column, row, count = cells.row(0)
        if count >= self.options.min_share * boxes.height:
            where = f"{('top', 'middle', 'bottom')[row]} {('left', 'centre', 'right')[column]}"
            yield Finding(
                message=f"{count:,} of {boxes.height:,} boxes lie in the {where} ninth of the picture (limit "
                f"{self.options.min_share:.0%}): the place may be learnt in place of the object",
                evidence={"cell": [column, row]},
                affected=count,
                of=boxes.height,
            )
