"""See MaskResampled."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.findings.words import plural
from snellen.rules.data._masks import drawn, left_by_blending
from snellen.rules.data._records import EXAMPLES


class MaskResampled(Rule):
    """Masks that were resized or smoothed as pictures are.

    ## What it does
    Reports masks whose edges hold values between those of the areas beside them.

    ## Why is this bad?
    A mask holds names, not amounts: halfway between class 2 and class 6 lies class 4. Every edge then teaches a class
    that is not there, or an id that does not exist, which stops training with an index error.

    ## How it is computed
    A value is blended when it fills no block of 3 x 3 pixels in the mask and most of its pixels lie within 3 px of two
    areas between whose values it lies (each channel, for colours). A mask is reported when such values make up
    `min_share` of it and either are no classes and at least `min_unknown`, or are at least `min_classes`; one finding
    for the dataset.

    ## Example
        masks/0007.png  mask-resampled  12 of 30 masks hold values between those of the areas beside them, up to 214 ...

    ## Fix
    Export the masks again, or resize the originals with nearest-neighbour sampling. Masks of two values can be
    thresholded.

    ## Known false positives
    Masks of two values with soft edges that the loader thresholds.

    ## References
    milesial/Pytorch-UNet#311, ykamikawa/tf-keras-PSPNet#2.
    """

    name = "mask-resampled"
    code = "ANN204"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("lossy-mask",)

    class Options(RuleOptions):
        """What counts as one."""

        min_share: float = 0.0005
        """Share of the mask's pixels, 0..1; half a row of a 1000 px mask."""
        min_unknown: int = 2
        """Blended values that are no classes."""
        min_classes: int = 4
        """Blended values that are classes: a thin thing may well lie between two others by chance."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        blended = drawn(data, "index", "colour").filter(left_by_blending())
        if blended.is_empty():
            return
        masks = (
            blended.group_by("file", "image", "mask_pixels", maintain_order=True)
            .agg(
                values=pl.len(),
                unknown=pl.col("class_name").is_null().sum(),
                share=pl.col("between").sum() / pl.col("mask_pixels").first(),
            )
            .filter(
                (pl.col("share") >= self.options.min_share)
                & ((pl.col("unknown") >= self.options.min_unknown) | (pl.col("values") >= self.options.min_classes))
            )
            .sort("share", descending=True)
        )
        if masks.is_empty():
            return
        worst = masks.row(0, named=True)
        yield Finding(
            message=f"{plural(masks.height, 'mask')} of {data.masks.height:,} "
            f"{'holds' if masks.height == 1 else 'hold'} values between those of the areas beside them, up to "
            f"{worst['values']:,} values and {worst['share']:.1%} of a mask: resized or smoothed as a picture, the "
            "edges teach classes that are not there",
            place=Place(file=worst["file"], image=worst["image"] if masks.height == 1 else None),
            evidence={
                "share": worst["share"], "limit": self.options.min_share, "images": masks["image"].to_list()[:EXAMPLES],
            },
            affected=masks.height,
            of=data.masks.height,
        )  # fmt: skip
