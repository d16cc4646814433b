"""See OddImageSize."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured


class OddImageSize(Rule):
    """A picture many times larger or smaller than the rest of its dataset.

    ## What it does
    Reports images whose side differs from the dataset's by a large factor: an original among thumbnails, an icon among
    photographs.

    ## Why is this bad?
    It came another way than the others and often shows something else; resized to the common input, its objects have
    another scale and sharpness than all the rest.

    ## How it is computed
    The side is sqrt(width x height). An image is odd when its side is `max_ratio` times the dataset's median or more,
    or that fraction of it or less. cleanvision compares with the quartiles instead, which calls a tenth of an ordinary
    photo collection odd; a fixed factor does not. Datasets of fewer than `min_images` images have no usual size.

    ## Example
        4/IMG_5.JPG  odd-image-size  3,024 x 3,024 px, 30 times the usual side of 100 px ...

    ## Fix
    Look at the image; resize it, or leave it out.

    ## Known false positives
    Collections that mix sources of very different resolution on purpose.

    ## References
    cleanvision's odd-size issue has the same purpose.
    """

    name = "odd-image-size"
    code = "IMG006"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """What counts as one."""

        max_ratio: float = 10.0
        """Side over median side, or its inverse, from which an image is odd; ordinary photo sets stay below 8."""
        min_images: int = 20
        """Images below which a dataset has no usual size."""

    def _sized(self, data: DataFacts) -> pl.DataFrame:
        sized = data.images.drop_nulls(["width", "height"])
        sized = sized.with_columns(side=(pl.col("width") * pl.col("height")).sqrt())
        usual = pl.col("side").median()
        return sized.with_columns(usual=usual, ratio=pl.max_horizontal(pl.col("side") / usual, usual / pl.col("side")))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._sized(data)["ratio"], "max_ratio", "side over median side, or its inverse", "images")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sized = self._sized(data)
        if sized.height < self.options.min_images:
            return
        usual = float(sized["usual"][0])
        for row in sized.filter(pl.col("ratio") >= self.options.max_ratio).iter_rows(named=True):
            factor = row["side"] / usual
            times = f"{factor:.0f} times" if factor > 1 else f"1/{1 / factor:.0f} of"
            yield Finding(
                message=f"{row['width']:,} x {row['height']:,} px, {times} the usual side of {usual:.0f} px (limit "
                f"{self.options.max_ratio:g} times): after resizing, its content has another scale than the rest",
                place=Place(file=row["image"], image=row["image"]),
                evidence={"side": row["side"], "median": usual},
                of=sized.height,
                rank=max(factor, 1 / factor),
            )
