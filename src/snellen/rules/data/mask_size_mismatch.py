"""See MaskSizeMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier


class MaskSizeMismatch(Rule):
    """A mask of another size than its image.

    ## What it does
    Reports masks whose width or height is not that of the image.

    ## Why is this bad?
    A loss over pixels stops with a shape error, or a loader that resizes both to one size lays the labels beside what
    they label, and no error says so. nnU-Net's integrity check refuses the dataset.

    ## How it is computed
    Pixels of the mask's file against those of the image's, as stored or as its EXIF orientation shows it; every kind of
    mask.

    ## Example
        masks/0007.png  mask-size-mismatch  the mask has 640 x 480 px, its image 480 x 640: transposed ...

    ## Fix
    Export the mask again at the image's size. Resize one only with nearest-neighbour sampling, and look at the result.

    ## Known false positives
    Masks kept at the stride of a network on purpose.

    ## References
    nnU-Net, verify_dataset_integrity: "Shape mismatch between segmentation and corresponding images".
    """

    name = "mask-size-mismatch"
    code = "ANN201"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS
    causes = ("image-size-mismatch",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        images = data.images.select("image", "exif_orientation", image_width="width", image_height="height")
        both = data.masks.join(images, on="image", maintain_order="left").drop_nulls(
            ["width", "height", "image_width", "image_height"]
        )
        apart = (pl.col("width") != pl.col("image_width")) | (pl.col("height") != pl.col("image_height"))
        for row in both.filter(apart).iter_rows(named=True):
            mask, image = (row["width"], row["height"]), (row["image_width"], row["image_height"])
            turned = mask == image[::-1]
            if turned and (row["exif_orientation"] or 1) >= 5:
                continue
            yield Finding(
                message=f"the mask has {mask[0]} x {mask[1]} px, its image {image[0]} x {image[1]}"
                f"{': transposed' if turned else ''}; the labels lie beside what they label, or the loss stops with a "
                "shape error",
                place=Place(file=row["file"], image=row["image"]),
                evidence={"mask": list(mask), "image": list(image)},
                of=data.masks.height,
            )
