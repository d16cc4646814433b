"""See LossyMask."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._masks import LOSSY
from snellen.rules.data._records import EXAMPLES


class LossyMask(Rule):
    """Masks saved as JPEG.

    ## What it does
    Reports masks in a format that changes values.

    ## Why is this bad?
    JPEG keeps what the eye sees, not what is written: around every edge ids turn into others. Class 2 becomes 1 and 3,
    and a mask of two values holds dozens; trainers index classes with them.

    ## How it is computed
    The mask's format, by content, is JPEG; one finding for the dataset.

    ## Example
        masks/0007.jpg  lossy-mask  30 of 30 masks are JPEG: ids change around every edge ...

    ## Fix
    Export the masks again as PNG; saving these as PNG keeps the damage. Masks of two values can be thresholded.

    ## Known false positives
    Masks of two values that the loader thresholds.

    ## References
    mantasu/glasses-detector#23, milesial/Pytorch-UNet#363.
    """

    name = "lossy-mask"
    code = "ANN205"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        lossy = data.masks.filter(pl.col("format").is_in(LOSSY))
        if lossy.height:
            images = lossy["image"].drop_nulls().unique(maintain_order=True).to_list()
            yield Finding(
                message=f"{plural(lossy.height, 'mask')} of {data.masks.height:,} "
                f"{'is' if lossy.height == 1 else 'are'} JPEG: around every edge values change into other classes",
                place=Place(file=lossy["file"][0], image=images[0] if len(images) == 1 else None),
                evidence={"images": images[:EXAMPLES]},
                affected=lossy.height,
                of=data.masks.height,
            )
