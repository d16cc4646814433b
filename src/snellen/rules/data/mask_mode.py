"""See MaskMode."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES

ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
"""Pillow modes that hold one whole number a pixel."""


class MaskMode(Rule):
    """Index masks saved with several channels.

    ## What it does
    Reports masks of class ids that are RGB, RGBA or otherwise no single channel of whole numbers.

    ## Why is this bad?
    A loader that expects height x width gets height x width x 3 and stops, or takes the first channel; one that
    converts to grey mixes the channels into ids of its own.

    ## How it is computed
    The Pillow mode of masks whose values are read as ids. Masks that a palette or class list gives colours are colour
    masks and not reported, nor are datasets without a list whose masks are mostly coloured.

    ## Example
        masks/0007.png  mask-mode  30 of 30 masks are RGB where one channel of ids is expected ...

    ## Fix
    Save one channel: mode L, or P with a palette for the eye.

    ## Known false positives
    Loaders that read a given channel.

    ## References
    torchvision's VOCSegmentation reads mode P; nnU-Net compares the shapes of image and mask.
    """

    name = "mask-mode"
    code = "ANN208"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("lossy-mask",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        index = data.masks.filter((pl.col("kind") == "index") & pl.col("mode").is_not_null())
        for _, group in index.filter(~pl.col("mode").is_in(ONE_CHANNEL)).group_by("mode", maintain_order=True):
            yield Finding(
                message=f"{plural(group.height, 'mask')} of {index.height:,} {'is' if group.height == 1 else 'are'} "
                f"{group['mode'][0]} where one channel of ids is expected: a loader stops at the shape, or mixes "
                "channels into other ids",
                place=Place(file=group["file"][0], image=group["image"][0] if group.height == 1 else None),
                evidence={"images": group["image"].to_list()[:EXAMPLES]},
                affected=group.height,
                of=index.height,
            )
