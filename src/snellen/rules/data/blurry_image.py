"""See BlurryImage."""

import math
from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import MIN_IMAGES, image_place


class BlurryImage(Rule):
    """An image without a sharp edge in it.

    ## What it does
    Reports images that are far blurrier than their dataset: out of focus, shaken, or blown up from a thumbnail.

    ## Why is this bad?
    A label on a blur teaches that blurs are objects; small objects in it cannot be told from background.

    ## How it is computed
    The variance of the Laplacian, on a grey copy whose longer side is 256 px so that resolution plays no part, is
    below `max_sharpness` and more than `deviations` robust standard deviations (1.4826 MAD of its logarithm) below the
    dataset's median.

    ## Example
        images/0416.jpg  blurry-image  sharpness 9 (limit 25, usual here 610) ...

    ## Fix
    Look at the image; leave it out when its objects cannot be made out.

    ## Known false positives
    Pictures of smooth things: sky, fog, a plain wall.

    ## References
    Pech-Pacheco et al. 2000, variance of the Laplacian. cleanvision's blur score depends on resolution
    (cleanlab/cleanvision#120), hence the fixed size.
    """

    name = "blurry-image"
    code = "IMG014"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = (
        "blank-image", "dark-image", "overexposed-image", "low-information-image", "low-contrast-image",
        "odd-image-size", "heavy-compression",
    )  # fmt: skip

    class Options(RuleOptions):
        """Thresholds."""

        max_sharpness: float = 25.0
        """Variance of the Laplacian at 256 px, grey 0..255; blurs of sigma 6 reached 14.8, sharp photographs began
        at 38."""
        deviations: float = 3.5
        """Robust standard deviations below the dataset's median; the usual cut for outliers (Iglewicz & Hoaglin
        1993)."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["sharpness"], "max_sharpness", "variance of the Laplacian at 256 px", "images", above=False
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("sharpness") > 0).with_columns(log=pl.col("sharpness").log())
        if known.height < MIN_IMAGES:
            return
        limit = self.options.max_sharpness
        middle = float(known.select(pl.col("log").median()).item())
        spread = 1.4826 * float(known.select((pl.col("log") - middle).abs().median()).item())
        floor = min(math.log(limit), middle - self.options.deviations * spread)
        for row in known.filter(pl.col("log") < floor).iter_rows(named=True):
            yield Finding(
                message=f"sharpness {row['sharpness']:.1f} (limit {limit:g}, usual here {math.exp(middle):.0f}): "
                "without an "
                "edge in it, its labels point at blurs",
                place=image_place(row),
                evidence={"sharpness": row["sharpness"], "limit": limit, "median": math.exp(middle)},
                rank=middle - row["log"],
            )
