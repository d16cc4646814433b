"""See DuplicateBox."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.data._overlapping import overlapping_pairs
from snellen.rules.data._records import box_place


class DuplicateBox(Rule):
    """Two boxes of one class on one object.

    ## What it does
    Reports pairs of boxes of the same image and class that coincide.

    ## Why is this bad?
    The object counts twice in the loss, and in an evaluation one of the two must be missed, for suppression leaves
    one prediction: recall has a ceiling below 1. Ultralytics removes identical rows.

    ## How it is computed
    IoU >= `min_iou` between two boxes of one class, neither a crowd, of at least `min_side_px`; identical boxes
    count at any size.

    ## Example
        train.json:88  duplicate-box  rows 87 and 88 both box 'dog' with IoU 1.000 ...

    ## Fix
    Drop one of the two; safe when they are identical in every respect, outline and flags included.

    ## Known false positives
    Two objects exactly behind each other.

    ## References
    U. Tkachenko et al., "ObjectLab" (2023), arXiv:2309.00832.
    """

    name = "duplicate-box"
    code = "ANN005"
    category = Category.SUSPICIOUS
    causes = ("duplicate-id",)

    class Options(RuleOptions):
        """What counts as one."""

        min_iou: float = 0.95
        """Intersection over union from which two boxes are of one object; ObjectLab's label-overlap threshold."""
        min_side_px: float = 8.0
        """Boxes with a shorter side, in pixels, are not compared: there one pixel's shift is the object's own size."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        pairs = list(overlapping_pairs(data, self.options.min_iou))
        shapes = _shapes(data, {box["object"] for one, other, iou in pairs if iou == 1 for box in (one, other)})
        for one, other, iou in pairs:
            least = min(one["x2"] - one["x1"], one["y2"] - one["y1"])
            if one["class_name"] != other["class_name"] or one["class_id"] != other["class_id"]:
                continue
            if iou < 1 and least < self.options.min_side_px:
                continue
            yield Finding(
                message=f"rows {one['row']} and {other['row']} both box {other['class_name']!r} with IoU {iou:.3f}: "
                "the object counts twice in the loss, and one of the two is missed in every evaluation",
                place=box_place(other),
                evidence={"iou": iou, "other_row": one["row"]},
                fix=Fix(
                    FixSafety.SAFE if iou == 1 and _same(one, other, shapes) else FixSafety.UNSAFE,
                    "drop one of the two",
                    {
                        "op": "drop-box",
                        "file": other["file"],
                        "row": other["row"],
                    },
                ),
                rank=iou,
            )


def _shapes(data: DataFacts, objects: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """Outline and keypoints of each of `objects`."""
    wanted = pl.col("object").is_in(sorted(objects))
    columns = ("kind", "rings", "rle", "mask_file", "mask_value")
    outlined = {row["object"]: tuple(row[c] for c in columns) for row in data.outlines.filter(wanted).to_dicts()}
    posed = dict(data.keypoints.filter(wanted).select("object", "xyv").iter_rows())
    return {number: (outlined.get(number), posed.get(number)) for number in {*outlined, *posed}}


def _same(one: Mapping[str, Any], other: Mapping[str, Any], shapes: Mapping[int, tuple[Any, ...]]) -> bool:
    """Whether two coinciding boxes say the same in every other respect."""
    flags = ("area", "crowd", "truncated", "occluded")
    return all(one[c] == other[c] for c in flags) and shapes.get(one["object"]) == shapes.get(other["object"])
