"""See OverexposedImage."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._images import image_place, unusual


class OverexposedImage(Rule):
    """An image that is all but white.

    ## What it does
    Reports images of which nearly every pixel is at the top of the range, in a dataset that is not white as a whole.

    ## Why is this bad?
    Clipped highlights hold no information: what the labels speak of was lost in the camera.

    ## How it is computed
    The 5th percentile of perceived brightness (0..1) is above `min_p5`: all but the darkest twentieth of the pixels is
    white. Silent when the median image's is above `usual_p5`, as with drawings and scanned pages.

    ## Example
        images/0413.jpg  overexposed-image  95 % of the pixels are brighter than 0.98 (limit 0.95) ...

    ## Fix
    Look at the image: expose it anew, or leave it out.

    ## Known false positives
    A few product pictures on white among photographs.

    ## References
    cleanvision calls an image light by the same percentile and limit; A. Finley, "HSP Color Model" (2006).
    """

    name = "overexposed-image"
    code = "IMG011"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("blank-image",)

    class Options(RuleOptions):
        """Thresholds."""

        min_p5: float = 0.95
        """5th percentile of brightness, 0..1, above which an image is white; cleanvision's limit."""
        usual_p5: float = 0.7
        """Median of it over the dataset, above which white is how the data looks."""

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(data.images["brightness_p5"], "min_p5", "5th percentile of brightness, 0..1", "images")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        limit = self.options.min_p5
        white = unusual(data, "brightness_p5", limit, self.options.usual_p5)
        for row in white.iter_rows(named=True):
            yield Finding(
                message=f"95 % of the pixels are brighter than {row['brightness_p5']:.2f} (limit {limit:g}): what was "
                "there "
                "is lost in white, and its labels point at nothing",
                place=image_place(row),
                evidence={"brightness_p5": row["brightness_p5"], "limit": limit},
                rank=row["brightness_p5"],
            )
