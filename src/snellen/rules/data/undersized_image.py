"""See UndersizedImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place


class UndersizedImage(Rule):
    """An image too small to be used.

    ## What it does
    Reports images with a side of a few pixels among larger ones.

    ## Why is this bad?
    Ultralytics refuses images below 10 px, MMDetection drops those below 32 px, and what remains after resizing is one
    smear of colour.

    ## How it is computed
    The shorter side is below `min_side` and below half of the dataset's median shorter side.

    ## Example
        images/0417.jpg  undersized-image  6 x 9 px, the limit is 10 px ...

    ## Fix
    Remove the image, or find the original of the thumbnail.

    ## Known false positives
    None known; datasets of tiny images are not reported.

    ## References
    MMDetection's filter_cfg min_size is 32.
    """

    name = "undersized-image"
    code = "IMG015"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_side: int = 10
        """Pixels of the shorter side; what Ultralytics accepts."""

    def _sized(self, data: DataFacts) -> pl.DataFrame:
        return data.images.drop_nulls(["width", "height"]).with_columns(short=pl.min_horizontal("width", "height"))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._sized(data)["short"], "min_side", "pixels of the shorter side", "images", above=False)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sized = self._sized(data)
        usual = sized.select(pl.col("short").median()).item()
        limit = self.options.min_side
        for row in sized.filter((pl.col("short") < limit) & (2 * pl.col("short") < usual)).iter_rows(named=True):
            yield Finding(
                message=f"{row['width']} x {row['height']} px, the limit is {limit} px: Ultralytics and MMDetection "
                "leave it "
                "out, others blow it up to a smear",
                place=image_place(row),
                evidence={"width": row["width"], "height": row["height"], "limit": limit},
                rank=-row["short"],
            )
