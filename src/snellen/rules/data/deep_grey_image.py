"""See DeepGreyImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._images import image_place
from snellen.rules.data._records import EXAMPLES


class DeepGreyImage(Rule):
    """Images of 16 or 32 bits, which loaders crush each in their own way.

    ## What it does
    Reports images whose samples have more than eight bits.

    ## Why is this bad?
    PIL's convert("RGB") clips 16-bit samples at 255, so that a microscope's picture turns white; OpenCV's default
    reading divides by 256, so that it turns black. Neither says so.

    ## How it is computed
    Pillow's mode begins with I (16 or 32 bits) or F (float). One finding for each mode.

    ## Example
        deep-grey-image  30 of 30 images are I;16 ...

    ## Fix
    Scale the samples to 8 bits yourself, from the range that the sensor uses, or use a loader that keeps 16 bits.

    ## Known false positives
    Loaders that read 16 bits on purpose.

    ## References
    python-pillow/Pillow#3011 on clipping; OpenCV documentation of imread's IMREAD_ANYDEPTH.
    """

    name = "deep-grey-image"
    code = "IMG020"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.images.filter(pl.col("mode").is_not_null())
        deep = known.filter(pl.col("mode").str.contains(r"^[IF]"))
        for (mode,), group in deep.group_by("mode", maintain_order=True):
            yield Finding(
                message=f"{plural(group.height, 'image')} of {known.height:,} {'is' if group.height == 1 else 'are'} "
                f"{mode}, "
                "deeper than 8 bits: PIL clips such samples to white, OpenCV divides them to black",
                place=image_place(group.row(0, named=True)),
                evidence={"mode": mode, "images": group["image"].head(EXAMPLES).to_list()},
                affected=group.height,
                of=known.height,
            )
