"""See UnnormalizedCoordinates."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import plural
from snellen.rules.data._records import EXAMPLES


class UnnormalizedCoordinates(Rule):
    """YOLO rows in pixels instead of fractions.

    ## What it does
    Reports YOLO label files with values far above 1, where fractions of the image are expected.

    ## Why is this bad?
    Read as fractions the boxes lie thousands of pixels away. Ultralytics drops the whole image for one such value, and
    trains on.

    ## How it is computed
    A finite value of a row exceeds 2 in size: beyond any overhang of a box, and below any box given in pixels. One
    finding for each label file.

    ## Example
        labels/0007.txt  unnormalized-coordinates  4 rows hold pixels where fractions of the image are expected, ...

    ## Fix
    Divide x and width by the image's width, y and height by its height.

    ## Known false positives
    None known.

    ## References
    Ultralytics, "Object detection datasets overview".
    """

    name = "unnormalized-coordinates"
    code = "ANN007"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = data.problems.filter(pl.col("kind") == "unnormalized-coordinates")
        sizes = {image: (width, height) for image, width, height in data.sizes().iter_rows()}
        for (file, image), group in rows.group_by(["file", "image"], maintain_order=True):
            width, height = sizes.get(str(image), (None, None))
            edit = {"op": "normalize-label", "file": str(file), "width": width, "height": height}
            yield Finding(
                message=f"{plural(group.height, 'row holds', 'rows hold')} pixels where fractions of the image are "
                f"expected, the first {group['value'][0]!r}: the boxes lie far outside, and Ultralytics drops the "
                "whole image",
                place=Place(file=str(file), row=group["row"][0], image=str(image)),
                evidence={"rows": group["row"].to_list()[:EXAMPLES]},
                affected=group.height,
                fix=Fix(FixSafety.UNSAFE, "divide by the image's size", edit if width and height else {}),
            )
