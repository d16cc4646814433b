"""See UnreadableOutline."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import outline_place


class UnreadableOutline(Rule):
    """A mask that cannot be read.

    ## What it does
    Reports polygons with NaN or infinity in them, and run lengths that do not fit their image.

    ## Why is this bad?
    pycocotools reads beyond the mask or stops, and one such record ends the run in the middle of an epoch.

    ## How it is computed
    A coordinate is not finite, or the run lengths cannot be decoded, are negative, or do not add up to height x width.

    ## Example
        train.json:88  unreadable-outline  the run lengths do not fit 640 x 480 ...

    ## Fix
    Export the mask again.

    ## Known false positives
    None known.

    ## References
    COCO API, maskApi.c.
    """

    name = "unreadable-outline"
    code = "ANN032"
    category = Category.CORRECTNESS
    causes = ("non-finite-coordinate",)

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for outline in data.outlines.filter(~pl.col("finite").fill_null(True)).iter_rows(named=True):
            size = f"{outline['rle_width']} x {outline['rle_height']}"
            what = (
                f"the run lengths do not fit {size}" if outline["kind"] == "rle" else "a coordinate is NaN or infinite"
            )
            yield Finding(
                message=f"{what}: the mask cannot be drawn, and pycocotools stops at it or reads beyond it",
                place=outline_place(outline),
                evidence={"kind": outline["kind"]},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "drop the object",
                    {"op": "drop-box", "file": outline["file"], "row": outline["row"]},
                ),
            )
