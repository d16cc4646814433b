"""See MissingMask."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.rules.data._records import EXAMPLES

MISSING = "the file is missing"
"""The `error` of a mask that is named and not there."""


class MissingMask(Rule):
    """Images without a mask in a split that has masks.

    ## What it does
    Reports images of a segmentation set for which there is no mask.

    ## Why is this bad?
    MMSegmentation and nnU-Net stop with a missing file; loaders that list the masks leave the image out, and what was
    paid for is never learnt.

    ## How it is computed
    Images without a mask, or whose mask is named and not on disk, in splits of which at least one image has one; a
    split without any, as a test split is often published, is passed over. One finding for each split.

    ## Example
        missing-mask  28 of 128 images of train have no mask: a trainer stops, or leaves them out ...

    ## Fix
    Label them, or take them out of the split. Look for names that differ: an image pairs with the mask of its stem.

    ## Known false positives
    Sets of which a part is meant to be unlabelled, for semi-supervised training.

    ## References
    nnU-Net, verify_dataset_integrity: "not all training cases have a label file".
    """

    name = "missing-mask"
    code = "LBL201"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.task != "segmentation":
            return
        lost = data.masks.filter(pl.col("error") == MISSING)["image"].implode()
        images = data.images.with_columns(bare=pl.col("mask_file").is_null() | pl.col("image").is_in(lost))
        for (split,), group in images.group_by(["split"], maintain_order=True):
            bare = group.filter("bare")["image"].to_list()
            if bare and group["mask_file"].null_count() < group.height:
                one = len(bare) == 1
                yield Finding(
                    message=f"{len(bare):,} of {group.height:,} images{f' of {split}' if split else ''} "
                    f"{'has' if one else 'have'} no mask: a trainer stops, or leaves {'it' if one else 'them'} out "
                    "without a word",
                    place=Place(split=None if split is None else str(split), image=bare[0] if one else None),
                    evidence={"images": bare[:EXAMPLES]},
                    affected=len(bare),
                    of=group.height,
                )
