"""Cross-entropy and the multi-class focal loss, of images or of pixels.

Shapes: N images, K classes, `*` no further dimension (one label an image) or H, W (one label a pixel).
"""

import torch
from torch import Tensor
from torch.nn import functional

from snellen.models.loss import LossTerm

IGNORED = 255
"""Label that counts nowhere."""


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> LossTerm:
    """Cross-entropy: a sum over labels, each times its class's weight, and the sum of those weights.

    Args:
        logits: (N, K, *), raw scores; computed in float32 at least.
        targets: (N, *) int64 labels; or (N, K, *) float shares of each class, as mixup makes them: these are divided
            by the number of labels, as in torch.
        class_weights: (K,) float; None: all alike.
        label_smoothing: Share of the label given to all classes alike (Szegedy 2016, arXiv:1512.00567, section 7).
        ignore_index: Labels of this value count nowhere.
    """
    logits = _at_least_float32(logits)
    weights = class_weights.to(logits) if class_weights is not None else None
    if targets.is_floating_point():
        total = functional.cross_entropy(
            logits, targets.to(logits), weights, reduction="sum", label_smoothing=label_smoothing
        )
        return LossTerm(total, total.new_tensor(float(targets.numel() // targets.shape[1])).detach())
    total = functional.cross_entropy(
        logits, targets, weights, ignore_index=ignore_index, reduction="sum", label_smoothing=label_smoothing
    )
    return LossTerm(total, _weight_of(targets, weights, ignore_index).to(total))


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
    ignore_index: int = IGNORED,
) -> LossTerm:
    """-w_t (1 - p_t)^gamma ln p_t over a softmax (Lin 2017, arXiv:1708.02002, eq. 5, for K classes).

    Arguments as of `cross_entropy`; with gamma 0 it is cross-entropy. Divided by the sum of the labels' class weights:
    of all labels, hard and easy. Of shares of classes it is the sum over classes of their share times their loss.
    """
    logits = _at_least_float32(logits)
    weights = class_weights.to(logits) if class_weights is not None else None
    if targets.is_floating_point():
        logs = functional.log_softmax(logits, dim=1)
        each = -_missing(logs).pow(gamma) * logs * targets.to(logs)
        if weights is not None:
            each = each * weights.view(1, -1, *[1] * (logits.ndim - 2))
        return LossTerm(each.sum(), each.new_tensor(float(targets.numel() // targets.shape[1])))
    there = targets != ignore_index
    safe = targets.where(there, 0)
    log_p = functional.log_softmax(logits, dim=1).gather(1, safe.unsqueeze(1)).squeeze(1)
    each = -_missing(log_p).pow(gamma) * log_p
    if weights is not None:
        each = each * weights[safe]
    return LossTerm((each * there).sum(), _weight_of(targets, weights, ignore_index).to(each))


def _missing(log_p: Tensor) -> Tensor:
    """1 - p: by expm1, which keeps its digits where p is near 1; the floor keeps its powers' slopes finite at p = 1."""
    return (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)


def _weight_of(targets: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    there = targets != ignore_index
    if weights is None:
        return there.sum()
    return (weights[targets.where(there, 0)] * there).sum().detach()


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
