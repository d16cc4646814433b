"""See DegeneratePolygon."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.data._records import outline_place


class DegeneratePolygon(Rule):
    """A polygon that encloses nothing.

    ## What it does
    Reports polygons with a ring of fewer than three points, or without area.

    ## Why is this bad?
    pycocotools refuses rings of fewer than three points, Detectron2 stops at them, Ultralytics takes the box around
    them; an empty mask teaches that nothing is there.

    ## How it is computed
    A ring has fewer than three vertices, or the area of all rings or run lengths together is below `min_area`.

    ## Example
        train.json:88  degenerate-polygon  a ring of 2 points encloses nothing ...

    ## Fix
    Draw the outline again, or drop it.

    ## Known false positives
    None known.

    ## References
    pycocotools frPyObjects; Detectron2 polygons_to_bitmask; datumaro raises below three points.
    """

    name = "degenerate-polygon"
    code = "ANN031"
    category = Category.CORRECTNESS
    causes = ("degenerate-box",)

    class Options(RuleOptions):
        """Thresholds."""

        min_area: float = 0.5
        """Pixels squared below which no pixel's centre need lie inside."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        polygons = data.outlines.filter(
            pl.col("kind").is_in(["polygon", "oriented", "rle"]) & pl.col("finite").fill_null(True)
        )
        flat = polygons.filter((pl.col("fewest_points") < 3) | (pl.col("area") < self.options.min_area))
        for outline in flat.iter_rows(named=True):
            few = outline["fewest_points"] is not None and outline["fewest_points"] < 3
            what = (
                f"a ring of {plural(outline['fewest_points'], 'point')} encloses nothing" if few
                else f"the outline encloses {outline['area']:.2g} px^2 (limit {self.options.min_area:g})"
            )  # fmt: skip
            yield Finding(
                message=f"{what}: pycocotools and Detectron2 stop at it, others train on an empty mask",
                place=outline_place(outline),
                evidence={"area": outline["area"], "fewest_points": outline["fewest_points"]},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "drop the object",
                    {"op": "drop-box", "file": outline["file"], "row": outline["row"]},
                ),
            )
