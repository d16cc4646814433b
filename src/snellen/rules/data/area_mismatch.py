"""See AreaMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.data._records import box_place, solid_boxes


class AreaMismatch(Rule):
    """An area that is not that of its mask.

    ## What it does
    Reports annotations whose `area` differs from what their outline or box encloses.

    ## Why is this bad?
    COCO's evaluation sorts objects into small, medium and large by this number alone: a wrong one moves the object to
    another column of the table.

    ## How it is computed
    |area - enclosed| / enclosed above `tolerance`, and more than `slack` pixels. Enclosed is the polygon's or mask's
    area, or the box's where there is no outline; an area that equals the box's is accepted beside an outline too, as
    some tools write it. Where the outline cannot be measured, nothing is said.

    ## Example
        train.json:88  area-mismatch  area 10 where the box encloses 2,310 px^2 ...

    ## Fix
    Compute it anew.

    ## Known false positives
    Areas measured by drawing the mask differ by a row of pixels; the tolerance is for them.

    ## References
    COCO evaluation, areaRng; labellint has the check.
    """

    name = "area-mismatch"
    code = "ANN034"
    category = Category.SUSPICIOUS
    causes = (
        "degenerate-polygon",
        "unreadable-outline",
        "malformed-label",
        "segment-without-pixels",
        "box-out-of-bounds",
        "swapped-box-layout",
        "self-intersecting-polygon",
        "outline-box-mismatch",
    )

    class Options(RuleOptions):
        """Thresholds."""

        tolerance: float = 0.05
        """Relative difference that is accepted."""
        slack: float = 16.0
        """Pixels squared that are accepted whatever the size."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        outlined = data.outlines.filter(pl.col("finite").fill_null(True)).select(
            "object", pl.col("area").alias("enclosed"), unmeasured=pl.col("area").is_null()
        )
        boxed = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
        boxes = solid_boxes(data).filter(pl.col("area").is_not_null()).with_columns(boxed=boxed)
        boxes = boxes.join(outlined, on="object", how="left").filter(~pl.col("unmeasured").fill_null(False))
        boxes = boxes.with_columns(enclosed=pl.coalesce("enclosed", "boxed"))

        def differs(column: str) -> pl.Expr:
            apart = (pl.col("area") - pl.col(column)).abs()
            return (apart > self.options.tolerance * pl.col(column)) & (apart > self.options.slack)

        for box in boxes.filter(differs("enclosed") & differs("boxed") & pl.col("area").is_finite()).iter_rows(
            named=True
        ):
            yield Finding(
                message=f"area {box['area']:,.0f} where the annotation encloses {box['enclosed']:,.0f} px^2 (tolerance "
                f"{self.options.tolerance:.0%}): COCO's small, medium and large are decided by it",
                place=box_place(box),
                evidence={"area": box["area"], "enclosed": box["enclosed"]},
                rank=abs(box["area"] - box["enclosed"]) / max(box["enclosed"], 1.0),
                fix=Fix(
                    FixSafety.SAFE,
                    "write the area that is enclosed",
                    {"op": "set-area", "file": box["file"], "row": box["row"], "area": box["enclosed"]},
                ),
            )
