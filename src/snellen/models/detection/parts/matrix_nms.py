"""Suppression of all boxes at once: every box is held against all better ones, whether those are kept or not.

Bolya et al. 2019, "YOLACT" (arXiv:1904.02689), sec. 3.3: Fast NMS removes what any better box overlaps too much.
Wang et al. 2020, "SOLOv2" (arXiv:2003.10152), sec. 3.3, eq. 5: Matrix NMS multiplies the score of box j by

    decay_j = min over better i of f(IoU_ij) / f(max over better k of IoU_ki),

so that a box which is itself suppressed suppresses less; f(x) is 1 - x, or exp(-x^2 / sigma).

The papers write this as an N x N matrix for the sake of a GPU. Here, on the CPU, only pairs that overlap are visited;
for the others f is 1 and nothing comes of them.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.models.detection.parts.nms import Floats, Ints, as_arrays, best_first
from snellen.models.detection.parts.overlaps import GAUSSIAN, LARGEST, LINEAR, gather


def fast_nms(boxes_xyxy: Tensor, scores: Tensor, iou: float, labels: Tensor | None = None) -> Tensor:
    """Rows (K,) int64 of the boxes that no better one, kept or not, overlaps by more than `iou`, best first.

    Removes a few boxes more than `nms` does. Computed on the CPU.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        iou: In 0..1.
        labels: (N,) integers; boxes of different labels leave each other alone. None: all are of one.
    """
    boxes, score, label = as_arrays(boxes_xyxy, scores, labels)
    order = best_first(score)
    largest = _gathered(boxes, order, label, LARGEST, 0.0, np.zeros(0))
    return torch.from_numpy(order[largest[order] <= iou]).to(boxes_xyxy.device)


def matrix_nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    decay: Literal["linear", "gaussian"] = "gaussian",
    sigma: float = 0.5,
    min_score: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Rows (K,) int64 of the boxes by falling new score, and these scores (K,), in the type of `scores`.

    Under the linear f a box that a better one equals has no share in what others lose: it is 0 there, and eq. 5
    undefined. Computed on the CPU.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,), positive.
        labels: (N,) integers; boxes of different labels leave each other alone. None: all are of one.
        decay: f.
        sigma: Gaussian: the larger, the less an overlap costs.
        min_score: What falls below this is left out.

    Raises:
        ValueError: Another decay, or sigma not above 0.
    """
    if decay not in ("linear", "gaussian") or sigma <= 0:
        raise ValueError(f"no such decay: {decay}, sigma {sigma}")
    boxes, score, label = as_arrays(boxes_xyxy, scores, labels)
    order = best_first(score)
    largest = _gathered(boxes, order, label, LARGEST, sigma, np.zeros(0))
    kind = GAUSSIAN if decay == "gaussian" else LINEAR
    left = score * _gathered(boxes, order, label, kind, sigma, largest)
    rows = best_first(left.astype(score.dtype))
    rows = rows[left[rows] >= min_score]
    return torch.from_numpy(rows).to(scores.device), torch.from_numpy(left[rows]).to(scores)


def _gathered(
    boxes: Floats, order: Ints, labels: Ints, kind: int, sigma: float, largest: NDArray[np.float64]
) -> NDArray[np.float64]:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return gather(boxes, rank, labels, kind, sigma, largest)
