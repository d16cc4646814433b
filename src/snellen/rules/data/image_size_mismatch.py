"""See ImageSizeMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier
from snellen.rules.data._records import solid_boxes


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
    Correct the declared size when the boxes fit the file; else scale the boxes. Writing the file's size is safe where
    the boxes fit it and not the declared one, or the two differ in shape; else the picture may have been resized.

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
        reach = solid_boxes(data).group_by("image").agg(pl.col("x2").max(), pl.col("y2").max())
        extent = {image: (x, y) for image, x, y in reach.iter_rows()}
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
                    FixSafety.SAFE
                    if _only_the_number_is_wrong(extent.get(row["image"]), declared, actual)
                    else FixSafety.UNSAFE,
                    "write the file's size",
                    {
                        "op": "rewrite-size",
                        "image": row["image"],
                        "width": actual[0],
                        "height": actual[1],
                    },
                ),
            )


def _only_the_number_is_wrong(
    extent: tuple[float, float] | None, declared: tuple[int, int], actual: tuple[int, int]
) -> bool:
    """Whether the boxes, which reach to `extent`, were drawn on the file as it is: it was not resized since."""
    if extent is None:
        return True
    fits, fitted = (all(x <= side + 1 for x, side in zip(extent, size, strict=True)) for size in (actual, declared))
    reshaped = abs(declared[0] * actual[1] / (declared[1] * actual[0] or 1) - 1) > 0.02 if declared[1] else True
    turned = declared == actual[::-1]
    return fits and (not fitted or (reshaped and not turned))
