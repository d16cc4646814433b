"""Soft non-maximum suppression: what overlaps a better box loses score instead of being removed.

Bodla et al. 2017, "Soft-NMS: improving object detection with one line of code" (arXiv:1704.04503), fig. 2: the best
box is taken, the scores of all others are multiplied by

    linear (sec. 3):     1 - IoU where IoU > N_t, else 1,
    Gaussian (sec. 3):   exp(-IoU^2 / sigma),

and so on. Computed on the CPU: after a box is taken only what overlaps it is looked at, and a score that fell is put
right in the queue when it comes to the top.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snellen.models.detection.parts.nms import as_arrays
from snellen.models.detection.parts.overlaps import soften, soften_few

FEW = 400
"""Boxes up to which each against all others is sooner done than a grid is laid out."""
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
    rows, left = (soften_few if len(boxes) <= FEW else soften)(
        boxes, score.astype(np.float64), label, decay == "gaussian", float(sigma), float(iou), float(min_score)
    )
    return torch.from_numpy(rows).to(scores.device), torch.from_numpy(left).to(scores)
