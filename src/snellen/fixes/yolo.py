"""Edits of files of lines, YOLO's labels above all: single lines, everything else stays byte for byte."""

import math
from collections.abc import Sequence

from snellen.fixes.edit import Edit, EditError, clipped, rows_of

OPS = frozenset({"drop-box", "clip-box", "normalize-label", "drop-image"})


def edited(content: bytes, edits: Sequence[Edit], *, polygons: bool = True) -> bytes:
    """The file after `edits`; not `polygons`: longer rows are poses. Raises EditError."""
    lines = content.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    for edit in edits:
        op = edit["op"]
        if op == "normalize-label":
            lines = [_normalized(line, edit["width"], edit["height"]) for line in lines]
            continue
        for row in rows_of(edit):
            if row > len(lines):
                raise EditError("the file has fewer lines than were read")
            if op in ("drop-box", "drop-line"):
                lines[row - 1] = ""
            elif op == "clip-box":
                lines[row - 1] = _clipped(lines[row - 1], polygons)
            else:
                raise EditError(f"{op} is not known for YOLO files")
    return "".join(lines).encode("utf-8", "surrogateescape")


def _rewritten(line: str, values: Sequence[float]) -> str:
    """The line with other numbers after its class."""
    bare = line.rstrip("\r\n")
    return f"{bare.split()[0]} {' '.join(format(v, '.12g') for v in values)}{line[len(bare) :]}"


def _normalized(line: str, width: int, height: int) -> str:
    """Pixels as fractions; a line that holds none beyond 2 is one of fractions already."""
    try:
        values = [float(v) for v in line.split()[1:]]
    except ValueError:
        return line
    if not any(math.isfinite(v) and abs(v) > 2 for v in values):
        return line
    sides = (width, height)
    return _rewritten(line, [v / sides[place % 2] for place, v in enumerate(values)])


def _clipped(line: str, polygons: bool) -> str:
    """A box, or a polygon's points, cut off at the image's edges."""
    values = [float(v) for v in line.split()[1:]]
    if len(values) == 4:
        cx, cy, w, h = values
        x1, y1, x2, y2 = clipped((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), 1, 1)
        return _rewritten(line, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
    if not polygons or len(values) % 2 or len(values) == 8:
        raise EditError("a rotated box or a pose cannot be clipped without changing its shape")
    return _rewritten(line, [min(max(v, 0.0), 1.0) for v in values])
