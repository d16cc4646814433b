"""Rotated boxes: intersection over union of convex quadrilaterals, for COCO's matching and for VOC's (DOTA).

The intersection is cut out edge by edge (Sutherland and Hodgman, CACM 1974) and measured by the shoelace formula.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from snellen.evaluation.pairs import Bools, Floats, Pairs


def corners(boxes_xywha: Floats) -> Floats:
    """Return (n, 4, 2) corners of (n, 5) centre x, centre y, width, height, angle; radians from x towards y."""
    centre, half, angle = boxes_xywha[:, :2], boxes_xywha[:, 2:4] / 2, boxes_xywha[:, 4]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * half[:, :1]
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * half[:, 1:]
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.stack([centre + s * along + t * across for s, t in signs], axis=1)


def areas(quads: Floats) -> Floats:
    """(n,) px^2 of quadrilaterals (n, 4, 2)."""
    return np.abs(_twice_area(quads)) / 2


def convex(quads: Floats) -> Bools:
    """(n,) whether a quadrilateral (n, 4, 2) is finite, has an area and turns one way only."""
    edges = np.roll(quads, -1, axis=1) - quads
    after = np.roll(edges, -1, axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        turns = edges[..., 0] * after[..., 1] - edges[..., 1] * after[..., 0]
        one_way = (turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)
        area = areas(quads)
        return np.isfinite(quads).all(axis=(1, 2)) & one_way & (area > 0) & np.isfinite(area)


@dataclass(frozen=True)
class OrientedOverlap:
    """Intersection over union of convex quadrilaterals; with a crowd, intersection over the detection's own area."""

    quads: Floats
    """(N, 4, 2) detections: corners in either direction of turning."""
    object_quads: Floats
    """(M, 4, 2)."""
    crowd: Bools
    """(M,)."""

    def __call__(self, pairs: Pairs) -> Floats:
        """Measure `pairs`."""
        out = np.empty(pairs.offsets[-1])
        _overlaps(
            _turned(self.quads), _turned(self.object_quads), areas(self.quads), areas(self.object_quads), self.crowd,
            pairs.detections, pairs.objects, pairs.starts, pairs.ends, pairs.object_starts, pairs.object_ends, out,
        )  # fmt: skip
        return out


def _twice_area(quads: Floats) -> Floats:
    # Relative to the first corner: far from the origin the products would lose their last digits.
    x, y = quads[..., 0] - quads[:, :1, 0], quads[..., 1] - quads[:, :1, 1]
    return (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)


def _turned(quads: Floats) -> Floats:
    """The same quadrilaterals with a positive signed area."""
    return np.ascontiguousarray(np.where((_twice_area(quads) < 0)[:, None, None], quads[:, ::-1], quads))


@njit(cache=True)
def _overlaps(  # type: ignore[no-untyped-def]
    quads, object_quads, areas, object_areas, crowd, rows, object_rows, starts, ends, object_starts, object_ends, out
):
    one, two = np.empty((16, 2)), np.empty((16, 2))
    p = 0
    for g in range(len(starts)):
        for a in range(starts[g], ends[g]):
            d = rows[a]
            for b in range(object_starts[g], object_ends[g]):
                o = object_rows[b]
                shared = _intersection(quads[d], object_quads[o], one, two)
                whole = areas[d] if crowd[o] else areas[d] + object_areas[o] - shared
                out[p] = min(shared / whole, 1.0) if shared > 0 and whole > 0 else 0.0
                p += 1


@njit(cache=True)
def _intersection(quad, other, points, cut):  # type: ignore[no-untyped-def]
    """Area that two convex quadrilaterals of positive turning share; `points` and `cut` are (16, 2) to work in."""
    for axis in range(2):
        low = high = quad[0, axis]
        other_low = other_high = other[0, axis]
        for i in range(1, 4):
            low, high = min(low, quad[i, axis]), max(high, quad[i, axis])
            other_low, other_high = min(other_low, other[i, axis]), max(other_high, other[i, axis])
        if min(high, other_high) <= max(low, other_low):
            return 0.0
    n = 4
    points[:4] = quad
    for edge in range(4):
        ax, ay = other[edge]
        ex, ey = other[(edge + 1) % 4, 0] - ax, other[(edge + 1) % 4, 1] - ay
        kept = 0
        for i in range(n):
            x, y = points[i]
            nx, ny = points[(i + 1) % n]
            side, next_side = ex * (y - ay) - ey * (x - ax), ex * (ny - ay) - ey * (nx - ax)
            if side >= 0:
                cut[kept] = x, y
                kept += 1
            if (side > 0 and next_side < 0) or (side < 0 and next_side > 0):
                share = side / (side - next_side)
                cut[kept] = x + share * (nx - x), y + share * (ny - y)
                kept += 1
        points, cut = cut, points
        n = kept
        if n < 3:
            return 0.0
    total = 0.0
    x0, y0 = points[0]
    for i in range(1, n - 1):
        total += (points[i, 0] - x0) * (points[i + 1, 1] - y0) - (points[i + 1, 0] - x0) * (points[i, 1] - y0)
    return abs(total) / 2
