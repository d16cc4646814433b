"""Boxes as offsets from anchors (Girshick 2014, R-CNN, appendix C, eq. 6-9; Ren 2015, eq. 2).

t_x = (x - x_a) / w_a, t_y = (y - y_a) / h_a, t_w = ln(w / w_a), t_h = ln(h / h_a), with x, y the centres.
"""

import math

import torch
from torch import Tensor

LARGEST_LOG_SCALE = math.log(1000 / 16)
"""t_w and t_h are clamped here before exp: a box 62 times its anchor is an exploding head, not an object."""


def encode(boxes_xyxy: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """Offsets (..., 4) that lead from the anchors to the boxes; sides must be positive."""
    centre, side = _centre_side(boxes_xyxy)
    anchor_centre, anchor_side = _centre_side(anchors_xyxy)
    return torch.cat([(centre - anchor_centre) / anchor_side, torch.log(side / anchor_side)], dim=-1)


def decode(offsets: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """Boxes (..., 4) as xyxy pixels from offsets (..., 4); the inverse of `encode`."""
    anchor_centre, anchor_side = _centre_side(anchors_xyxy)
    centre = anchor_centre + offsets[..., :2] * anchor_side
    half = anchor_side * torch.exp(offsets[..., 2:].clamp(max=LARGEST_LOG_SCALE)) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _centre_side(xyxy: Tensor) -> tuple[Tensor, Tensor]:
    return (xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]
