"""See MaskOfOtherSize."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import outline_place


class MaskOfOtherSize(Rule):
    """Run lengths for an image of another size.

    ## What it does
    Reports run-length masks whose size is not that of their image.

    ## Why is this bad?
    Pasted on the image the mask is sheared or cut: column-major runs of another height wrap at the wrong row.
    pycocotools raises when two sizes meet in one image.

    ## How it is computed
    `size` of the run lengths differs from the image's height and width.

    ## Example
        train.json:88  mask-of-other-size  run lengths of 480 x 640 on an image of 640 x 480 ...

    ## Fix
    Encode the mask again at the image's size.

    ## Known false positives
    None known.

    ## References
    COCO API, mask.py.
    """

    name = "mask-of-other-size"
    code = "ANN036"
    category = Category.CORRECTNESS
    causes = ("image-size-mismatch",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sizes = data.sizes().rename({"width": "true_width", "height": "true_height"}).drop_nulls()
        masks = data.outlines.filter(pl.col("kind") == "rle").join(sizes, on="image")
        odd = masks.filter(
            (pl.col("rle_width") != pl.col("true_width")) | (pl.col("rle_height") != pl.col("true_height"))
        )
        for outline in odd.iter_rows(named=True):
            yield Finding(
                message=f"run lengths of {outline['rle_width']} x {outline['rle_height']} on an image of "
                f"{outline['true_width']} x {outline['true_height']}: the mask is sheared, and pycocotools stops when "
                "two "
                "sizes meet",
                place=outline_place(outline),
                evidence={"mask": [outline["rle_width"], outline["rle_height"]]},
            )
