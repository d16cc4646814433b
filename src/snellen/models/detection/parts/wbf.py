"""Weighted boxes fusion: boxes of several models that overlap become one, their mean weighted by score.

Solovyev, Wang & Gabruseva 2021, "Weighted boxes fusion: ensembling boxes from different object detection models"
(arXiv:1910.13302), sec. 3. Boxes are taken by falling score; each joins the fused box of its class that it overlaps
most, if by more than a threshold, else it begins a new one. In the end a score is lowered where few models saw the
object.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numba import njit
from torch import Tensor

from snellen.models.detection.parts.nms import as_arrays

CELLS = 24
"""Along and across, of the grid in which fused boxes are looked for."""
Confidence = Literal["avg", "max", "box_and_model_avg", "absent_model_aware_avg"]


def weighted_boxes_fusion(
    boxes_xyxy: Sequence[Tensor],
    scores: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    weights: Sequence[float] | None = None,
    iou: float = 0.55,
    min_score: float = 0.0,
    confidence: Confidence = "avg",
) -> tuple[Tensor, Tensor, Tensor]:
    """Fuse what several models found in one image: boxes (K, 4) float32, scores (K,) float32, labels (K,), best first.

    Args:
        boxes_xyxy: Of each model (N_m, 4), in any unit; a box without area is left out.
        scores: Of each model (N_m,), 0..1.
        labels: Of each model (N_m,) integers; only boxes of the same label are fused.
        weights: Of the models; None: all 1.
        iou: A box joins a fused one that it overlaps by more than this.
        min_score: Boxes below this are left out.
        confidence: The fused score. With T members, M models, s a member's score times its model's weight w:
            avg: mean of s, times min(M, T) / sum of all weights (eq. 5); max: largest s / largest weight;
            box_and_model_avg: sum of s / sum of the members' weights, times the weights of the models that saw it /
            all weights; absent_model_aware_avg: sum of s / sum of the members' weights and of the absent models'.

    Raises:
        ValueError: Lengths differ, weights are not positive, or no such confidence.
    """
    kinds = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
    weight = np.ones(len(boxes_xyxy)) if weights is None else np.asarray(weights, np.float64)
    if confidence not in kinds or not len(boxes_xyxy) == len(scores) == len(labels) == len(weight):
        raise ValueError(f"confidence {confidence}, {len(boxes_xyxy)} models, {len(weight)} weights")
    if not (weight > 0).all():
        raise ValueError(f"weights of models must be positive: {weight.tolist()}")
    if not boxes_xyxy:
        return torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    box, score, label = as_arrays(torch.cat(list(boxes_xyxy)), torch.cat(list(scores)), torch.cat(list(labels)))
    model = np.repeat(np.arange(len(weight)), [len(one) for one in scores])
    weighted = score.astype(np.float64) * weight[model]
    usable = (score >= min_score) & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    order = np.lexsort((-weighted, label))
    order = order[usable[order]]
    fused, value, owner = _fuse(
        box.astype(np.float64), weighted, label, model, weight, order, float(iou), kinds.index(confidence)
    )
    best = np.argsort(-value, kind="stable")
    found = fused[best].astype(np.float32), value[best].astype(np.float32), owner[best]
    boxes_K4, scores_K, labels_K = (torch.from_numpy(part).to(boxes_xyxy[0].device) for part in found)
    return boxes_K4, scores_K, labels_K


@njit(cache=True, error_model="numpy")
def _cell(x, low, per_unit):  # type: ignore[no-untyped-def]
    return int(min(max((x - low) * per_unit, 0.0), CELLS - 1.0))


@njit(cache=True, error_model="numpy")
def _nearer(fused, k, x1, y1, x2, y2, area, joined, best):  # type: ignore[no-untyped-def]
    """The fused box and its overlap: `k`, if it overlaps the box by more than the best so far; of equals the older."""
    fx1, fy1, fx2, fy2 = fused[k, 0], fused[k, 1], fused[k, 2], fused[k, 3]
    if fx1 < x2 and x1 < fx2 and fy1 < y2 and y1 < fy2:
        inter = (min(x2, fx2) - max(x1, fx1)) * (min(y2, fy2) - max(y1, fy1))
        overlap = inter / ((fx2 - fx1) * (fy2 - fy1) + area - inter)
        if overlap > best or (overlap == best and k < joined):
            return k, overlap
    return joined, best


@njit(cache=True, error_model="numpy")
def _fuse(boxes, scores, labels, models, weights, order, limit, kind):  # type: ignore[no-untyped-def]
    n, num_models = len(order), len(weights)
    fused = np.empty((n, 4))
    sums = np.zeros((n, 4))  # of the members' corners times scores
    total, largest, weighing = np.zeros(n), np.zeros(n), np.zeros(n)  # of the members' scores and weights
    members, owner = np.zeros(n, np.int64), np.empty(n, np.int64)
    seen = np.zeros((n, num_models), np.bool_)
    # Fused boxes stand in cells by their centre; what overlaps by more than `limit` is at most 1 / limit times as wide
    # and as high, so that its centre is no further than half of that beyond the sides.
    first = np.full(CELLS * CELLS, -1, np.int64)
    after, before, cell = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for place in range(n):
        for axis in range(2):
            low[axis] = min(low[axis], boxes[order[place], axis])
            high[axis] = max(high[axis], boxes[order[place], axis + 2])
    per_unit = CELLS / np.maximum(high - low, 1e-300)
    reach = 0.5 / limit * (1 + 1e-6) if limit > 0 else np.inf
    count = 0
    for place in range(n):
        i = order[place]
        if place == 0 or labels[i] != labels[order[place - 1]]:
            first[:] = -1
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        area, joined, best = (x2 - x1) * (y2 - y1), -1, limit
        wide, tall = (x2 - x1) * reach, (y2 - y1) * reach
        left, right = _cell(x1 - wide, low[0], per_unit[0]), _cell(x2 + wide, low[0], per_unit[0])
        for line in range(_cell(y1 - tall, low[1], per_unit[1]), _cell(y2 + tall, low[1], per_unit[1]) + 1):
            for at in range(line * CELLS + left, line * CELLS + right + 1):
                k = first[at]
                while k >= 0:
                    joined, best = _nearer(fused, k, x1, y1, x2, y2, area, joined, best)
                    k = after[k]
        if joined < 0:
            joined = count
            owner[joined] = labels[i]
            cell[joined] = -1
            count += 1
        k, s = joined, scores[i]
        members[k] += 1
        total[k] += s
        largest[k] = max(largest[k], s)
        weighing[k] += weights[models[i]]
        seen[k, models[i]] = True
        for c in range(4):
            sums[k, c] += s * boxes[i, c]
            fused[k, c] = sums[k, c] / total[k] if members[k] > 1 and total[k] > 0 else boxes[i, c]
        new = CELLS * _cell((fused[k, 1] + fused[k, 3]) / 2, low[1], per_unit[1])
        new += _cell((fused[k, 0] + fused[k, 2]) / 2, low[0], per_unit[0])
        if new != cell[k]:
            if cell[k] >= 0:
                if before[k] >= 0:
                    after[before[k]] = after[k]
                else:
                    first[cell[k]] = after[k]
                if after[k] >= 0:
                    before[after[k]] = before[k]
            cell[k], before[k], after[k] = new, -1, first[new]
            if first[new] >= 0:
                before[first[new]] = k
            first[new] = k
    value, all_weights = np.empty(count), weights.sum()
    for k in range(count):
        present = 0.0
        for m in range(num_models):
            present += weights[m] if seen[k, m] else 0.0
        if kind == 0:
            value[k] = total[k] / members[k] * min(num_models, members[k]) / all_weights
        elif kind == 1:
            value[k] = largest[k] / weights.max()
        elif kind == 2:
            value[k] = total[k] / weighing[k] * present / all_weights
        else:
            value[k] = total[k] / (weighing[k] + all_weights - present)
    return fused[:count], value, owner[:count]
