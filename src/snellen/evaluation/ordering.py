"""Stable sorts of detections in linear time: numpy's lexsort takes most of the time of an evaluation."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHORT = 40
"""Runs up to this length are sorted by insertion."""


def grouped(keys: Ints, num_keys: int, order: Ints | None = None) -> tuple[Ints, Ints]:
    """Sort `order`, a permutation (default: as they come), stably by `keys[order]`, integers 0..num_keys - 1.

    Also return the (num_keys + 1,) start of every key.
    """
    return _counting(np.arange(len(keys)) if order is None else order, keys, num_keys)


def fall_within(order: Ints, starts: Ints, scores: Floats) -> None:
    """Sort each run order[starts[i]:starts[i + 1]] in place, stably, by falling `scores`; not for NaN."""
    # The bits of a float rise with it once negative ones are turned round; -0.0 + 0.0 is 0.0.
    bits = (scores + 0.0).view(np.uint64)
    _sort_runs(order, starts, np.where(bits >> np.uint64(63), bits, ~(bits | np.uint64(1 << 63))))


def class_order(classes: Ints, scores: Floats, num_classes: int) -> tuple[Ints, Ints]:
    """Order detections by class and falling score, ties kept; also return the (K + 1,) start of every class."""
    order, starts = grouped(classes, num_classes)
    fall_within(order, starts, scores)
    return order, starts


@njit(cache=True)
def _counting(order, keys, num_keys):  # type: ignore[no-untyped-def]
    starts = np.zeros(num_keys + 1, dtype=np.int64)
    for i in range(len(keys)):
        starts[keys[i] + 1] += 1
    starts = np.cumsum(starts)
    place = starts[:-1].copy()
    out = np.empty(len(order), dtype=np.int64)
    for i in range(len(order)):
        key = keys[order[i]]
        out[place[key]] = order[i]
        place[key] += 1
    return out, starts


@njit(cache=True)
def _sort_runs(order, starts, keys):  # type: ignore[no-untyped-def]
    for run in range(len(starts) - 1):
        first, end = starts[run], starts[run + 1]
        if end - first > _SHORT:
            order[first:end] = _radix(order[first:end], keys)
            continue
        for i in range(first + 1, end):
            row = order[i]
            key, j = keys[row], i - 1
            while j >= first and keys[order[j]] > key:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = row


@njit(cache=True)
def _radix(rows, keys):  # type: ignore[no-untyped-def]
    """Sort `rows` by keys[rows], uint64, in eight digits, leaving out digits that are all alike."""
    n = len(rows)
    rows, other = rows.copy(), np.empty(n, dtype=np.int64)
    own, moved = keys[rows], np.empty(n, dtype=np.uint64)
    counts = np.zeros((8, 256), dtype=np.int64)
    for i in range(n):
        for digit in range(8):
            counts[digit, (own[i] >> np.uint64(8 * digit)) & np.uint64(255)] += 1
    place = np.empty(256, dtype=np.int64)
    for digit in range(8):
        if counts[digit].max() == n:
            continue
        total = 0
        for value in range(256):
            place[value] = total
            total += counts[digit, value]
        for i in range(n):
            value = (own[i] >> np.uint64(8 * digit)) & np.uint64(255)
            other[place[value]], moved[place[value]] = rows[i], own[i]
            place[value] += 1
        rows, other = other, rows
        own, moved = moved, own
    return rows
