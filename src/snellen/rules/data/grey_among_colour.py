"""See GreyAmongColour."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES


class GreyAmongColour(Rule):
    """Grey pictures in a colour dataset.

    ## What it does
    Reports images without colour, whatever their mode, in a dataset of colour images.

    ## Why is this bad?
    Where colour is a cue, they speak against it; where one class or source alone is grey, the network learns the
    greyness.

    ## How it is computed
    The 99th percentile of the largest difference between a pixel's channels is below `max_spread`, in fewer than
    `max_share` of the images. One finding for all.

    ## Example
        grey-among-colour  3 of 128 images have no colour ...

    ## Fix
    Nothing, if the camera will deliver such pictures too; else leave them out, or train with random greyscale.

    ## Known false positives
    Old photographs among new ones: every large photo collection has some.

    ## References
    cleanvision's grayscale issue looks at the mode alone.
    """

    name = "grey-among-colour"
    code = "IMG018"
    category = Category.STYLE
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """Thresholds."""

        max_spread: float = 0.012
        """Difference between channels, 0..1, below which a picture is grey: three of 255, JPEG's rounding."""
        max_share: float = 0.2
        """Share of the images, 0..1, from which grey is how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["colour_spread"], "max_spread", "difference between channels, 0..1", "images", above=False
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("colour_spread").is_not_null())
        grey = known.filter(pl.col("colour_spread") < self.options.max_spread)
        if grey.is_empty() or grey.height >= self.options.max_share * known.height:
            return
        yield Finding(
            message=f"{plural(grey.height, 'image')} of {known.height:,} {'has' if grey.height == 1 else 'have'} no "
            "colour "
            "(channels differ by less than "
            f"{self.options.max_spread * 255:.0f} of 255): where they share a class or a source, greyness becomes the "
            "cue",
            place=image_place(grey.row(0, named=True)),
            evidence={"images": grey["image"].head(EXAMPLES).to_list(), "limit": self.options.max_spread},
            affected=grey.height,
            of=known.height,
        )
