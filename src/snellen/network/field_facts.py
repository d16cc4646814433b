"""The receptive field of a layer as columns of a table, and read back from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import polars as pl

from snellen.facts import Schema
from snellen.network.receptive_field import Axis, Field, in_lines

FIELD_COLUMNS: Schema = {
    "rf_height": (
        pl.Float64(),
        "receptive field of the output in input pixels; inf when global; 0: sees no image; null: unknown",
    ),
    "rf_width": (pl.Float64(), "likewise"),
    "rf_gated": (pl.Boolean(), "a summary of the image reaches the output too, and is left out of the field"),
    "rf_rows": (
        pl.List(pl.Float64()),
        "first and last input row seen by output row 0, 1 ... until the pattern repeats, counted from the far end in a "
        "map that was turned round; global mixing left out",
    ),
    "rf_columns": (pl.List(pl.Float64()), "first and last input column, likewise"),
    "stride": (pl.Float64(), "input pixels per output pixel, vertical; null when unknown"),
    "stride_width": (pl.Float64(), "likewise, horizontal"),
}


@dataclass(frozen=True)
class ReceptiveField:
    """What one output of a layer sees of the input, in input pixels; the first pixel's middle is 0.

    Sizes are those of the output position that sees most, where they alternate.
    """

    height: float
    """Rows seen; inf where attention or a linear layer mixes the whole image. Gates (a global summary that scales or
    joins the map, as in squeeze-and-excitation) are left out."""
    width: float
    gated: bool
    rows: Axis | None
    """Per output row what it sees without any global mixing (in a vision transformer the patch); None where outputs
    have no place."""
    columns: Axis | None

    @property
    def size(self) -> tuple[float, float]:
        """Height and width."""
        return self.height, self.width

    @property
    def strict(self) -> tuple[float, float]:
        """Height and width with the gates counted: inf behind one."""
        return (inf, inf) if self.gated else self.size

    @property
    def local(self) -> tuple[float, float] | None:
        """Height and width without global mixing of any kind; None where outputs have no place."""
        return (self.rows.size, self.columns.size) if self.rows and self.columns else None

    @property
    def stride(self) -> tuple[float, float] | None:
        """Input pixels from one output to the next, vertically and horizontally."""
        return (self.rows.stride, self.columns.stride) if self.rows and self.columns else None

    @property
    def alternates(self) -> bool:
        """Whether neighbouring outputs see fields of different size."""
        return any(axis is not None and len(set(axis.sizes)) > 1 for axis in (self.rows, self.columns))

    def box(self, row: int, column: int) -> tuple[float, float, float, float] | None:
        """Left, top, right, bottom of what output (row, column) sees locally; right and bottom are exclusive.

        May reach beyond the image. None where outputs have no place.
        """
        if self.rows is None or self.columns is None:
            return None
        (top, bottom), (left, right) = self.rows.at(row), self.columns.at(column)
        return left, top, right + 1, bottom + 1


def field_columns(field: Field | None, ran: bool) -> dict[str, Any]:
    """The columns of `FIELD_COLUMNS` for one layer that ran or did not; one without a field saw no image."""
    if field is None and ran:
        return {**dict.fromkeys(FIELD_COLUMNS), "rf_height": 0.0, "rf_width": 0.0, "rf_gated": False}
    if field is None or field.reach == "lost":
        return dict.fromkeys(FIELD_COLUMNS)
    everything = field.reach == "global"
    field = in_lines(field)
    if not field.dims:
        return {**dict.fromkeys(FIELD_COLUMNS), "rf_height": inf, "rf_width": inf, "rf_gated": False}
    h, w = (_forwards(field, letter) for letter in "hw")
    return {
        "rf_height": inf if everything else field.h.size,
        "rf_width": inf if everything else field.w.size,
        "rf_gated": field.gated and not everything,
        "rf_rows": [float(v) for pair in zip(h.lo, h.hi, strict=True) for v in pair],
        "rf_columns": [float(v) for pair in zip(w.lo, w.hi, strict=True) for v in pair],
        "stride": h.stride,
        "stride_width": w.stride,
    }


def _forwards(field: Field, letter: str) -> Axis:
    """The axis called "h" or "w" in the order in which it runs over the image."""
    axis = field.of(letter)
    size = prod(n for label in field.dims for kind, n in label if kind == letter)
    return axis.mirrored(size) if axis.span < 0 else axis


def receptive_field_of(row: Mapping[str, Any]) -> ReceptiveField | None:
    """The receptive field that a row of the layers table tells, None when it is unknown."""
    if row["rf_height"] is None:
        return None
    rows, columns = _axis(row["rf_rows"], row["stride"]), _axis(row["rf_columns"], row["stride_width"])
    return ReceptiveField(row["rf_height"], row["rf_width"], bool(row["rf_gated"]), rows, columns)


def _axis(places: Sequence[float] | None, stride: float | None) -> Axis | None:
    if places is None or stride is None:
        return None
    return Axis(round(stride * len(places) / 2), tuple(places[::2]), tuple(places[1::2]))
