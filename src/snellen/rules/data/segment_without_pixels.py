"""See SegmentWithoutPixels."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, Tier
from snellen.rules.data._records import outline_place


class SegmentWithoutPixels(Rule):
    """A panoptic segment that no pixel belongs to.

    ## What it does
    Reports entries of `segments_info` whose id does not occur in the image's PNG.

    ## Why is this bad?
    The segment cannot be found and counts as missed in every score; made into a mask for training it is empty, and its
    box is not that of anything. COCO's own tool refuses predictions of that kind.

    ## How it is computed
    The PNG was read and holds no pixel of r + 256 g + 65536 b = id.

    ## Example
        panoptic_val2017.json:88  segment-without-pixels  segment 3226956 has no pixel in 000000000139.png ...

    ## Fix
    Remove the entry, or export JSON and PNG together again.

    ## Known false positives
    None known.

    ## References
    panopticapi, evaluation: "presented in JSON and not presented in PNG".
    """

    name = "segment-without-pixels"
    code = "ANN209"
    category = Category.CORRECTNESS
    tier = Tier.PIXELS
    causes = ("lossy-mask", "mask-resampled")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        segments = data.outlines.filter((pl.col("kind") == "bitmap") & pl.col("mask_value").is_not_null())
        for row in segments.filter(pl.col("components") == 0).iter_rows(named=True):
            yield Finding(
                message=f"segment {row['mask_value']} has no pixel in {row['mask_file']}: it is missed in every score, "
                "and an empty mask in training",
                place=outline_place(row),
                evidence={"segment": row["mask_value"], "mask": row["mask_file"]},
                of=segments.height,
            )
