"""See MultiFrameImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, Tier
from snellen.rules.data._images import image_place


class MultiFrameImage(Rule):
    """A file of several pictures, of which loaders read the first.

    ## What it does
    Reports animated GIFs and WebPs and TIFF stacks.

    ## Why is this bad?
    PIL and OpenCV hand out the first frame only. What was labelled on the others is trained on the wrong picture; what
    is on them is never seen.

    ## How it is computed
    The decoder counts more than one frame or page. MPO files, which cameras write with a preview in them, are passed
    over.

    ## Example
        images/0420.tif  multi-frame-image  24 frames, of which loaders read the first ...

    ## Fix
    Save the frames that are meant as files of their own.

    ## Known false positives
    Stacks read by a loader of your own.

    ## References
    Pillow handbook: n_frames.
    """

    name = "multi-frame-image"
    code = "IMG022"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for row in data.images.filter((pl.col("frames") > 1) & (pl.col("format") != "MPO")).iter_rows(named=True):
            yield Finding(
                message=f"{row['frames']} frames, of which loaders read the first: the others are never seen, and "
                "labels "
                "drawn on them are learnt on the wrong picture",
                place=image_place(row),
                evidence={"frames": row["frames"], "format": row["format"]},
                rank=float(row["frames"]),
            )
