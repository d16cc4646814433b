"""See DegenerateBox."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import box_place, finite_boxes


class DegenerateBox(Rule):
    """A box without width or height.

    ## What it does
    Reports boxes whose width or height is zero or negative.

    ## Why is this bad?
    torchvision raises ValueError, MMDetection drops it, Ultralytics trains on it without a word. A zero-sized target
    has made losses NaN, and in an evaluation it counts as an object missed.

    ## How it is computed
    x2 - x1 <= 0 or y2 - y1 <= 0, both in pixels, on finite corners.

    ## Example
        train.json:88  degenerate-box  the box is 0 x 14 px: without area it cannot be learnt or found; ...

    ## Fix
    Draw the box again, or drop it; swapped corners want swapping.

    ## Known false positives
    None known.

    ## References
    pytorch/vision#2240; cocodataset/cocoapi#355.
    """

    name = "degenerate-box"
    code = "ANN002"
    category = Category.CORRECTNESS
    causes = ("swapped-box-layout",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        flat = finite_boxes(data).filter((pl.col("x2") <= pl.col("x1")) | (pl.col("y2") <= pl.col("y1")))
        for box in flat.iter_rows(named=True):
            width, height = box["x2"] - box["x1"], box["y2"] - box["y1"]
            yield Finding(
                message=f"the box is {width:g} x {height:g} px: without area it cannot be learnt or found; "
                "torchvision raises, MMDetection drops it, Ultralytics trains on it",
                place=box_place(box),
                evidence={"width": width, "height": height},
                fix=Fix(FixSafety.UNSAFE, "drop the box", {"op": "drop-box", "file": box["file"], "row": box["row"]}),
            )
