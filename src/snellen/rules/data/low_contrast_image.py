"""See LowContrastImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place, unusual


class LowContrastImage(Rule):
    """An image that is grey in grey.

    ## What it does
    Reports images whose brightness hardly varies, in a dataset where it does: fog on the lens, a washed-out scan.

    ## Why is this bad?
    Edges are what a network sees first. Where contrast is a tenth of the usual, normalised inputs are small and the
    objects drown in the noise of the other images' statistics.

    ## How it is computed
    The standard deviation of perceived brightness (0..1) is below `max_contrast` in a dataset whose median is above
    `usual_contrast`. One colour alone is blank-image.

    ## Example
        images/0415.jpg  low-contrast-image  contrast 0.021 (limit 0.04, usual here 0.22) ...

    ## Fix
    Stretch the contrast, or leave the image out.

    ## Known false positives
    Close-ups of one surface.

    ## References
    deepchecks has RMS contrast among its image properties.
    """

    name = "low-contrast-image"
    code = "IMG013"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("blank-image", "dark-image", "overexposed-image", "low-information-image")

    class Options(RuleOptions):
        """Thresholds."""

        max_contrast: float = 0.04
        """Standard deviation of brightness, 0..1, below which an image is grey in grey: ten of 255 levels."""
        usual_contrast: float = 0.1
        """Median of it over the dataset, below which low contrast is how the data looks, as in electron microscopy."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["contrast"], "max_contrast", "standard deviation of brightness, 0..1", "images", above=False
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.max_contrast
        grey = unusual(data, "contrast", limit, self.options.usual_contrast)
        usual = data.images.select(pl.col("contrast").median()).item()
        for row in grey.iter_rows(named=True):
            yield Finding(
                message=f"contrast {row['contrast']:.3f} (limit {limit:g}, usual here {usual:.2f}): grey in grey, its "
                "objects "
                "hardly stand out for the network",
                place=image_place(row),
                evidence={"contrast": row["contrast"], "limit": limit, "median": usual},
                rank=1 - row["contrast"],
            )
