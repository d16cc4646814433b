"""See UnrotatedOrientedBoxes."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.data._records import EXAMPLES


class UnrotatedOrientedBoxes(Rule):
    """Oriented boxes that are all upright.

    ## What it does
    Reports sets of oriented boxes of which next to none is turned.

    ## Why is this bad?
    They are plain boxes in the other format: the angle is never learnt, and its head costs accuracy.

    ## How it is computed
    The first edge is within `max_angle` degrees of an axis for `min_share` of the oriented boxes or more, with at
    least `min_boxes` of them.

    ## Example
        unrotated-oriented-boxes  430 of 430 oriented boxes are upright ...

    ## Fix
    Label the angles, or train on plain boxes.

    ## Known false positives
    Scenes in which everything stands upright.

    ## References
    cvflow: unrotated-obb.
    """

    name = "unrotated-oriented-boxes"
    code = "ANN041"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        max_angle: float = 1.0
        """Degrees from an axis."""
        min_share: float = 0.98
        """Share of the oriented boxes, 0..1."""
        min_boxes: int = 10
        """Oriented boxes below which nothing is inferred."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.outlines.filter(pl.col("angle").is_not_null())
        off = pl.min_horizontal(pl.col("angle"), 90 - pl.col("angle"))
        upright = known.filter(off <= self.options.max_angle)
        if known.height >= self.options.min_boxes and upright.height >= self.options.min_share * known.height:
            yield Finding(
                message=f"{upright.height:,} of {known.height:,} oriented boxes are upright within "
                f"{self.options.max_angle:g} degree: the angle is never learnt",
                evidence={"images": upright["image"].head(EXAMPLES).to_list()},
                affected=upright.height,
                of=known.height,
            )
