"""Soft non-maximum suppression: what overlaps a better box loses score instead of being removed.

Bodla et al. 2017, "Soft-NMS: improving object detection with one line of code" (arXiv:1704.04503), fig. 2: the best
box is taken, the scores of all others are multiplied by

    linear (sec. 3):     1 - IoU where IoU > N_t, else 1,
    Gaussian (sec. 3):   exp(-IoU^2 / sigma),

and so on. Computed on the CPU: after a box is taken only what overlaps it is looked at, and a score that fell is put
right in the queue when it comes to the top.
"""

import math
from typing import Literal

import numpy as np
import torch
from numba import njit
from torch import Tensor

from snellen.models.detection.parts.nms import as_arrays
from snellen.models.detection.parts.shelves import WIDTHS, on_shelves, overlap, stretch

Decay = Literal["linear", "gaussian"]


def soft_nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    iou: float = 0.3,
    min_score: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """Rows (K,) int64 in the order they are taken, best first, and their scores then (K,), in the type of `scores`.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,), positive; a score that is no number is left out.
        labels: (N,) integers; boxes of different labels leave each other alone. None: all are of one.
        decay: How much an overlap costs.
        sigma: Gaussian: the larger, the less it costs.
        iou: Linear: overlaps up to this cost nothing.
        min_score: What falls below this is left out.

    Raises:
        ValueError: Another decay, or sigma not above 0.
    """
    if decay not in ("linear", "gaussian") or sigma <= 0:
        raise ValueError(f"no such decay: {decay}, sigma {sigma}")
    boxes, score, label = as_arrays(boxes_xyxy, scores, labels)
    shelves = on_shelves(boxes)
    rows, left = _soft(
        shelves.rows, shelves.corners, shelves.starts, score.astype(np.float64), label,
        decay == "gaussian", float(sigma), float(iou), float(min_score),
    )  # fmt: skip
    return torch.from_numpy(rows).to(scores.device), torch.from_numpy(left).to(scores)


@njit(cache=True, error_model="numpy")
def _before(key, a, b):  # type: ignore[no-untyped-def]
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@njit(cache=True, error_model="numpy")
def _sift(heap, size, key, at):  # type: ignore[no-untyped-def]
    """Move what stands at `at` down to its place; `heap` holds rows, the best on top."""
    row = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(key, heap[child + 1], heap[child]):
            child += 1
        if not _before(key, heap[child], row):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = row


@njit(cache=True, error_model="numpy")
def _soft(shelf_rows, corners, starts, score, labels, gaussian, sigma, limit, min_score):  # type: ignore[no-untyped-def]
    n, by_label = len(score), len(labels) > 0
    place_of = np.full(n, -1, np.int64)
    for place in range(len(shelf_rows)):
        place_of[shelf_rows[place]] = place
    heap, size = np.empty(n, np.int64), 0
    for row in range(n):
        if score[row] >= min_score:
            heap[size] = row
            size += 1
    queued = score.copy()  # the score each row is queued by, at least its score
    for at in range(size // 2 - 1, -1, -1):
        _sift(heap, size, queued, at)
    taken = np.zeros(n, np.bool_)
    rows, count = np.empty(n, np.int64), 0
    while size:
        row = heap[0]
        if score[row] >= min_score and queued[row] != score[row]:
            queued[row] = score[row]
            _sift(heap, size, queued, 0)
            continue
        size -= 1
        heap[0] = heap[size]
        if size:
            _sift(heap, size, queued, 0)
        if score[row] < min_score:
            continue
        taken[row] = True
        rows[count] = row
        count += 1
        own = place_of[row]
        for shelf in range(WIDTHS if own >= 0 else 0):
            if starts[shelf] == starts[shelf + 1]:
                continue
            first, last = stretch(corners, starts, shelf, own)
            for place in range(first, last):
                other = shelf_rows[place]
                if taken[other] or (by_label and labels[other] != labels[row]):
                    continue
                iou = overlap(corners, own, place)
                if gaussian:
                    if iou > 0:
                        score[other] *= math.exp(-iou * iou / sigma)
                elif iou > limit:
                    score[other] *= 1 - iou
    return rows[:count], score[rows[:count]]
