"""Losses of a detector, element by element; the caller sums and normalises."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """-alpha_t (1 - p_t)^gamma ln p_t, element-wise (Lin 2017, arXiv:1708.02002, eq. 4 and 5).

    Args:
        logits: Raw scores, any shape.
        targets: 0 or 1, same shape.
    """
    cross_entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = torch.sigmoid(logits)
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    return alpha_t * (1 - p_t) ** gamma * cross_entropy


def giou_loss(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """1 - GIoU of paired boxes, (..., 4) -> (...), in 0..2 (Rezatofighi 2019, arXiv:1902.09630, algorithm 1)."""
    inter_side = (
        torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    ).clamp(min=0)
    inter = inter_side.prod(dim=-1)
    area_a = (a_xyxy[..., 2:] - a_xyxy[..., :2]).prod(dim=-1)
    area_b = (b_xyxy[..., 2:] - b_xyxy[..., :2]).prod(dim=-1)
    union = area_a + area_b - inter
    hull_side = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    hull = hull_side.prod(dim=-1)
    tiny = 1e-7
    return 1 - inter / (union + tiny) + (hull - union) / (hull + tiny)
