"""Measures outlines: area, hull, crossings, angles. Everything is compiled over flat arrays; no mask is drawn.

A ring that repeats its first point at its end counts that point once. Rings may overlap: areas are added up, as
pycocotools adds them for `area` of annotations in parts.
"""

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from snellen.data.facts import OUTLINES
from snellen.data.nested import flattened
from snellen.data.run_lengths import measure as measure_runs

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_TESTS = 2_000_000_000
"""Pairs of edges tried for crossings in one dataset, some seconds; rings beyond it stay unknown."""
RELATIVE_EPSILON = 1e-12
"""Of the squared size of a ring: turns smaller than that count as straight, so that touching is no crossing."""

AREA, X1, Y1, X2, Y2, FEWEST, CROSSES, FINITE, SKEW, ANGLE, RINGS, SMALLEST = range(12)


def measured(outlines: pl.DataFrame) -> pl.DataFrame:
    """`outlines` with the measured columns of polygons, oriented boxes and run lengths; bitmaps stay as they are."""
    kinds = outlines["kind"]
    drawn = kinds.is_in(["polygon", "oriented"])
    values = np.full((outlines.height, 12), np.nan)
    if drawn.any():
        rows = outlines.filter(drawn)
        numbers, rings, shapes = flattened(rows["rings"])
        oriented = (rows["kind"] == "oriented").to_numpy()
        values[drawn.to_numpy()] = _measure_shapes(numbers, rings, shapes, oriented, MOST_TESTS)
    runs = kinds == "rle"
    if runs.any():
        rows = outlines.filter(runs)
        sides = [rows[name].fill_null(-1).to_numpy() for name in ("rle_width", "rle_height")]
        areas, hulls, readable = measure_runs(rows["rle"].fill_null("").to_list(), *sides)
        at = runs.to_numpy()
        values[at, AREA], values[at, X1 : Y2 + 1], values[at, FINITE] = areas, hulls, readable
    return _filled(outlines, values)


def _filled(outlines: pl.DataFrame, values: Floats) -> pl.DataFrame:
    columns = {
        "area": AREA, "x1": X1, "y1": Y1, "x2": X2, "y2": Y2, "fewest_points": FEWEST, "self_intersecting": CROSSES,
        "finite": FINITE, "skew": SKEW, "angle": ANGLE, "components": RINGS, "smallest_component": SMALLEST,
    }  # fmt: skip
    series = []
    for name, at in columns.items():
        dtype = OUTLINES[name][0]
        found = pl.Series(name, values[:, at]).set(pl.Series(~np.isfinite(values[:, at])), None)
        found = found == 1 if dtype == pl.Boolean() else found.cast(dtype)
        series.append(found.zip_with(found.is_not_null(), outlines[name]))
    return outlines.with_columns(series)


@njit(cache=True)
def _measure_shapes(numbers: Floats, rings: Ints, shapes: Ints, oriented: NDArray[np.bool_], budget: int) -> Floats:
    """One row a shape, columns as named at the top; NaN where unknown."""
    out = np.full((len(shapes) - 1, 12), np.nan)
    for s in range(len(shapes) - 1):
        area, smallest, fewest, finite = 0.0, np.inf, 1 << 62, True
        x1, y1, x2, y2 = np.inf, np.inf, -np.inf, -np.inf
        crosses, known = False, True
        for r in range(shapes[s], shapes[s + 1]):
            points = numbers[rings[r] : rings[r + 1]]
            n = len(points) // 2
            xs, ys = points[0 : 2 * n : 2], points[1 : 2 * n : 2]
            if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
                finite = False
                fewest = min(fewest, n)
                continue
            if n > 1 and xs[0] == xs[n - 1] and ys[0] == ys[n - 1]:
                n -= 1
            fewest = min(fewest, n)
            twice = 0.0
            for i in range(n):
                j = i + 1 if i + 1 < n else 0
                # From the first point, so that far-away rings lose no digits.
                twice += (xs[i] - xs[0]) * (ys[j] - ys[0]) - (xs[j] - xs[0]) * (ys[i] - ys[0])
                x1, y1, x2, y2 = min(x1, xs[i]), min(y1, ys[i]), max(x2, xs[i]), max(y2, ys[i])
            area += abs(twice) / 2
            smallest = min(smallest, abs(twice) / 2)
            if n > 3 and not crosses:
                found, budget = _crosses(xs[:n], ys[:n], budget)
                crosses, known = crosses or found == 1, known and found >= 0
        out[s, RINGS] = shapes[s + 1] - shapes[s]
        out[s, FINITE] = finite
        if shapes[s + 1] > shapes[s]:
            out[s, FEWEST] = fewest
        if not finite or shapes[s + 1] == shapes[s]:
            continue
        out[s, AREA], out[s, SMALLEST] = area, smallest
        if x1 <= x2:
            out[s, X1], out[s, Y1], out[s, X2], out[s, Y2] = x1, y1, x2, y2
        if crosses or known:
            out[s, CROSSES] = crosses
        if oriented[s] and rings[shapes[s] + 1] - rings[shapes[s]] == 8:
            out[s, SKEW], out[s, ANGLE] = _corners(numbers[rings[shapes[s]] :][:8])
    return out


