"""See BakedInBorder."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES


class BakedInBorder(Rule):
    """Bars of one colour saved into the picture.

    ## What it does
    Reports images of which a good part along the edges is one colour: letterbox bars, scanner margins.

    ## Why is this bad?
    The network pays for pixels that show nothing, objects appear smaller than in the rest of the data, and bars that
    only one source has give its classes away.

    ## How it is computed
    The share of rows and columns along the edges that hold one colour is above `min_share`, in fewer than `max_images`
    of the images. One finding for all.

    ## Example
        baked-in-border  7 of 500 images have bars along their edges ...

    ## Fix
    Crop the bars, and move the boxes with them.

    ## Known false positives
    Pictures that truly end in one colour: night sky, a white backdrop.

    ## References
    None known.
    """

    name = "baked-in-border"
    code = "IMG023"
    category = Category.STYLE
    tier = Tier.PIXELS
    causes = ("blank-image", "alpha-channel-content", "low-information-image")

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.1
        """Share of the picture, 0..1, that bars must take; a frame line is below it."""
        max_images: float = 0.2
        """Share of the images, 0..1, from which plain edges are how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["border"], "min_share", "share of the image in bars along its edges, 0..1", "images"
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("border").is_not_null() & (pl.col("contrast") > 0))
        barred = known.filter(pl.col("border") > self.options.min_share).sort("border", descending=True)
        if barred.is_empty() or barred.height >= self.options.max_images * known.height:
            return
        yield Finding(
            message=f"{plural(barred.height, 'image')} of {known.height:,} {'has' if barred.height == 1 else 'have'} "
            "bars of "
            f"one colour along the edges, up to {barred['border'][0]:.0%} of the picture (limit "
            f"{self.options.min_share:.0%}): their objects are smaller than in the rest",
            place=image_place(barred.row(0, named=True)),
            evidence={
                "images": barred["image"].head(EXAMPLES).to_list(),
                "border": barred["border"].head(EXAMPLES).to_list(),
            },
            affected=barred.height,
            of=known.height,
        )
