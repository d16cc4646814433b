"""See HeavyCompression."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES


class HeavyCompression(Rule):
    """JPEGs squeezed far harder than the rest.

    ## What it does
    Reports JPEG images whose quality is low while their dataset's is not.

    ## Why is this bad?
    Blocks and ringing of 8 x 8 pixels drown small objects, and when one class or source alone is so compressed the
    network learns the blocks.

    ## How it is computed
    The quality that the quantisation table stands for, by libjpeg's scale of 1 to 100, is below `max_quality` while
    the dataset's median is `usual_quality` or more. One finding for all.

    ## Example
        heavy-compression  9 of 500 JPEGs are of quality 20 and less ...

    ## Fix
    Get the originals; re-saving does not bring back what is lost.

    ## Known false positives
    Thumbnails that are meant.

    ## References
    Independent JPEG Group, libjpeg: jpeg_set_quality.
    """

    name = "heavy-compression"
    code = "IMG024"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        max_quality: int = 40
        """Quality, 1..100, below which blocks show."""
        usual_quality: int = 70
        """Median quality of the dataset, below which strong compression is how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(data.images["jpeg_quality"], "max_quality", "JPEG quality, 1..100", "images", above=False)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("jpeg_quality").is_not_null())
        limit = self.options.max_quality
        poor = known.filter(pl.col("jpeg_quality") < limit).sort("jpeg_quality")
        median = known.select(pl.col("jpeg_quality").median()).item()
        if poor.is_empty() or median < self.options.usual_quality:
            return
        yield Finding(
            message=f"{plural(poor.height, 'JPEG')} of {known.height:,} {'is' if poor.height == 1 else 'are'} below "
            "quality "
            f"{limit}, down to {poor['jpeg_quality'][0]} (usual here {median:.0f}): small objects drown in the blocks",
            place=image_place(poor.row(0, named=True)),
            evidence={
                "images": poor["image"].head(EXAMPLES).to_list(),
                "quality": poor["jpeg_quality"].head(EXAMPLES).to_list(),
            },
            affected=poor.height,
            of=known.height,
        )
