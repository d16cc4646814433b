"""Soft Dice loss of class maps, image by image.

Shapes: N images, K classes, H W pixels.
"""

import torch
from torch import Tensor

from snellen.models.loss import LossTerm
from snellen.models.losses.cross_entropy import IGNORED

SMOOTH = 1e-6
"""Added to both sides of the ratio, so that a class without a pixel has no 0 / 0."""


def dice(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    smooth: float = SMOOTH,
    ignore_index: int = IGNORED,
) -> LossTerm:
    """1 - 2 sum p y / (sum p + sum y), the mean over the classes that an image is labelled with, summed over images.

    After Milletari 2016 (arXiv:1606.04797, section 3), without the squares in the denominator, so that probabilities
    of 0 and 1 give the Dice coefficient. Sums run over the pixels of one image: over a whole batch they would depend
    on how it was cut up. A class that an image does not hold is left out there: its term would be 1 whatever is said.

    Args:
        logits: (N, K, H, W), raw scores.
        targets: (N, H, W) int64.
        class_weights: (K,) float, of the mean over classes; None: all alike.
        smooth: Added to both sides of the ratio.
        ignore_index: Labels of this value count nowhere; an image of nothing else is left out.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    p, y = masked_shares(logits, targets, ignore_index)
    overlap = (p * y).flatten(2).sum(dim=2)
    sizes = (p + y).flatten(2).sum(dim=2)
    loss_NK = 1 - (2 * overlap + smooth) / (sizes + smooth)
    return mean_over_present(loss_NK, y.flatten(2).sum(dim=2) > 0, class_weights)


def masked_shares(logits: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot labels, both (N, K, H, W), 0 where the label is ignored."""
    there = (targets != ignore_index).unsqueeze(1)
    safe = targets.where(there.squeeze(1), 0)
    y = torch.zeros_like(logits).scatter_(1, safe.unsqueeze(1), 1.0) * there
    return logits.softmax(dim=1) * there, y


def mean_over_present(loss_NK: Tensor, present_NK: Tensor, class_weights: Tensor | None) -> LossTerm:
    """(N, K) losses -> the weighted mean over each image's classes, summed over the images that have any."""
    shares = present_NK.to(loss_NK)
    if class_weights is not None:
        shares = shares * class_weights.to(loss_NK)
    of_image = shares.sum(dim=1)
    used = of_image > 0
    means = (loss_NK * shares).sum(dim=1) / of_image.where(used, torch.ones_like(of_image))
    return LossTerm(means.sum(), used.sum().to(loss_NK))
