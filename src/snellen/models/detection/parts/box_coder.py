"""Boxes as offsets from anchors (Girshick 2014, R-CNN, appendix C, eq. 6-9; Ren 2015, eq. 2).

t_x = w_x (x - x_a) / w_a, t_y = w_y (y - y_a) / h_a, t_w = w_w ln(w / w_a), t_h = w_h ln(h / h_a), with x, y the
centres. The weights bring the four to about unit variance, where Fast R-CNN normalises the targets (sec. 2.3).

The order of the operations is torchvision's: at coordinates near 1000 px another one differs by 1e-4.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_LOG_SCALE = math.log(1000 / 16)
"""t_w and t_h are clamped here before exp: a box 62 times its anchor is an exploding head, not an object."""
UNIT = (1.0, 1.0, 1.0, 1.0)
ROI_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Weights of the second stage: standard deviations 0.1 and 0.2 of the offsets of matched proposals."""


def encode(boxes_xyxy: Tensor, anchors_xyxy: Tensor, weights: Sequence[float] = UNIT) -> Tensor:
    """Offsets (..., 4) that lead from the anchors to the boxes; sides must be positive."""
    centre, side = _centre_side(boxes_xyxy)
    anchor_centre, anchor_side = _centre_side(anchors_xyxy)
    scale = torch.tensor(weights, dtype=centre.dtype, device=centre.device)
    shift = scale[:2] * (centre - anchor_centre) / anchor_side
    return torch.cat([shift, scale[2:] * torch.log(side / anchor_side)], dim=-1)


def decode(offsets: Tensor, anchors_xyxy: Tensor, weights: Sequence[float] = UNIT) -> Tensor:
    """Boxes (..., 4) as xyxy pixels from offsets (..., 4); the inverse of `encode`.

    Leading dimensions are broadcast: offsets of each class (R, K, 4) take proposals (R, 1, 4).
    """
    anchor_centre, anchor_side = _centre_side(anchors_xyxy.to(offsets.dtype))
    scale = torch.tensor(weights, dtype=offsets.dtype, device=offsets.device)
    offsets = offsets / scale
    centre = offsets[..., :2] * anchor_side + anchor_centre
    half = 0.5 * (torch.exp(offsets[..., 2:].clamp(max=LARGEST_LOG_SCALE)) * anchor_side)
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_side(xyxy: Tensor) -> tuple[Tensor, Tensor]:
    side = xyxy[..., 2:] - xyxy[..., :2]
    return xyxy[..., :2] + 0.5 * side, side
