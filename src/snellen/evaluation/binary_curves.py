"""ROC AUC, average precision and best F1 of one class at once, exact with ties, in scikit-learn's definitions.

One sort and one sweep. The label is packed into the lowest bit of an order-preserving integer made of the score's bit
pattern, so that the values themselves are sorted: numpy sorts integers several times faster than it finds the order
of floats (argsort), and the sweep reads memory in one direction.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.coco_core import RECALL_THRESHOLDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BinarySummary:
    """What one ordering of the records is worth; the undefined is None."""

    positives: int
    negatives: int
    roc_auc: float | None
    """Share of (positive, negative) pairs ordered rightly, ties counting half; None when either side is empty."""
    average_precision: float | None
    """Sum of precision times the step in recall, equal scores entering together; None without positives."""
    best_f1: float | None
    """Largest 2 TP / (TP + FP + P) over the thresholds that can be set; None without positives."""
    best_threshold: float | None
    """The score at which `best_f1` is reached, itself included; the highest of equally good ones."""


@dataclass(frozen=True)
class Staircase:
    """Cumulative counts at each distinct score, falling."""

    thresholds: Floats
    """(G,)."""
    true_positives: Ints
    """(G,) positives at or above the threshold."""
    taken: Ints
    """(G,) records at or above the threshold."""


def binary_summary(scores: ArrayLike, positive: ArrayLike) -> BinarySummary:
    """ROC AUC, average precision and best F1 of `scores` (N,) against `positive` (N,) bool.

    float16 and float32 scores are sorted as 32-bit, all others as 64-bit keys; infinities are ordered, and -0.0 equals
    0.0. Raises ValueError on NaN, or when the lengths differ.
    """
    values, labels = _checked(scores, positive)
    keys, below = _sorted_keys(values, labels)
    positives = int(np.count_nonzero(labels))
    negatives = len(labels) - positives
    twice_area, steps, tp, taken, at = _sweep(keys, below, positives)
    return BinarySummary(
        positives,
        negatives,
        twice_area / (2 * positives * negatives) if positives and negatives else None,
        steps / positives if positives else None,
        2 * tp / (taken + positives) if positives else None,
        float(_score_of(keys[at : at + 1], at < below, values.dtype)[0]) if positives else None,
    )


def staircase(scores: ArrayLike, positive: ArrayLike) -> Staircase:
    """The counts at every distinct score, from which every curve is drawn. Raises as `binary_summary` does."""
    values, labels = _checked(scores, positive)
    keys, below = _sorted_keys(values, labels)
    ranked = keys[::-1]
    group = ranked >> ranked.dtype.type(1)
    negative = np.arange(len(keys)) >= len(keys) - below
    last = np.flatnonzero(np.append((group[1:] != group[:-1]) | (negative[1:] != negative[:-1]), len(keys) > 0))
    tp = np.cumsum((ranked & ranked.dtype.type(1)).astype(np.int64))
    thresholds = np.where(
        negative[last],
        _score_of(ranked[last], True, values.dtype),
        _score_of(ranked[last], False, values.dtype),
    )
    return Staircase(thresholds.astype(np.float64), tp[last], (last + 1).astype(np.int64))


def curve_rows(name: str, scores: Floats, positive: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Rows of the facts' curves: precision and false positive rate at up to 101 recalls.

    Each is taken at the highest score that reaches the recall; none without positives.
    """
    if not positive.any():
        return []
    steps = staircase(scores, positive)
    tp, taken = steps.true_positives, steps.taken
    negatives = taken[-1] - tp[-1]
    at = np.unique(np.searchsorted(tp / tp[-1], RECALL_THRESHOLDS[1:], side="left"))
    return [
        {
            "class_name": name,
            "recall": float(tp[i] / tp[-1]),
            "precision": float(tp[i] / taken[i]),
            "score": float(steps.thresholds[i]),
            "fpr": float((taken[i] - tp[i]) / negatives) if negatives else None,
        }
        for i in at
    ]


def tied_order(scores: Floats) -> tuple[Ints, NDArray[np.bool_]]:
    """(N,) rows by falling score, and (N,) whether each is the last of its equals: what `weighted_areas` walks."""
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    ranked = scores[order]
    return order, np.append(ranked[1:] != ranked[:-1], len(ranked) > 0).astype(np.bool_)


def weighted_areas(
    order: Ints, last: NDArray[np.bool_], positive: NDArray[np.bool_], weights: Floats
) -> tuple[float | None, float | None]:
    """(ROC AUC, average precision) with each record counted `weights` (N,) times, for a bootstrap; None: undefined."""
    auc, ap = _weighted_sweep(order, last, positive, weights)
    return (None if auc < 0 else float(auc)), (None if ap < 0 else float(ap))


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    values = np.asarray(scores)
    wanted = np.float32 if values.dtype in (np.float16, np.float32) else np.float64
    values = np.ascontiguousarray(values, dtype=wanted)
    labels = np.ascontiguousarray(positive, dtype=np.bool_).view(np.uint8)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"scores of shape {values.shape} do not fit labels of shape {labels.shape}: expected (N,)")
    return values, labels


