"""YOLO segments: rows `class x1 y1 x2 y2 ...`, one ring an object.

Precision: as yolo. Several rings become one, joined by bridges without width; masks are traced along their pixels'
edges; an object without outline becomes its box's four corners. The box of an object is the hull of its ring.
"""

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.polygons import joined, rectangle, rings
from snellen.data.writers.written import Row, Written, at, unusable
from snellen.data.writers.yolo import fractions, write_rows


def write(data: DataFacts, losses: Losses) -> Written:
    """The dataset with rows of polygons."""
    return write_rows(data, losses, _values)


def _values(data: DataFacts, row: Row, losses: Losses) -> list[float] | None:
    parts = rings(data, row, losses)
    if not parts:
        if unusable(row):
            losses.add("unusable-boxes-left-out", "unusable boxes without an outline are left out", at(row))
            return None
        losses.add("boxes-to-polygons", "boxes without an outline became polygons of four points", at(row))
        parts = [rectangle(row)]
    if len(parts) > 1:
        losses.add("parts", "outlines of several parts were joined by bridges without width", at(row))
    if row["outline"] == "oriented":
        losses.add("rotated-boxes", "rotated boxes became polygons of four points", at(row))
    if row["outline"] is not None and row["box_stated"] and not unusable(row):
        losses.add("stated-boxes", "stated boxes are lost: the outline's hull stands for them", at(row))
    return fractions(joined(parts), row)
