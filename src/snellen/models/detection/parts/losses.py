"""Losses of a detector, element by element; the caller sums and normalises.

Boxes are pairs (..., 4) of xyxy with positive sides; the box losses return (...).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

TINY = 1e-7
"""Added to what is divided by, so that a box without area has a finite loss."""


def sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """-alpha_t (1 - p_t)^gamma ln p_t, element-wise (Lin 2017, arXiv:1708.02002, eq. 4 and 5).

    Args:
        logits: Raw scores, any shape.
        targets: 0 or 1, same shape.
        alpha: Weight of the positives, 1 - alpha that of the negatives; None: both weigh 1 (eq. 4).
        gamma: >= 0; at 0 the loss is cross-entropy.
    """
    cross_entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = torch.sigmoid(logits)
    p_t = p * targets + (1 - p) * (1 - targets)
    focal = (1 - p_t) ** gamma * cross_entropy
    return focal if alpha is None else (alpha * targets + (1 - alpha) * (1 - targets)) * focal


def smooth_l1(offsets: Tensor, wanted: Tensor, beta: float = 1.0) -> Tensor:
    """0.5 x^2 / beta where |x| < beta, else |x| - beta / 2 (Girshick 2015, Fast R-CNN, eq. 3, there beta is 1).

    Element-wise; beta 0 is the absolute difference.
    """
    return smooth_l1_loss(offsets, wanted, reduction="none", beta=beta)


def iou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """1 - IoU, in 0..1; no gradient between boxes that are apart (Rezatofighi 2019, sec. 3)."""
    inter, union = _inter_union(a_xyxy, b_xyxy)
    return 1 - inter / (union + TINY)


def giou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """1 - GIoU, in 0..2 (Rezatofighi 2019, arXiv:1902.09630, algorithm 1)."""
    inter, union = _inter_union(a_xyxy, b_xyxy)
    hull = _hull_side(a_xyxy, b_xyxy).prod(dim=-1)
    return 1 - inter / (union + TINY) + (hull - union) / (hull + TINY)


def diou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """1 - IoU + d^2 / c^2, in 0..2 (Zheng 2020, arXiv:1911.08287, eq. 7).

    d is the distance of the centres, c the diagonal of the hull.
    """
    return iou_loss(a_xyxy, b_xyxy) + _centre_distance(a_xyxy, b_xyxy)


def ciou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """DIoU loss + alpha v, v the difference of the shapes' angles (Zheng 2020, eq. 8-11).

    Alpha is a weight of trade-off, which no gradient goes through (sec. 3.3).
    """
    overlap_loss = iou_loss(a_xyxy, b_xyxy)
    a_side, b_side = a_xyxy[..., 2:] - a_xyxy[..., :2], b_xyxy[..., 2:] - b_xyxy[..., :2]
    angle_a, angle_b = torch.atan(a_side[..., 0] / a_side[..., 1]), torch.atan(b_side[..., 0] / b_side[..., 1])
    v = 4 / math.pi**2 * (angle_b - angle_a) ** 2
    alpha = (v / (overlap_loss + v + TINY)).detach()
    return overlap_loss + _centre_distance(a_xyxy, b_xyxy) + alpha * v


BOX_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou_loss,
    "giou": giou_loss,
    "diou": diou_loss,
    "ciou": ciou_loss,
}
"""Losses of decoded boxes by name; `smooth_l1` is one of offsets."""


def _inter_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    side = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter = side.prod(dim=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1)
    return inter, areas - inter


def _hull_side(a: Tensor, b: Tensor) -> Tensor:
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])


def _centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the centres as a share of the hull's squared diagonal."""
    apart = ((a[..., 2:] + a[..., :2]) - (b[..., 2:] + b[..., :2])) / 2
    return (apart**2).sum(dim=-1) / ((_hull_side(a, b) ** 2).sum(dim=-1) + TINY)