def _sorted_keys(values: NDArray[Any], labels: NDArray[np.uint8]) -> tuple[NDArray[Any], int]:
    """(N,) keys, rising, and how many of them stand for negative scores.

    A float's bits rise with its magnitude. The sign bit is spent on the label, so the negative scores, bits inverted,
    stand first and are sorted apart: two sorts of values instead of one of twice the width.
    """
    unsigned, mask, infinite = (
        (np.uint32, 0x7FFFFFFF, 0x7F800000)
        if values.dtype == np.float32
        else (np.uint64, 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000)
    )
    bits = values.view(unsigned)
    below, largest = _survey(bits, unsigned(mask))
    if largest > infinite:
        raise ValueError(f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN: leave those records out")
    keys = _pack(bits, labels, unsigned(mask), below)
    keys[:below].sort()
    keys[below:].sort()
    return keys, int(below)


def _score_of(keys: NDArray[Any], negative: bool, dtype: Any) -> NDArray[Any]:
    """Turn keys back into scores."""
    bits = keys >> keys.dtype.type(1)
    return (~bits if negative else bits).view(dtype)


@njit(cache=True)
def _survey(bits, mask):  # type: ignore[no-untyped-def]
    """Count the scores below zero; return the largest magnitude's bits too, above infinity's for a NaN."""
    below, largest = np.int64(0), mask & ~mask
    for i in range(len(bits)):
        size = bits[i] & mask
        largest = max(largest, size)
        below += np.int64((bits[i] > mask) & (size > 0))
    return below, largest


@njit(cache=True)
def _pack(bits, labels, mask, below):  # type: ignore[no-untyped-def]
    keys = np.empty_like(bits)
    one = bits.dtype.type(1)
    if below == 0:
        for i in range(len(bits)):
            keys[i] = ((bits[i] & mask) << one) | labels[i]
        return keys
    # Signs alternate at random: one store at a chosen place is faster than a branch guessed wrong half the time.
    low, high = np.int64(0), np.int64(below)
    for i in range(len(bits)):
        size = bits[i] & mask
        negative = np.int64((bits[i] > mask) & (size > 0))
        keys[negative * low + (1 - negative) * high] = ((size ^ (mask * bits.dtype.type(negative))) << one) | labels[i]
        low += negative
        high += 1 - negative
    return keys


@njit(cache=True)
def _sweep(keys, below, positives):  # type: ignore[no-untyped-def]
    """Twice the area in pairs, the sum of precision at positives, and the counts and place of the best F1."""
    twice_area, steps = np.int64(0), 0.0
    tp, taken, seen_tp, seen_taken = np.int64(0), 0, np.int64(0), 0
    best_tp, best_taken, at = np.int64(0), 0, 0
    one = keys.dtype.type(1)
    for i in range(len(keys) - 1, -1, -1):
        tp += np.int64(keys[i] & one)
        taken += 1
        # The two halves are ordered apart: a tie never crosses from one to the other.
        if i > 0 and (keys[i] >> one) == (keys[i - 1] >> one) and i != below:
            continue
        gained = tp - seen_tp
        twice_area += (taken - seen_taken - gained) * (tp + seen_tp)
        if gained > 0:
            steps += gained * (tp / taken)
            # tp / (taken + P) > best_tp / (best_taken + P), without dividing: both sides below 2^63.
            if tp * (best_taken + positives) > best_tp * (taken + positives):
                best_tp, best_taken, at = tp, taken, i
        seen_tp, seen_taken = tp, taken
    return twice_area, steps, best_tp, best_taken, at


@njit(cache=True)
def _weighted_sweep(order, last, positive, weights):  # type: ignore[no-untyped-def]
    """ROC AUC and average precision, -1 where undefined."""
    area, steps = 0.0, 0.0
    tp, fp, seen_tp, seen_fp = 0.0, 0.0, 0.0, 0.0
    for i in range(len(order)):
        row = order[i]
        if positive[row]:
            tp += weights[row]
        else:
            fp += weights[row]
        if last[i]:
            area += (fp - seen_fp) * (tp + seen_tp) / 2
            if tp > seen_tp:
                steps += (tp - seen_tp) * tp / (tp + fp)
            seen_tp, seen_fp = tp, fp
    return (area / (tp * fp) if tp > 0 and fp > 0 else -1.0), (steps / tp if tp > 0 else -1.0)
