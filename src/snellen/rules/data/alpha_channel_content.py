"""See AlphaChannelContent."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place


class AlphaChannelContent(Rule):
    """Transparent pixels, which loaders fill each in their own way.

    ## What it does
    Reports images whose alpha channel varies.

    ## Why is this bad?
    PIL's convert drops alpha and shows whatever colour lies beneath, OpenCV drops it too, browsers and labelling tools
    show a background: the network sees another picture than the person who labelled it.

    ## How it is computed
    Largest minus smallest alpha of the picture is above `min_spread`.

    ## Example
        images/0419.png  alpha-channel-content  alpha spans 1.00 of its range ...

    ## Fix
    Compose the picture on the background that the labellers saw, and save it without alpha.

    ## Known false positives
    Alpha over pixels whose hidden colour is the background's.

    ## References
    Pillow's convert("RGB") discards alpha without compositing.
    """

    name = "alpha-channel-content"
    code = "IMG019"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """Thresholds."""

        min_spread: float = 0.02
        """Largest minus smallest alpha, 0..1; below it the channel is constant but for rounding."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(data.images["alpha_spread"], "min_spread", "largest minus smallest alpha, 0..1", "images")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.min_spread
        for row in data.images.filter(pl.col("alpha_spread") > limit).iter_rows(named=True):
            yield Finding(
                message=f"alpha spans {row['alpha_spread']:.2f} of its range (limit {limit:g}): loaders drop it and "
                "show what "
                "lies beneath, which is not what the labellers saw",
                place=image_place(row),
                evidence={"alpha_spread": row["alpha_spread"], "limit": limit},
                rank=row["alpha_spread"],
            )
