"""See LetterboxWaste."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts


class LetterboxWaste(Rule):
    """A network input that is mostly padding.

    ## What it does
    Reports input shapes into which the images do not fit without wide bars.

    ## Why is this bad?
    Padding is computed like picture: at 40 % of it, two fifths of the time and memory go into bars, and objects are
    smaller than they could be.

    ## How it is computed
    Images keep their shape and fill the input along one side; the mean padded share over all images is compared with
    `max_waste`.

    ## Example
        letterbox-waste  44 % of the 640 x 640 input is padding on average ...

    ## Fix
    Use an input of the images' shape (rectangular), or crop.

    ## Known false positives
    Datasets of very mixed shapes.

    ## References
    None known.
    """

    name = "letterbox-waste"
    code = "NET107"
    category = Category.PERFORMANCE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        max_waste: float = 0.4
        """Mean padded share of the input, 0..1; 4 : 3 pictures in a square waste 0.25, 16 : 9 ones 0.44."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        height, width = network.input_shape[-2:]
        sized = data.sizes().drop_nulls().filter((pl.col("width") > 0) & (pl.col("height") > 0))
        if sized.is_empty():
            return
        scale = pl.min_horizontal(width / pl.col("width"), height / pl.col("height"))
        filled = pl.col("width") * pl.col("height") * scale * scale / (width * height)
        waste = 1 - float(sized.select(filled.mean()).item())
        if waste > self.options.max_waste:
            ratio = float(sized.select((pl.col("width") / pl.col("height")).median()).item())
            yield Finding(
                message=f"{waste:.0%} of the {width} x {height} input is padding on average (limit "
                f"{self.options.max_waste:.0%}), "
                f"as the images are {ratio:.2f} times as wide as high: that share of time and memory shows nothing",
                evidence={"waste": waste, "median_ratio": ratio},
                affected=sized.height,
                of=data.images.height,
            )
