"""See ExifRotatedImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier


class ExifRotatedImage(Rule):
    """Labelled images that one half of all loaders shows rotated.

    ## What it does
    Reports images with an EXIF orientation other than upright that carry boxes.

    ## Why is this bad?
    Loaders built on OpenCV (Ultralytics, YOLOX, MMDetection) and loaders built on PIL without a word on EXIF
    (torchvision's datasets, RF-DETR, D-FINE) read two different pictures from such a file: the same boxes lie right for
    one and wrong for the other. When the declared size is that of the unturned
    file, the boxes belong to the unturned picture.

    ## How it is computed
    EXIF tag 0x0112 in 2..8 on an image with boxes. Declared width and height that equal the unturned file, and not
    the turned one, prove the boxes to be for the unturned picture. One finding for each image.

    ## Example
        images/0007.jpg  exif-rotated-image  EXIF orientation 6 turns the picture, ...

    ## Fix
    Write the rotation into the pixels, drop the tag, and turn the boxes with it where they belong to the unturned
    picture.

    ## Known false positives
    A dataset used by one loader only, labelled as that loader shows it.

    ## References
    CIPA DC-008 (EXIF 2.32), 4.6.4; facebookresearch/detectron2#788; roboflow/rf-detr#189.
    """

    name = "exif-rotated-image"
    code = "IMG004"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxed = data.boxes["image"].drop_nulls().unique().implode()
        turned = data.images.filter((pl.col("exif_orientation") > 1) & pl.col("image").is_in(boxed))
        for row in turned.iter_rows(named=True):
            declared, raw = (row["declared_width"], row["declared_height"]), (row["width"], row["height"])
            sideways = row["exif_orientation"] >= 5 and declared == raw and raw[0] != raw[1]
            proof = f", and the declared {raw[0]} x {raw[1]} is the unturned one" if sideways else ""
            yield Finding(
                message=f"EXIF orientation {row['exif_orientation']} turns the picture{proof}; its boxes fit either "
                "loaders that obey the tag (OpenCV) or those that do not (plain PIL), not both",
                place=Place(file=row["image"], image=row["image"]),
                evidence={"orientation": row["exif_orientation"], "labels_belong_to_unturned": sideways},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "write the rotation into the pixels",
                    {"op": "bake-rotation", "image": row["image"]},
                ),
                rank=float(sideways),
            )
