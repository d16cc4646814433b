"""See ExtremeAspectImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place


class ExtremeAspectImage(Rule):
    """A picture many times longer than wide, unlike its dataset.

    ## What it does
    Reports panoramas, strips and screenshots whose shape departs far from the dataset's.

    ## Why is this bad?
    Squeezed into a square input its objects lose their shape; letterboxed, most of the input is padding and the
    objects shrink.

    ## How it is computed
    The longer over the shorter side is `min_ratio` or more, and `departure` times the dataset's median or more.

    ## Example
        images/0418.jpg  extreme-aspect-image  3,000 x 300 px, 10 times longer than wide (usual here 1.3) ...

    ## Fix
    Cut it into tiles, or leave it out.

    ## Known false positives
    A few panoramas that are meant.

    ## References
    cleanvision flags ratios beyond 2.9, MMDetection's multi-scale resizing assumes at most about 2.
    """

    name = "extreme-aspect-image"
    code = "IMG016"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_ratio: float = 4.0
        """Longer over shorter side below which no image is extreme."""
        departure: float = 3.0
        """Times the dataset's median ratio from which an image departs from it."""

    def _sized(self, data: DataFacts) -> pl.DataFrame:
        sides = pl.max_horizontal("width", "height") / pl.min_horizontal("width", "height")
        return data.images.filter((pl.col("width") > 0) & (pl.col("height") > 0)).with_columns(ratio=sides)

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._sized(data)["ratio"], "min_ratio", "longer over shorter side", "images")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sized = self._sized(data)
        usual = sized.select(pl.col("ratio").median()).item()
        if usual is None:
            return
        least = max(self.options.min_ratio, self.options.departure * usual)
        for row in sized.filter(pl.col("ratio") >= least).iter_rows(named=True):
            yield Finding(
                message=f"{row['width']:,} x {row['height']:,} px, {row['ratio']:.1f} times longer than wide (usual "
                "here "
                f"{usual:.1f}, limit {least:.1f}): resizing squeezes its objects or pads most of the input",
                place=image_place(row),
                evidence={"ratio": row["ratio"], "median": usual, "limit": least},
                rank=row["ratio"],
            )
