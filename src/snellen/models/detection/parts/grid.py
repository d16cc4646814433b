"""Which boxes can overlap at all: a grid over place and size, so that suppression need not compare all with all.

IoU > t forces each side's ratio above t, and for the distance of the centres along each axis

    |x_i - x_j| < (w_i + w_j) / 2 * (1 - t) / (1 + t),

because IoU is at most the overlap along one axis. A box stands in one cell: its level is the power of two of its longer
side, the cells of a level are as long as the least of those sides. So only a few cells of a few levels can hold a box
that matters, and the boxes found there are compared exactly: the grid changes the time, never the result.

Cells are found by hashing; a chain may hold boxes of other cells, which costs time only.
"""

import math

import numpy as np
from numba import njit

SLACK = 1e-5
"""IoU is rounded in float32: bounds are drawn this much wider."""
LEVELS = 64
MIDDLE = 32
"""Level of sides from 1 to 2 px."""
FARTHEST = 2.0**27
"""Cells from the origin up to which places are told apart."""


@njit(cache=True)
def level_of(width, height):  # type: ignore[no-untyped-def]
    """Level of a box with positive finite sides; outside 0..LEVELS - 1 it has no place in the grid."""
    return math.frexp(max(width, height))[1] - 1 + MIDDLE


@njit(cache=True)
def side_of(level):  # type: ignore[no-untyped-def]
    """Length of a level's cells."""
    return math.ldexp(1.0, level - MIDDLE)


@njit(cache=True)
def bucket(level, column, row, label, mask):  # type: ignore[no-untyped-def]
    """Place of a cell in a table of mask + 1 chains."""
    h = np.uint64(column) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(row) * np.uint64(0xC2B2AE3D27D4EB4F)
    h += np.uint64(level) * np.uint64(0x165667B19E3779F9) + np.uint64(label) * np.uint64(0x27D4EB2F165667C5)
    h ^= h >> np.uint64(29)
    return np.int64((h * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)) & mask


@njit(cache=True)
def table_mask(count):  # type: ignore[no-untyped-def]
    """One less than the number of chains for `count` boxes, a power of two."""
    size = 64
    while size < 2 * count:
        size *= 2
    return size - 1


@njit(cache=True)
def has_place(x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Whether arithmetic on a box with positive sides neither over- nor underflows and its cell can be numbered."""
    width, height = np.float64(x2) - np.float64(x1), np.float64(y2) - np.float64(y1)
    longer, area = max(width, height), width * height
    farthest = max(max(abs(x1), abs(x2)), max(abs(y1), abs(y2)))
    return 1e-30 < area < 1e30 and 1e-8 < longer < 1e9 and farthest < FARTHEST * longer / 2
