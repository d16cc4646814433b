"""See BoxOutsideImage."""

from collections.abc import Iterator

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, Tier
from snellen.rules.data._records import box_place, solid_boxes


class BoxOutsideImage(Rule):
    """A box that does not touch its image.

    ## What it does
    Reports boxes that lie wholly outside the image.

    ## Why is this bad?
    There is nothing in the picture to learn, and in an evaluation nothing to find: the object counts as missed.
    albumentations raises ValueError.

    ## How it is computed
    x1 >= width, y1 >= height, x2 <= 0 or y2 <= 0, in pixels of the decoded image.

    ## Example
        train.json:88  box-outside-image  the box (700, 10, 740, 60) lies outside the 640 x 480 image ...

    ## Fix
    Find out whether the box belongs to another image or the coordinates to another size; drop it otherwise.

    ## Known false positives
    None known.

    ## References
    albumentations-team/albumentations#1497.
    """

    name = "box-outside-image"
    code = "ANN004"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS
    causes = (
        "image-size-mismatch",
        "swapped-box-layout",
        "unnormalized-coordinates",
        "exif-rotated-image",
    )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = solid_boxes(data).filter(
            (pl.col("x1") >= pl.col("true_width")) | (pl.col("y1") >= pl.col("true_height"))
            | ((pl.col("x2") <= 0) | (pl.col("y2") <= 0))
        )  # fmt: skip
        for box in boxes.iter_rows(named=True):
            shown = ", ".join(f"{box[c]:g}" for c in CORNERS)
            yield Finding(
                message=f"the box ({shown}) lies outside the {box['true_width']} x {box['true_height']} image: "
                "there is nothing in the picture to learn",
                place=box_place(box),
                evidence={"width": box["true_width"], "height": box["true_height"]},
                fix=Fix(FixSafety.UNSAFE, "drop the box", {"op": "drop-box", "file": box["file"], "row": box["row"]}),
            )
