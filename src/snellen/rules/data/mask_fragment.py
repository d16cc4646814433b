"""See MaskFragment."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.rules.data._masks import LOSSY, drawn, left_by_blending
from snellen.rules.data._records import EXAMPLES


class MaskFragment(Rule):
    """Specks of a few pixels in masks.

    ## What it does
    Reports that many areas of the masks have a part of a few pixels apart from the rest.

    ## Why is this bad?
    Specks are slips of the brush or leavings of an automatic tool. As objects of their own they become boxes of a pixel
    when instances are made of connected parts; in boundary scores they count as edges.

    ## How it is computed
    Areas of one class, or of one object, that consist of several 8-connected parts of which the smallest has fewer than
    `min_pixels`; value 0 and what is no class are not counted. Reported from `min_share` of all areas; one finding for
    the dataset.

    ## Example
        masks/0007.png  mask-fragment  212 of 900 areas have specks of fewer than 4 px ...

    ## Fix
    Remove parts below a few pixels, and look at what is removed.

    ## Known false positives
    Areas seen through others: sky through leaves.

    ## References
    COCO's own panoptic masks have specks in a fifth of their areas.
    """

    name = "mask-fragment"
    code = "ANN206"
    category = Category.PEDANTIC
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """What counts as one."""

        min_pixels: int = 4
        """Pixels of a part below which it is a speck."""
        min_share: float = 0.05
        """Share of areas with specks, 0..1."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = drawn(data, "index", "colour", "panoptic", "instance").filter(
            pl.col("class_name").is_not_null() & (pl.col("value") != 0) & ~left_by_blending()
            & ~pl.col("format").is_in(LOSSY).fill_null(False) & pl.col("components").is_not_null()
        )  # fmt: skip
        specks = rows.filter((pl.col("components") > 1) & (pl.col("smallest_component") < self.options.min_pixels))
        if specks.height and specks.height >= self.options.min_share * rows.height:
            images = specks["image"].unique(maintain_order=True).to_list()
            yield Finding(
                message=f"{specks.height:,} of {rows.height:,} areas of one class or object have specks of fewer than "
                f"{self.options.min_pixels} px: slips of the tool that become objects when parts are taken apart",
                place=Place(file=specks["file"][0], image=images[0] if len(images) == 1 else None),
                evidence={"share": specks.height / rows.height, "images": images[:EXAMPLES]},
                affected=specks.height,
                of=rows.height,
            )
