"""Greedy non-maximum suppression: of boxes on the same object, the best.

Girshick 2014, "R-CNN" (arXiv:1311.2524), sec. 2.2: a box is rejected if it overlaps a better kept one by more than a
threshold. Zheng 2020, "Distance-IoU loss" (arXiv:1911.08287), eq. 12: the overlap less the distance of the centres.

On a GPU this is torchvision's operator; on the CPU a compiled loop over a grid of place and size, which changes time
and never the result. IoU > t forces each side's ratio above t, and for the centres' distance along each axis

    |x_i - x_j| < (w_i + w_j) / 2 * (1 - t) / (1 + t),

because IoU is at most the overlap along one axis. A box stands in one cell: its level is the power of two of its longer
side, the cells of a level are as long as the least of those sides. So only a few cells of a few levels can hold a box
that suppresses another. Cells are found by hashing; a chain may hold boxes of other cells, which costs time only.
"""

import math

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torchvision import ops

SLACK = 1e-5
"""IoU is rounded in float32: bounds are drawn this much wider."""
LEVELS = 64
MIDDLE = 32
"""Level of sides from 1 to 2 px."""
FARTHEST = 2.0**27
"""Cells from the origin up to which places are told apart."""
FEW = 500
"""Boxes up to which comparing with every kept one is faster than the grid."""
LEAST_IOU = 0.1
"""Under this limit boxes of very different size suppress each other, and the grid is of no help."""
NO_LABELS = np.empty(0, np.int64)
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


