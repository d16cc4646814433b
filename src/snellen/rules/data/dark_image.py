"""See DarkImage."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place, unusual


class DarkImage(Rule):
    """An image so dark that little can be made out.

    ## What it does
    Reports images whose brightest pixels are dark, in a dataset that is not dark as a whole.

    ## Why is this bad?
    An underexposed picture shows noise where its labels say objects are. A network learns to find objects where none
    can be seen.

    ## How it is computed
    The 99th percentile of perceived brightness (0..1) is below `max_p99`: even the brightest hundredth of the pixels
    is dark. Silent when the median image's is below `usual_p99`: then darkness is how the data looks.

    ## Example
        images/0412.jpg  dark-image  99 % of the pixels are darker than 0.11 (limit 0.25) ...

    ## Fix
    Look at the image: brighten it, or leave it out.

    ## Known false positives
    A few night pictures that the dataset means to hold.

    ## References
    cleanvision calls an image dark by the same percentile; A. Finley, "HSP Color Model" (2006).
    """

    name = "dark-image"
    code = "IMG010"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("blank-image",)

    class Options(RuleOptions):
        """Thresholds."""

        max_p99: float = 0.25
        """99th percentile of brightness, 0..1, below which an image is dark; cleanvision's 0.32 takes in flash "
        "pictures at
        at night whose objects are plain to see."""
        usual_p99: float = 0.5
        """Median of it over the dataset, below which darkness is how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            data.images["brightness_p99"], "max_p99", "99th percentile of brightness, 0..1", "images", above=False
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.max_p99
        dark = unusual(data, "brightness_p99", limit, self.options.usual_p99)
        for row in dark.iter_rows(named=True):
            yield Finding(
                message=f"99 % of the pixels are darker than {row['brightness_p99']:.2f} (limit {limit:g}): its "
                "objects can "
                "hardly be seen, and teach the network to find them in noise",
                place=image_place(row),
                evidence={"brightness_p99": row["brightness_p99"], "limit": limit},
                rank=1 - row["brightness_p99"],
            )
