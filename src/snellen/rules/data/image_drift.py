"""See ImageDrift."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._drift import drifts

PROPERTIES = ("brightness", "contrast", "entropy", "sharpness", "mean_r", "mean_g", "mean_b", "size", "shape")


class ImageDrift(Rule):
    """Splits whose pictures look different.

    ## What it does
    Reports splits that differ from train in brightness, contrast, colour, sharpness, size or shape of the images.

    ## Why is this bad?
    Validation then measures how the network copes with another camera or hour, not what it has learnt; if the place of
    use looks like train, the score is too low, else it is honest and train is wrong.

    ## How it is computed
    Two-sample Kolmogorov-Smirnov statistic of each property between train and the other split above `min_statistic`,
    with a p value, Holm-corrected over the properties, below `max_p`.

    ## Example
        val  image-drift  brightness is 0.31 in val and 0.52 in train (KS 0.44) ...

    ## Fix
    Split anew at random, or train on such pictures too.

    ## Known false positives
    Splits by time, place or camera, which are meant to differ.

    ## References
    deepchecks: KS below 0.2.
    """

    name = "image-drift"
    code = "DST013"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """Thresholds."""

        min_statistic: float = 0.2
        """Largest distance between the two cumulative distributions, 0..1; deepchecks' limit."""
        max_p: float = 1e-6
        """Holm-corrected p value; strict, as pictures of one series are not independent."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        images = data.images.filter(pl.col("decoded")).with_columns(
            size=(pl.col("width") * pl.col("height")).sqrt(), shape=pl.col("width") / pl.col("height")
        )
        yield from drifts(images, PROPERTIES, self.options.min_statistic, self.options.max_p, "images")
