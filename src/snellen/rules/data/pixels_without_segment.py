"""See PixelsWithoutSegment."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.findings.words import listed, plural
from snellen.rules.data._masks import drawn


class PixelsWithoutSegment(Rule):
    """Pixels of a panoptic mask that no segment describes.

    ## What it does
    Reports panoptic PNGs that hold ids of which `segments_info` says nothing.

    ## Why is this bad?
    The pixels have no class: trainers leave them out without a word, and what is drawn there is never learnt. COCO's
    own tool refuses predictions of that kind.

    ## How it is computed
    Values other than 0, which is void, that are the id of no segment of the image; one finding for each mask.

    ## Example
        panoptic_val2017/000000000139.png  pixels-without-segment  1 id is described by no segment: 4210752 ...

    ## Fix
    Export JSON and PNG together again.

    ## Known false positives
    None known.

    ## References
    panopticapi, evaluation: "presented in PNG and not presented in JSON".
    """

    name = "pixels-without-segment"
    code = "ANN210"
    category = Category.CORRECTNESS
    tier = Tier.PIXELS
    causes = ("lossy-mask", "mask-resampled", "malformed-label")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = data.outlines.select(file="mask_file", value="mask_value").drop_nulls()
        rows = drawn(data, "panoptic").filter(pl.col("value") != 0)
        masks = data.masks.filter(pl.col("kind") == "panoptic").height
        strange = rows.join(known, on=["file", "value"], how="anti", maintain_order="left")
        for _, group in strange.group_by("file", maintain_order=True):
            share = group["pixels"].sum() / max(group["mask_pixels"][0], 1)
            values = group.sort("pixels", descending=True)["value"].to_list()
            yield Finding(
                message=f"{plural(len(values), 'id is', 'ids are')} described by no segment: "
                f"{listed([str(v) for v in values], 5)}, {share:.1%} of the mask; what is drawn there has no class",
                place=Place(file=group["file"][0], image=group["image"][0]),
                evidence={"ids": values[:100], "share": share},
                of=masks,
                rank=float(share),
            )
