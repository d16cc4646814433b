"""What an editor of annotation files takes and gives, and the arithmetic that all of them share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Edit = Mapping[str, Any]
"""The `edit` of a Fix: `op` and its parameters."""


class EditError(ValueError):
    """An edit that cannot be made in this file: the message says why; the finding is left to a person."""


def spliced(text: str, changes: Iterable[tuple[int, int, str]]) -> str:
    """`text` with the spans [start, end) replaced; spans that lie in an earlier one are dropped with it."""
    parts: list[str] = []
    at = 0
    for start, end, new in sorted(changes, key=lambda c: (c[0], -c[1])):
        if start < at:
            continue
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def clipped(box_xyxy: Sequence[float], width: float, height: float) -> list[float]:
    """A box cut off at the image's edges."""
    sides = (width, height, width, height)
    return [min(max(float(v), 0.0), float(side)) for v, side in zip(box_xyxy, sides, strict=True)]


def rows_of(edit: Edit) -> list[int]:
    """The 1-based rows that an edit speaks of."""
    return list(edit["rows"]) if "rows" in edit else [edit["row"]]


def number(value: float) -> int | float:
    """A number as people write it: without the `.0` of a whole one."""
    return int(value) if value == int(value) and abs(value) < 2**53 else value
