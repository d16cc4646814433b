"""See EmptyMask."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.rules.data._masks import IGNORED, NO_CLASS


class EmptyMask(Rule):
    """A mask in which nothing is labelled.

    ## What it does
    Reports masks that hold nothing but values to be ignored, panoptic masks without a segment, and instance masks
    without an object.

    ## Why is this bad?
    With every pixel ignored the mean of cross-entropy is 0 / 0: PyTorch returns NaN, and one such batch ruins the
    weights. An instance without pixels has no box: torchvision's detectors raise a ValueError.

    ## How it is computed
    No value of the mask stands for a class, other than one called void, unlabeled or ignore, and none is unknown. A
    mask of background alone is a negative example and is not reported.

    ## Example
        masks/0007.png  empty-mask  every pixel is 255, which trainers ignore: an average over no pixel is NaN ...

    ## Fix
    Label the image, or leave it out.

    ## Known false positives
    None known.

    ## References
    torchvision's references and MMSegmentation ignore 255; nnU-Net warns of masks of background alone.
    """

    name = "empty-mask"
    code = "ANN203"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("segment-without-pixels",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        labelled = pl.col("class_name").is_not_null() & ~pl.col("class_name").str.to_lowercase().is_in(NO_CLASS)
        strange = pl.col("class_name").is_null() & ~pl.col("value").is_in(IGNORED)
        counts = data.mask_values.group_by("file").agg(
            counted=(labelled | strange).any(), object=(pl.col("value") != 0).any(), held=pl.col("value").sort()
        )
        masks = data.masks.join(counts, on="file", maintain_order="left")
        holds = pl.when(pl.col("kind").is_in(["panoptic", "instance"])).then("object").otherwise("counted")
        for row in masks.filter(~holds).iter_rows(named=True):
            values = " and ".join(str(v) for v in row["held"][:3])
            told = {
                "instance": "no pixel is drawn: an object without a box, which torchvision refuses",
                "panoptic": "no pixel belongs to a segment: nothing is learnt from the image",
            }.get(
                row["kind"], f"every pixel is {values}, no class: an average over no pixel is NaN, and so is the loss"
            )
            yield Finding(
                message=told,
                place=Place(file=row["file"], image=row["image"]),
                evidence={"values": row["held"][:12]},
                of=data.masks.height,
            )
