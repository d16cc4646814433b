"""YOLO oriented boxes: rows `class x1 y1 x2 y2 x3 y3 x4 y4`, the corners of a rotated rectangle.

Precision: as yolo. A polygon or mask becomes the smallest rectangle around it, a plain box its own four corners.
"""

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.polygons import rectangle, rings, smallest_rectangle
from snellen.data.writers.written import Row, Written, at, unusable
from snellen.data.writers.yolo import fractions, write_rows


def write(data: DataFacts, losses: Losses) -> Written:
    """The dataset with rows of rotated boxes."""
    return write_rows(data, losses, _values)


def _values(data: DataFacts, row: Row, losses: Losses) -> list[float] | None:
    if row["outline"] == "oriented":
        return fractions(row["rings"][0], row)
    parts = rings(data, row, losses)
    if parts:
        losses.add("outlines", "outlines became the smallest rotated boxes around them", at(row))
        return fractions(smallest_rectangle(parts), row)
    if unusable(row):
        losses.add("unusable-boxes-left-out", "unusable boxes without an outline are left out", at(row))
        return None
    losses.add("upright-boxes", "boxes without an outline became rotated boxes of angle 0", at(row))
    return fractions(rectangle(row), row)
