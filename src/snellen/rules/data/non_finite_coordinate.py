"""See NonFiniteCoordinate."""

from collections.abc import Iterator

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule


class NonFiniteCoordinate(Rule):
    """A box with NaN or infinity in it.

    ## What it does
    Reports boxes of which a corner is NaN or infinite.

    ## Why is this bad?
    One such box makes the loss NaN, and every weight after it, where the trainer computes with it unseen. JSON writers
    emit NaN without complaint, and linters of data have stopped at it.

    ## How it is computed
    IEEE 754: any of x1, y1, x2, y2 is not finite.

    ## Example
        train.json:88  non-finite-coordinate  the box is (10, nan, 40, nan) ...

    ## Fix
    Draw the box again, or drop it.

    ## Known false positives
    None known.

    ## References
    pytorch/vision#2240.
    """

    name = "non-finite-coordinate"
    code = "ANN001"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        values = [pl.col(c) for c in CORNERS]
        bad = pl.any_horizontal(v.is_nan() | v.is_infinite() for v in values).fill_null(False)
        for box in data.boxes.filter(bad).iter_rows(named=True):
            shown = ", ".join(f"{box[c]:g}" for c in CORNERS)
            yield Finding(
                message=f"the box is ({shown}), which is no number: the loss becomes NaN, and every weight with it",
                place=Place(file=box["file"], row=box["row"], image=box["image"], class_name=box["class_name"]),
                evidence={"box": shown},
                fix=Fix(FixSafety.UNSAFE, "drop the box", {"op": "drop-box", "file": box["file"], "row": box["row"]}),
            )
