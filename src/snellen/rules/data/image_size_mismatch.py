"""See ImageSizeMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier


class ImageSizeMismatch(Rule):
    """An image of another size than its annotation says.

    ## What it does
    Reports images whose declared width and height are not those of the file.

    ## Why is this bad?
    The boxes were drawn on a picture of another size, or the size is wrong: loaders that scale by the declared size
    put every box in the wrong place, and Detectron2 stops with a size-mismatch error.

    ## How it is computed
    Declared and actual size differ in pixels; the actual one is taken as stored or, for EXIF orientations 5 to 8,
    as displayed. Only where both are known.

    ## Example
        images/0007.jpg  image-size-mismatch  the annotations say 640 x 480, the file has 480 x 640 ...

    ## Fix
    Correct the declared size when the boxes fit the file; else scale the boxes.

    ## Known false positives
    None known.

    ## References
    fanq15/Few-Shot-Object-Detection-Dataset#21.
    """

    name = "image-size-mismatch"
    code = "LBL008"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = pl.all_horizontal(
            pl.col(c).is_not_null() for c in ("declared_width", "declared_height", "width", "height")
        )
        for row in data.images.filter(known).iter_rows(named=True):
            declared, actual = (row["declared_width"], row["declared_height"]), (row["width"], row["height"])
            if declared == actual or ((row["exif_orientation"] or 1) >= 5 and declared == actual[::-1]):
                continue
            yield Finding(
                message=f"the annotations say {declared[0]} x {declared[1]}, the file has {actual[0]} x {actual[1]}: "
                "loaders that trust the declared size misplace every box",
                place=Place(file=row["label_file"], image=row["image"]),
                evidence={"declared": list(declared), "actual": list(actual)},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "write the file's size",
                    {
                        "op": "rewrite-size",
                        "image": row["image"],
                        "width": actual[0],
                        "height": actual[1],
                    },
                ),
            )
