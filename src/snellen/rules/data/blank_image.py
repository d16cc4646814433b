"""See BlankImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured


class BlankImage(Rule):
    """An image of one single colour.

    ## What it does
    Reports images whose pixels are all but equal: black frames, failed exports, lens caps.

    ## Why is this bad?
    There is nothing to learn from; with boxes it teaches that nothing looks like something, and its normalised
    values can upset BatchNorm statistics.

    ## How it is computed
    The standard deviation of perceived brightness, over 0..1, is below `max_contrast`. The default, 0.004, is one
    grey level of 255: no photograph comes near it.

    ## Example
        images/0007.jpg  blank-image  contrast 0.0000 is below 0.0040: the picture is one colour ...

    ## Fix
    Remove the image, or export it again.

    ## Known false positives
    Masks or calibration frames kept among the images.

    ## References
    A. Finley, "HSP Color Model" (2006), for the brightness.
    """

    name = "blank-image"
    code = "IMG005"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """What counts as one."""

        max_contrast: float = 0.004
        """Standard deviation of brightness, 0..1, below which an image is blank; one of 255 grey levels."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["contrast"], "max_contrast", "standard deviation of brightness, 0..1", "images", above=False
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.max_contrast
        for row in data.images.filter(pl.col("contrast") < limit).iter_rows(named=True):
            yield Finding(
                message=f"contrast {row['contrast']:.4f} is below {limit:.4f}: one colour teaches nothing",
                place=Place(file=row["image"], image=row["image"]),
                evidence={"contrast": row["contrast"], "limit": limit},
                fix=Fix(
                    FixSafety.UNSAFE, "remove the image and its labels", {"op": "drop-image", "image": row["image"]}
                ),
            )
