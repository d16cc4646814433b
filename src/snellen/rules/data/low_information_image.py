"""See LowInformationImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place, unusual


class LowInformationImage(Rule):
    """An image of a handful of grey levels.

    ## What it does
    Reports images whose histogram holds next to nothing: a placeholder, a drawn sign, a failed download among
    photographs.

    ## Why is this bad?
    It is not what the dataset is about. In a detector's batch it is a background that no camera will ever deliver.

    ## How it is computed
    The entropy of the 256-bin grey histogram is below `max_bits`, in a dataset whose median image has more than
    `usual_bits`. One colour alone is blank-image.

    ## Example
        images/0414.png  low-information-image  1.2 bits of grey-level entropy (limit 3, usual here 7.1) ...

    ## Fix
    Look at the image, and leave it out if it is no photograph.

    ## Known false positives
    Drawings and masks that are meant to be among photographs.

    ## References
    cleanvision's low-information issue: entropy below 3 bits.
    """

    name = "low-information-image"
    code = "IMG012"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("blank-image", "dark-image", "overexposed-image")

    class Options(RuleOptions):
        """Thresholds."""

        max_bits: float = 3.0
        """Bits, 0..8, below which an image holds next to nothing; cleanvision's limit."""
        usual_bits: float = 5.0
        """Median bits of the dataset, below which flat pictures are how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(data.images["entropy"], "max_bits", "bits of grey-level entropy, 0..8", "images", above=False)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.max_bits
        poor = unusual(data, "entropy", limit, self.options.usual_bits)
        usual = data.images.select(pl.col("entropy").median()).item()
        for row in poor.iter_rows(named=True):
            yield Finding(
                message=f"{row['entropy']:.1f} bits of grey-level entropy (limit {limit:g}, usual here {usual:.1f}): a "
                "placeholder or drawing among photographs teaches what no camera delivers",
                place=image_place(row),
                evidence={"entropy": row["entropy"], "limit": limit, "median": usual},
                rank=8 - row["entropy"],
            )
