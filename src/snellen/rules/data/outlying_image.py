"""See OutlyingImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._images import MIN_IMAGES, image_place

COLUMNS = ("brightness", "contrast", "entropy", "mean_r", "mean_g", "mean_b")


class OutlyingImage(Rule):
    """An image whose light or colour is far from all others.

    ## What it does
    Reports images that lie far outside the dataset in brightness, contrast, entropy or the mean of a channel.

    ## Why is this bad?
    It came from another source, or went wrong on the way; a single one does no harm, a class of them does.

    ## How it is computed
    The distance from the median, in robust standard deviations (1.4826 MAD), is above `deviations` for one of
    brightness, contrast, entropy, mean_r, mean_g, mean_b.

    ## Example
        images/0421.jpg  outlying-image  mean_b 0.91 is 11 robust deviations from the usual 0.42 ...

    ## Fix
    Look at the image.

    ## Known false positives
    Datasets of several sources: each small one is far from the rest.

    ## References
    Iglewicz & Hoaglin 1993; deepchecks looks at the same properties by quartiles.
    """

    name = "outlying-image"
    code = "IMG025"
    category = Category.PEDANTIC
    tier = Tier.PIXELS
    causes = ("blank-image", "dark-image", "overexposed-image", "low-information-image", "low-contrast-image")

    class Options(RuleOptions):
        """Thresholds."""

        deviations: float = 8.0
        """Robust standard deviations; a normal distribution has none beyond 6 in a billion images."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("decoded"))
        if known.height < MIN_IMAGES:
            return
        for column in COLUMNS:
            middle = float(known.select(pl.col(column).median()).item())
            spread = 1.4826 * float(known.select((pl.col(column) - middle).abs().median()).item())
            far = known.with_columns(far=(pl.col(column) - middle).abs() / max(spread, 1e-9))
            for row in far.filter(pl.col("far") > self.options.deviations).iter_rows(named=True):
                yield Finding(
                    message=f"{column} {row[column]:.2f} is {row['far']:.0f} robust deviations from the usual "
                    f"{middle:.2f} "
                    f"(limit {self.options.deviations:g}): it looks like nothing else here",
                    place=image_place(row),
                    evidence={"property": column, "value": row[column], "median": middle, "deviations": row["far"]},
                    rank=row["far"],
                )
