"""See UnreadableMask."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.rules.data.missing_mask import MISSING


class UnreadableMask(Rule):
    """A mask that no decoder can read.

    ## What it does
    Reports mask files that are damaged, too large, of values that are no whole numbers, or no picture.

    ## Why is this bad?
    Training stops when it comes to the file, or a lenient loader learns from half a mask.

    ## How it is computed
    Header and pixels are read as those of images are, with the same limits.

    ## Example
        masks/0007.png  unreadable-mask  the mask cannot be read (image file is truncated): training stops at it

    ## Fix
    Export the mask again.

    ## Known false positives
    None known.

    ## References
    None known.
    """

    name = "unreadable-mask"
    code = "ANN211"
    category = Category.CORRECTNESS
    tier = Tier.PIXELS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for row in data.masks.filter(pl.col("error").is_not_null() & (pl.col("error") != MISSING)).iter_rows(
            named=True
        ):
            yield Finding(
                message=f"the mask cannot be read ({row['error']}): training stops at it",
                place=Place(file=row["file"], image=row["image"]),
                evidence={"error": row["error"]},
                of=data.masks.height,
            )