@njit(cache=True)
def _crosses(xs: Floats, ys: Floats, budget: int) -> tuple[int, int]:
    """Whether two edges of a closed ring cross inside both (1, 0; -1: too many pairs to try), and what is left to try.

    Edges sorted by their left end meet only those that begin before they end.
    """
    n = len(xs)
    size = max(xs.max() - xs.min(), ys.max() - ys.min())
    epsilon = RELATIVE_EPSILON * size * size
    left, right = np.empty(n), np.empty(n)
    for i in range(n):
        j = i + 1 if i + 1 < n else 0
        left[i], right[i] = min(xs[i], xs[j]), max(xs[i], xs[j])
    order = np.argsort(left)
    for a in range(n):
        i = order[a]
        i2 = i + 1 if i + 1 < n else 0
        low, high = min(ys[i], ys[i2]), max(ys[i], ys[i2])
        for b in range(a + 1, n):
            j = order[b]
            if left[j] > right[i]:
                break
            budget -= 1
            if budget < 0:
                return -1, budget
            j2 = j + 1 if j + 1 < n else 0
            if min(ys[j], ys[j2]) > high or max(ys[j], ys[j2]) < low or j == i2 or i == j2:
                continue
            p = _turn(xs[i], ys[i], xs[i2], ys[i2], xs[j], ys[j], epsilon)
            q = _turn(xs[i], ys[i], xs[i2], ys[i2], xs[j2], ys[j2], epsilon)
            if p * q >= 0:
                continue
            p = _turn(xs[j], ys[j], xs[j2], ys[j2], xs[i], ys[i], epsilon)
            q = _turn(xs[j], ys[j], xs[j2], ys[j2], xs[i2], ys[i2], epsilon)
            if p * q < 0:
                return 1, budget
    return 0, budget


@njit(cache=True)
def _turn(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, epsilon: float) -> int:
    """1 when a, b, c turn one way, -1 the other, 0 when they are in line."""
    cross = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    return 1 if cross > epsilon else -1 if cross < -epsilon else 0


@njit(cache=True)
def _corners(points: Floats) -> tuple[float, float]:
    """Largest departure of a corner of a quadrilateral from 90 degrees, and the first edge's angle in [0, 90)."""
    skew = 0.0
    for i in range(4):
        a, b, c = 2 * ((i + 3) % 4), 2 * i, 2 * ((i + 1) % 4)
        ux, uy = points[a] - points[b], points[a + 1] - points[b + 1]
        vx, vy = points[c] - points[b], points[c + 1] - points[b + 1]
        corner = np.degrees(abs(np.arctan2(ux * vy - uy * vx, ux * vx + uy * vy)))
        skew = max(skew, abs(corner - 90.0))
    angle = np.degrees(np.arctan2(points[3] - points[1], points[2] - points[0])) % 90.0
    return skew, angle if angle < 90.0 else 0.0
