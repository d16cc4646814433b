"""One prediction as a file holds it, or why a record is none: what the readers of every format yield."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from snellen.boxes import CORNERS
from snellen.errors import UseError

NO_BOX = (float("nan"),) * 4


class PredictionsError(UseError):
    """A file of predictions that cannot be used; the message names file, place and remedy."""


class Prediction(NamedTuple):
    """A record that can be read; NaN and infinity pass, as scoring reports them."""

    image: str
    class_name: str
    score: float
    corners: tuple[float, ...]
    """x1, y1, x2, y2; NO_BOX where only run lengths say where it is."""
    shape: Mapping[str, Any]
    """rings, rle with rle_height and rle_width, xyv: see `geometry`."""


class Refused(NamedTuple):
    """A record that cannot."""

    kind: str
    image: str | None
    value: object


def parse(record: Mapping[str, Any], shape: Mapping[str, Any] | None = None) -> Prediction | Refused:
    """Read image, class_name, score, x1 .. y2 of any type; refused are missing-field and not-a-number."""
    wanted = ("image", "class_name", "score", *CORNERS)
    image = record.get("image")
    if any(record.get(column) in (None, "") for column in wanted):
        return Refused("missing-field", None if image is None else str(image), record)
    score, *corners = (number(record[column]) for column in wanted[2:])
    if score is None or None in corners:
        return Refused("not-a-number", str(image), record)
    return Prediction(
        str(image), str(record["class_name"]), score, tuple(c for c in corners if c is not None), shape or {}
    )


def number(value: Any) -> float | None:
    """The number that `value` is, or spells; None for anything else, also for true and false."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
