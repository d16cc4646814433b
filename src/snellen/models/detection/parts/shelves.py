"""Boxes laid out so that all that overlap a given one are found without looking at the rest.

A shelf holds the boxes whose widths lie between two powers of two, from left to right by their left edge. What meets a
box on a shelf starts left of the box's right edge, and no further left of its left edge than the shelf's widest: a
stretch of the shelf, found by bisection and gone through in order.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

WIDTHS = 64
"""Shelves, of widths 2^-32 to 2^32 px; the first and last hold what is beyond."""


@dataclass(frozen=True)
class Shelves:
    """The S of N boxes that have sides; any floating type."""

    rows: NDArray[np.int64]
    """(S,) the box at each place."""
    corners: NDArray[np.floating]
    """(4, S) x1, y1, x2, y2 at each place."""
    starts: NDArray[np.int64]
    """(WIDTHS + 1,) where each shelf begins."""


def on_shelves(boxes_xyxy: NDArray[np.floating]) -> Shelves:
    """Lay out boxes (N, 4); those without area or with a coordinate that is no number overlap nothing and stay off."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    rows = np.flatnonzero((sides > 0).all(axis=1))
    shelf = np.clip(np.frexp(sides[rows, 0])[1] + WIDTHS // 2, 0, WIDTHS - 1)
    order = np.lexsort((boxes_xyxy[rows, 0], shelf))
    starts = np.searchsorted(shelf[order], np.arange(WIDTHS + 1))
    rows = rows[order]
    return Shelves(rows, np.ascontiguousarray(boxes_xyxy[rows].T), starts.astype(np.int64))


@njit(cache=True, error_model="numpy")
def stretch(corners, starts, shelf, place):  # type: ignore[no-untyped-def]
    """First and one past the last place of a shelf that may hold what overlaps the box at `place`."""
    first, end = starts[shelf], starts[shelf + 1]
    if shelf < WIDTHS - 1:
        x, widest = np.float64(corners[0, place]), 2.0 ** (shelf - WIDTHS // 2)
        # A little more than the widest: the difference of large numbers is rounded.
        first = _bisect(corners[0], first, end, x - widest - 1e-5 * (widest + abs(x)))
    return first, _bisect(corners[0], first, end, np.float64(corners[2, place]))


@njit(cache=True, error_model="numpy")
def _bisect(ascending, low, high, value):  # type: ignore[no-untyped-def]
    """First place from `low` to `high` at which `ascending` reaches `value`, else `high`."""
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, error_model="numpy")
def overlap(corners, a, b):  # type: ignore[no-untyped-def]
    """IoU of the boxes at two places in the boxes' own type and torchvision's order; 0 if apart."""
    x1a, y1a, x2a, y2a = corners[0, a], corners[1, a], corners[2, a], corners[3, a]
    x1b, y1b, x2b, y2b = corners[0, b], corners[1, b], corners[2, b], corners[3, b]
    if not (y1a < y2b and y1b < y2a and x1a < x2b and x1b < x2a):
        return 0.0
    inter = (min(x2a, x2b) - max(x1a, x1b)) * (min(y2a, y2b) - max(y1a, y1b))
    return np.float64(inter / ((x2a - x1a) * (y2a - y1a) + (x2b - x1b) * (y2b - y1b) - inter))
