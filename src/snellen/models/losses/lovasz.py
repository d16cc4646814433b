"""Lovasz losses: convex surrogates of the Jaccard loss, image by image.

Berman, Triki and Blaschko 2018, "The Lovasz-Softmax loss" (arXiv:1705.08790). Shapes: N images, K classes, P pixels.
"""

import torch
from torch import Tensor

from snellen.models.loss import LossTerm
from snellen.models.losses.cross_entropy import IGNORED
from snellen.models.losses.dice import masked_shares, mean_over_present


def lovasz_extension(errors: Tensor, labels: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss at `errors`, (..., P) -> (...): eq. 8 and 9, algorithm 1.

    Args:
        errors: How wrong each pixel is, 0 or more; at errors of 0 and 1 the value is 1 - Jaccard index.
        labels: 0 or 1, same shape: the pixels of the class.
    """
    ranked, order = errors.sort(dim=-1, descending=True)
    # The Jaccard loss as a function of how many of the worst pixels are wrong; its steps weigh the errors.
    y = labels.gather(-1, order).to(errors)
    left = y.sum(dim=-1, keepdim=True) - y.cumsum(dim=-1)
    union = y.sum(dim=-1, keepdim=True) + (1 - y).cumsum(dim=-1)
    jaccard = 1 - left / union.clamp(min=1)
    steps = torch.diff(jaccard, prepend=torch.zeros_like(jaccard[..., :1]))
    return (ranked * steps.detach()).sum(dim=-1)


def lovasz_softmax(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None, ignore_index: int = IGNORED
) -> LossTerm:
    """Lovasz-softmax, eq. 11 and 12, the mean over the classes that an image is labelled with, summed over images.

    Args:
        logits: (N, K, H, W), raw scores.
        targets: (N, H, W) int64.
        class_weights: (K,) float, of the mean over classes; None: all alike.
        ignore_index: Labels of this value count nowhere; an image of nothing else is left out.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    p, y = masked_shares(logits, targets, ignore_index)
    # Ignored pixels have error 0 and no label: they come last and move neither intersection nor union of the others.
    errors, labels = (y - p).abs().flatten(2), y.flatten(2)
    return mean_over_present(lovasz_extension(errors, labels), labels.sum(dim=2) > 0, class_weights)


def lovasz_hinge(scores: Tensor, targets: Tensor, *, ignore_index: int = IGNORED) -> LossTerm:
    """The Lovasz hinge of a binary map, section 2.2, summed over images.

    Args:
        scores: (N, H, W), raw score of class 1; above 0 is said to be class 1.
        targets: (N, H, W) int64, 0 or 1.
        ignore_index: Labels of this value count nowhere; an image of nothing else is left out.
    """
    scores = scores if scores.dtype == torch.float64 else scores.float()
    there = (targets != ignore_index).flatten(1)
    labels = targets.flatten(1).where(there, 0).to(scores)
    errors = (1 - scores.flatten(1) * (2 * labels - 1)).clamp(min=0) * there
    used = there.any(dim=1)
    return LossTerm((lovasz_extension(errors, labels) * used).sum(), used.sum().to(scores))
