"""Counts of (true class, predicted class) over the pixels of a label map, at the speed of memory."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PixelCounts:
    """One image's pixels."""

    confusion: Ints
    """(C, C + 1) labelled pixels; the last column holds predictions that are no class."""
    unlabelled: int
    """Pixels whose true value is no class: those to be ignored, and unknown ones."""


def count_pixels(true: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> PixelCounts:
    """Count two label maps of one shape and of any integer dtypes; a class is a value of 0 to `classes` - 1.

    Raises ValueError when the shapes differ, TypeError on maps that are not integers.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"label maps of shapes {true.shape} and {predicted.shape}: expected the same")
    if not (np.issubdtype(true.dtype, np.integer) and np.issubdtype(predicted.dtype, np.integer)):
        raise TypeError(f"label maps of {true.dtype} and {predicted.dtype}: expected integers")
    counts = _count(_unsigned(true, classes), _unsigned(predicted, classes), classes).astype(np.int64)
    return PixelCounts(counts[:classes], int(counts[classes].sum()))


def _unsigned(values: NDArray[np.integer], classes: int) -> NDArray[np.unsignedinteger]:
    """The same bits, of at most 32: a negative value becomes one above every class."""
    flat = np.ascontiguousarray(values).ravel()
    flat = flat.view(f"u{flat.dtype.itemsize}")
    return _narrow(flat, classes) if flat.dtype.itemsize > 4 else flat


@njit(cache=True)
def _narrow(values, classes):  # type: ignore[no-untyped-def]
    out = np.empty(len(values), dtype=np.uint32)
    for i in range(len(values)):
        out[i] = np.uint32(min(values[i], np.uint64(classes)))
    return out


@njit(cache=True)
def _count(true, predicted, classes):  # type: ignore[no-untyped-def]
    # First the cells of a block, which the compiler does many at a time; then the counting. Neighbouring pixels mostly
    # raise the same counter, and each must wait for the one before: eight histograms in turn let eight go at once.
    # Unsigned indices spare the test for Python's negative ones.
    limit, side = np.uint32(classes), np.uint32(classes + 1)
    cells = np.uint64(side) * np.uint64(side)
    hist = np.zeros(8 * (classes + 1) ** 2, dtype=np.uint32)
    block = np.empty(2048, dtype=np.uint32)
    for start in range(0, len(true), 2048):
        t, p = true[start : start + 2048], predicted[start : start + 2048]
        for i in range(len(t)):
            block[i] = min(np.uint32(t[i]), limit) * side + min(np.uint32(p[i]), limit)
        whole = len(t) - len(t) % 8
        for first in range(0, whole, 8):
            for lane in range(8):
                cell = block[np.uint64(first) + np.uint64(lane)]
                hist[np.uint64(lane) * cells + np.uint64(cell)] += np.uint32(1)
        for i in range(whole, len(t)):
            hist[np.uint64(block[i])] += np.uint32(1)
    return hist.reshape(8, classes + 1, classes + 1).sum(axis=0)
