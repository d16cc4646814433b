"""COCO's run lengths: columns of background and object by turns, as numbers or packed into text, never as pixels.

The text is that of pycocotools' `maskApi.c` (`rleToString`, `rleFrString`): each count from the third on as the
difference to the one two before it, in 5-bit groups, lowest first, 0x20 marking that more follow, plus 48.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
MAX_SIDE = 1 << 31
"""Sides of a mask from here on are taken for nonsense."""


def compress(counts: Sequence[Sequence[int]]) -> list[str]:
    """Run lengths, 64-bit integers of either sign, as text."""
    starts = np.concatenate(([0], np.cumsum([len(c) for c in counts]))).astype(np.int64)
    flat = np.fromiter((v for c in counts for v in c), np.int64, int(starts[-1]))
    text = np.empty(13 * len(flat), dtype=np.uint8)
    ends = _compress(flat, starts, text)
    whole = text[: ends[-1]].tobytes().decode("ascii")
    return [whole[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def measure(texts: Sequence[str], widths: Ints, heights: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(n,) area in px^2, (n, 4) hull x1 y1 x2 y2 in pixels, NaN when empty, and (n,) whether the counts can be read.

    They cannot when they are negative, do not add up to the mask's pixels, or are no such text; area and hull are NaN.
    """
    pieces = [t.encode("utf-8", "backslashreplace") for t in texts]
    starts = np.concatenate(([0], np.cumsum([len(p) for p in pieces]))).astype(np.int64)
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    areas, hulls = np.full(len(pieces), np.nan), np.full((len(pieces), 4), np.nan)
    readable = np.zeros(len(pieces), dtype=np.bool_)
    _measure(data, starts, widths, heights, areas, hulls, readable)
    return areas, hulls, readable


@njit(cache=True)
def _compress(counts: Ints, starts: Ints, text: Bytes) -> Ints:
    ends = np.zeros(len(starts), dtype=np.int64)
    at = 0
    for i in range(len(starts) - 1):
        for k in range(starts[i], starts[i + 1]):
            value = counts[k]
            if k - starts[i] > 2:
                value -= counts[k - 2]  # wraps around as the reader's sum does
            while True:
                group = value & 31
                value >>= 5
                more = value != (-1 if group & 16 else 0)
                text[at] = group + (80 if more else 48)
                at += 1
                if not more:
                    break
        ends[i + 1] = at
    return ends


@njit(cache=True)
def _measure(
    data: Bytes, starts: Ints, widths: Ints, heights: Ints, areas: Floats, hulls: Floats, readable: NDArray[np.bool_]
) -> None:
    for i in range(len(starts) - 1):
        width, height = widths[i], heights[i]
        if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
            continue
        pixels = width * height
        before, last, position, area, run = np.int64(0), np.int64(0), np.int64(0), np.int64(0), 0
        left, top, right, bottom = width, height, np.int64(-1), np.int64(-1)
        at, end, good = starts[i], starts[i + 1], True
        while at < end and good:
            value, shift, more = np.int64(0), 0, True
            while more:
                if at >= end or data[at] < 48 or data[at] > 111 or shift > 60:
                    good = False
                    break
                group = np.int64(data[at]) - 48
                value |= (group & 31) << shift
                more = group & 32 != 0
                shift += 5
                at += 1
                if not more and group & 16 and shift < 64:
                    value |= np.int64(-1) << shift
            if not good:
                break
            if run > 2:
                value += before
            before, last = last, value
            if value < 0 or value > pixels - position:
                good = False
                break
            if run % 2 and value:
                area += value
                first, final = position, position + value - 1
                left, right = min(left, first // height), max(right, final // height)
                if first // height == final // height:
                    top, bottom = min(top, first % height), max(bottom, final % height)
                else:  # the run goes round a column's end: it touches the lowest row and the highest
                    top, bottom = 0, height - 1
            position += value
            run += 1
        if not good or position != pixels:
            continue
        readable[i] = True
        areas[i] = area
        if area:
            hulls[i, 0], hulls[i, 1], hulls[i, 2], hulls[i, 3] = left, top, right + 1, bottom + 1
