"""See SwappedBoxLayout."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions, Tier
from snellen.rules.data._records import finite_boxes


@dataclass(frozen=True)
class _Side:
    """One axis: the ends of the box as read, and the end of the image with the slack."""

    low: pl.Expr
    high: pl.Expr
    end: pl.Expr

    @property
    def length(self) -> pl.Expr:
        return self.high - self.low

    @property
    def centre(self) -> pl.Expr:
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class _Layout:
    """What a format says, and what it may hold instead."""

    said: str
    meant: str
    held: str
    title: str
    group: str
    wrong: Callable[[_Side, float], pl.Expr]
    """Whether an axis cannot be right as written, given the slack."""
    fits: Callable[[_Side], pl.Expr]
    """Whether it is right in the other layout."""


CORNERS_HELD, SIZES = "the file holds corners", "turn corners into sizes"
AS_CORNERS = _Layout(
    "x1, y1, x2, y2", "x, y, width, height", "the columns hold sizes", "turn sizes into corners", "file",
    wrong=lambda s, slack: s.high <= s.low,
    fits=lambda s: (s.high > 0) & (s.low + s.high <= s.end),
)  # fmt: skip
LAYOUTS = {
    "coco": _Layout(
        "x, y, width, height", "x1, y1, x2, y2", CORNERS_HELD, SIZES, "file",
        wrong=lambda s, slack: s.high > s.end,
        fits=lambda s: (s.length > s.low) & (s.length <= s.end),
    ),
    "yolo": _Layout(
        "cx, cy, w, h", "x1, y1, x2, y2", CORNERS_HELD, SIZES, "format",
        wrong=lambda s, slack: (s.high > s.end) | (s.low < -slack),
        fits=lambda s: (s.length > s.centre) & (s.length <= s.end),
    ),
    "csv": AS_CORNERS,
    "voc": replace(AS_CORNERS, group="format"),
}  # fmt: skip


class SwappedBoxLayout(Rule):
    """Boxes written in another layout than the format's.

    ## What it does
    Reports COCO files whose x, y, width, height hold x1, y1, x2, y2; YOLO sets whose cx, cy, w, h do; and VOC and CSV
    sets whose corners hold x, y, width, height.

    ## Why is this bad?
    Every box then lies elsewhere and has another size: most run out of the image or are inside out, the loss falls a
    little and mAP stays 0.

    ## How it is computed
    Among the boxes of a file (YOLO, VOC: of all) whose image's size is known: at least `min_share` leave the image or
    are inside out when read as written; and read in the other layout, every one lies in its image and is the right way
    round. At least `min_boxes` boxes.

    ## Example
        train.json  swapped-box-layout  312 of 430 boxes leave their images as x, y, w, h ...

    ## Fix
    Write width = x2 - x1 and height = y2 - y1, or x2 = x1 + width and y2 = y1 + height.

    ## Known false positives
    None known: a few boxes may be ambiguous, a whole file is not.

    ## References
    COCO data format, cocodataset.org/#format-data.
    """

    name = "swapped-box-layout"
    code = "ANN026"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.2
        """Share of the boxes, 0..1, that must leave the image as written."""
        min_boxes: int = 10
        """Boxes of a file below which nothing is inferred."""
        slack: float = 2.0
        """Pixels beyond the image that are forgiven."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        layout = LAYOUTS.get(data.format)
        if layout is None:
            return
        boxes = finite_boxes(data).filter(pl.col("box_stated").fill_null(True))
        boxes = boxes.join(data.sizes(), on="image", how="inner", maintain_order="left").drop_nulls(["width", "height"])
        slack = self.options.slack
        ends = (pl.col("width") + slack, pl.col("height") + slack)
        x, y = (_Side(pl.col(a), pl.col(b), end) for a, b, end in zip(("x1", "y1"), ("x2", "y2"), ends, strict=True))
        told = (
            boxes.with_columns(format=pl.lit(data.format))
            .group_by(layout.group, maintain_order=True)
            .agg(
                wrong=(layout.wrong(x, slack) | layout.wrong(y, slack)).sum(),
                other=(layout.fits(x) & layout.fits(y)).sum(),
                boxes=pl.len(),
            )
        )
        for row in told.iter_rows(named=True):
            swapped = row["other"] == row["boxes"] and row["wrong"] >= self.options.min_share * row["boxes"]
            if row["boxes"] < self.options.min_boxes or not swapped:
                continue
            file = row.get("file")
            edit = {"op": "corners-to-sizes", "file": file} if data.format == "coco" else {}
            yield Finding(
                message=f"{row['wrong']:,} of {row['boxes']:,} boxes leave their images or are inside out as "
                f"{layout.said}, and none does as {layout.meant}: {layout.held}, and every target is wrong",
                place=Place(file=file),
                evidence={"leaving": row["wrong"], "boxes": row["boxes"]},
                affected=row["boxes"],
                of=row["boxes"],
                fix=Fix(FixSafety.UNSAFE, layout.title, edit),
            )
