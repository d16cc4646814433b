"""See OutlineBoxMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.findings.measured import Measured
from snellen.rules.data._records import outline_place


class OutlineBoxMismatch(Rule):
    """A box that is not the box of its mask.

    ## What it does
    Reports objects whose stated box differs from the extent of their polygon, run lengths or bitmap.

    ## Why is this bad?
    Detectors learn the one, mask heads the other, cropped to the first: the mask is cut or floats in an empty box. One
    of the two was edited without the other.

    ## How it is computed
    IoU of the stated box and the outline's extent, below `min_iou`; boxes of a few pixels are forgiven a pixel on each
    side. Crowd regions are passed over.

    ## Example
        train.json:88  outline-box-mismatch  the box and the extent of its polygon overlap by 0.61 (limit 0.9) ...

    ## Fix
    Set the box to the extent of the outline, when that is the one drawn.

    ## Known false positives
    Outlines of the visible part with boxes of the whole object (amodal).

    ## References
    torchvision's references compute boxes from masks; Detectron2 takes the stated box.
    """

    name = "outline-box-mismatch"
    code = "ANN033"
    category = Category.SUSPICIOUS
    causes = (
        "degenerate-polygon",
        "unreadable-outline",
        "degenerate-box",
        "box-out-of-bounds",
        "box-outside-image",
        "swapped-box-layout",
    )

    class Options(RuleOptions):
        """Thresholds."""

        min_iou: float = 0.9
        """IoU of box and extent, 0..1."""
        slack: float = 2.0
        """Pixels that a side may differ whatever the IoU: rounding, and the width of the last pixel."""

    def _pairs(self, data: DataFacts) -> pl.DataFrame:
        stated = data.boxes.filter(
            pl.col("box_stated").fill_null(True) & pl.col("usable") & ~pl.col("crowd").fill_null(False)
        )
        stated = stated.select("object", *(pl.col(c).alias(f"box_{c}") for c in CORNERS))
        both = (
            data.outlines.filter(pl.col("finite").fill_null(True)).drop_nulls(list(CORNERS)).join(stated, on="object")
        )
        wide = pl.min_horizontal("x2", "box_x2") - pl.max_horizontal("x1", "box_x1")
        high = pl.min_horizontal("y2", "box_y2") - pl.max_horizontal("y1", "box_y1")
        common = pl.max_horizontal(wide, 0.0) * pl.max_horizontal(high, 0.0)
        areas = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1")) + (
            pl.col("box_x2") - pl.col("box_x1")
        ) * (pl.col("box_y2") - pl.col("box_y1"))
        apart = pl.max_horizontal(*((pl.col(c) - pl.col(f"box_{c}")).abs() for c in CORNERS))
        return both.with_columns(iou=common / (areas - common), apart=apart)

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(
            self._pairs(data)["iou"],
            "min_iou",
            "IoU of box and outline's extent, 0..1",
            "outlines with a box",
            above=False,
        )

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        both = self._pairs(data)
        odd = both.filter((pl.col("iou") < self.options.min_iou) & (pl.col("apart") > self.options.slack))
        for outline in odd.iter_rows(named=True):
            extent = [outline[c] for c in CORNERS]
            yield Finding(
                message=f"the box and the extent of its {outline['kind']} overlap by {outline['iou']:.2f} (limit "
                f"{self.options.min_iou:g}), sides lie up to {outline['apart']:.0f} px apart: detectors learn the "
                "one, mask "
                "heads the other",
                place=outline_place(outline),
                evidence={"iou": outline["iou"], "extent": extent, "box": [outline[f"box_{c}"] for c in CORNERS]},
                rank=1 - outline["iou"],
                fix=Fix(
                    FixSafety.UNSAFE,
                    "set the box to the extent of the outline",
                    {"op": "set-box", "file": outline["file"], "row": outline["row"], "box_xyxy": extent},
                ),
            )