def nms(boxes_xyxy: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Rows (K,) int64 of the boxes that no better kept one overlaps by more than `iou`, best first.

    Equal to `torchvision.ops.nms`: of equal scores the earlier row is better, and a box without area, or with a
    coordinate that is no number, suppresses nothing and is kept.

    Args:
        boxes_xyxy: (N, 4), any floating type.
        scores: (N,).
        iou: In 0..1.
    """
    if boxes_xyxy.is_cuda:
        kept: Tensor = ops.nms(boxes_xyxy, scores, iou)
        return kept
    return _on_cpu(boxes_xyxy, scores, None, iou, False)


def batched_nms(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """`nms` among the boxes of each label alone; rows (K,) int64 of all labels, best first.

    Args:
        boxes_xyxy: (N, 4), any floating type.
        scores: (N,).
        labels: (N,) integers: classes, levels, or images times classes.
        iou: In 0..1.
    """
    if boxes_xyxy.is_cuda:
        kept: Tensor = ops.batched_nms(boxes_xyxy, scores, labels, iou)
        return kept
    return _on_cpu(boxes_xyxy, scores, labels, iou, False)


def diou_nms(boxes_xyxy: Tensor, scores: Tensor, limit: float, labels: Tensor | None = None) -> Tensor:
    """`nms` by IoU - d^2 / c^2 > `limit`: boxes whose centres are apart are more likely two objects (eq. 12).

    d is the distance of the centres, c the diagonal of the box around both. Computed on the CPU.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        limit: In 0..1.
        labels: (N,) integers; None: all boxes suppress each other.
    """
    return _on_cpu(boxes_xyxy, scores, labels, limit, True)


def best_first(scores: Floats) -> Ints:
    """Rows from the highest score to the lowest, of equal ones the earlier first; what is no number comes first."""
    if scores.dtype != np.float32:
        return torch.sort(torch.from_numpy(scores), stable=True, descending=True).indices.numpy()
    # Score and row in one integer: NumPy sorts integers several times faster than it sorts rows by a key.
    return _rows(np.sort(_keys(scores)))


def as_arrays(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor | None) -> tuple[Floats, Floats, Ints]:
    """Contiguous arrays on the CPU, float32 or float64; without labels an empty one."""
    label = NO_LABELS if labels is None else labels.to("cpu", torch.int64).contiguous().numpy()
    return _array(boxes_xyxy), _array(scores), label


def _array(x: Tensor) -> Floats:
    if x.is_cuda or x.dtype not in (torch.float32, torch.float64):
        x = x.to("cpu", torch.float64 if x.dtype == torch.float64 else torch.float32)
    return x.detach().contiguous().numpy()


def _on_cpu(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor | None, limit: float, diou: bool) -> Tensor:
    boxes, score, label = as_arrays(boxes_xyxy, scores, labels)
    gridded = len(boxes) > FEW and limit >= LEAST_IOU and _all_have_places(boxes)
    kept = (_in_grid if gridded else _among_few)(boxes, best_first(score), label, float(limit), diou)
    return torch.from_numpy(kept).to(boxes_xyxy.device)


@njit(cache=True, error_model="numpy")
def _keys(scores):  # type: ignore[no-untyped-def]
    bits = scores.view(np.uint32)
    out = np.empty(len(scores), np.uint64)
    for i in range(len(scores)):
        b = np.uint32(0) if scores[i] == 0 else bits[i]  # -0 is 0
        ascending = ~b if b >> np.uint32(31) else b | np.uint32(0x80000000)
        if scores[i] != scores[i]:
            ascending = np.uint32(0xFFFFFFFF)
        out[i] = (np.uint64(np.uint32(~ascending)) << np.uint64(32)) | np.uint64(i)
    return out


@njit(cache=True, error_model="numpy")
def _rows(keys):  # type: ignore[no-untyped-def]
    out = np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        out[i] = np.int64(keys[i] & np.uint64(0xFFFFFFFF))
    return out


@njit(cache=True, error_model="numpy", inline="always")
def _overlap(ax1, ay1, ax2, ay2, area_a, bx1, by1, bx2, by2, area_b, diou):  # type: ignore[no-untyped-def]
    """IoU of two boxes, or with `diou` IoU - d^2 / c^2, in the boxes' own type and torchvision's order; 0 if apart."""
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    if not (width > 0 and height > 0):
        return 0.0
    inter = width * height
    overlap = inter / (area_a + area_b - inter)
    if not diou:
        return np.float64(overlap)
    across, down = ax1 + ax2 - bx1 - bx2, ay1 + ay2 - by1 - by2
    hull_w, hull_h = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    return np.float64(overlap) - (across * across + down * down) / 4 / (hull_w * hull_w + hull_h * hull_h)


@njit(cache=True, error_model="numpy")
def _among_few(boxes, order, labels, limit, diou):  # type: ignore[no-untyped-def]
    """Compare each box with every kept one."""
    n, by_label = len(order), len(labels) > 0
    kept, actives, count = np.empty(n, np.int64), 0, 0
    x1s, y1s, x2s, y2s, areas = np.empty((5, n), boxes.dtype)  # of those kept that can suppress
    own = np.zeros(n, np.int64)
    for place in range(n):
        i = order[place]
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area, hit = (x2 - x1) * (y2 - y1), False
        label = labels[i] if by_label else 0
        for k in range(actives):
            # The cheapest look first: most boxes are apart.
            if x1s[k] < x2 and x2s[k] > x1 and y1s[k] < y2 and y2s[k] > y1 and own[k] == label:
                overlap = _overlap(x1s[k], y1s[k], x2s[k], y2s[k], areas[k], x1, y1, x2, y2, area, diou)
                if overlap > limit:
                    hit = True
                    break
        if hit:
            continue
        kept[count] = i
        count += 1
        if x2 > x1 and y2 > y1:
            x1s[actives], y1s[actives], x2s[actives], y2s[actives], areas[actives] = x1, y1, x2, y2, area
            own[actives] = label
            actives += 1
    return kept[:count]


@njit(cache=True, error_model="numpy")
def _in_grid(boxes, order, labels, limit, diou):  # type: ignore[no-untyped-def]
    """Compare each box with the kept ones in the cells that can matter; every box with sides has a place."""
    n, by_label = len(order), len(labels) > 0
    kept, actives, count = np.empty(n, np.int64), 0, 0
    x1s, y1s, x2s, y2s, areas = np.empty((5, n), boxes.dtype)
    own = np.zeros(n, np.int64)
    t = limit * (1 - SLACK)
    near, reach = (1 - t) / (1 + t) / 2, math.ceil(math.log2(1 / t))
    mask = _table_mask(n)
    heads, following = np.full(mask + 1, -1, np.int32), np.empty(n, np.int32)
    filled = np.zeros(LEVELS, np.bool_)
    for place in range(n):
        i = order[place]
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        width, height = x2 - x1, y2 - y1
        if not (width > 0 and height > 0):
            kept[count] = i
            count += 1
            continue
        area, hit, label = width * height, False, labels[i] if by_label else 0
        level, x, y = _level_of(width, height), (x1 + x2) / 2.0, (y1 + y2) / 2.0
        for step in range(2 * reach + 1):
            # Its own level first, where a suppressor most likely is.
            other = level + (step + 1) // 2 * (1 if step % 2 else -1)
            if hit or not 0 <= other < LEVELS or not filled[other]:
                continue
            cell = _side_of(other)
            rx = (width + min(width / t, 2 * cell)) * near
            ry = (height + min(height / t, 2 * cell)) * near
            first, last = math.floor((x - rx) / cell), math.floor((x + rx) / cell)
            for row in range(math.floor((y - ry) / cell), math.floor((y + ry) / cell) + 1):
                for column in range(first, last + 1):
                    slot = _bucket(other, column, row, label, mask)
                    k, before = heads[slot], -1
                    while k >= 0:
                        if x1s[k] < x2 and x2s[k] > x1 and y1s[k] < y2 and y2s[k] > y1 and own[k] == label:
                            overlap = _overlap(x1s[k], y1s[k], x2s[k], y2s[k], areas[k], x1, y1, x2, y2, area, diou)
                            if overlap > limit:
                                hit = True
                                break
                        before, k = k, following[k]
                    if hit:
                        if before >= 0:
                            # What suppressed one is likely to suppress the next: to the front of its chain.
                            following[before], following[k], heads[slot] = following[k], heads[slot], k
                        break
                if hit:
                    break
        if hit:
            continue
        kept[count] = i
        count += 1
        x1s[actives], y1s[actives], x2s[actives], y2s[actives], areas[actives] = x1, y1, x2, y2, area
        own[actives] = label
        cell = _side_of(level)
        slot = _bucket(level, math.floor(x / cell), math.floor(y / cell), label, mask)
        following[actives] = heads[slot]
        heads[slot] = actives
        filled[level] = True
        actives += 1
    return kept[:count]


@njit(cache=True, error_model="numpy")
def _all_have_places(boxes):  # type: ignore[no-untyped-def]
    for i in range(len(boxes)):
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        if x2 > x1 and y2 > y1 and not _has_place(x1, y1, x2, y2):
            return False
    return True


@njit(cache=True, error_model="numpy")
def _level_of(width, height):  # type: ignore[no-untyped-def]
    """Level of a box with positive finite sides; outside 0..LEVELS - 1 it has no place in the grid."""
    return math.frexp(max(width, height))[1] - 1 + MIDDLE


@njit(cache=True, error_model="numpy")
def _side_of(level):  # type: ignore[no-untyped-def]
    """Length of a level's cells."""
    return math.ldexp(1.0, level - MIDDLE)


@njit(cache=True, error_model="numpy")
def _bucket(level, column, row, label, mask):  # type: ignore[no-untyped-def]
    """Place of a cell in a table of mask + 1 chains."""
    h = np.uint64(column) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(row) * np.uint64(0xC2B2AE3D27D4EB4F)
    h += np.uint64(level) * np.uint64(0x165667B19E3779F9) + np.uint64(label) * np.uint64(0x27D4EB2F165667C5)
    h ^= h >> np.uint64(29)
    return np.int64((h * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)) & mask


@njit(cache=True, error_model="numpy")
def _table_mask(count):  # type: ignore[no-untyped-def]
    """One less than the number of chains for `count` boxes, a power of two."""
    size = 64
    while size < 2 * count:
        size *= 2
    return size - 1


@njit(cache=True, error_model="numpy")
def _has_place(x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Whether arithmetic on a box with positive sides neither over- nor underflows and its cell can be numbered."""
    width, height = np.float64(x2) - np.float64(x1), np.float64(y2) - np.float64(y1)
    longer, area = max(width, height), width * height
    farthest = max(max(abs(x1), abs(x2)), max(abs(y1), abs(y2)))
    return 1e-30 < area < 1e30 and 1e-8 < longer < 1e9 and farthest < FARTHEST * longer / 2
