"""Cross-entropy of the hardest labels only: online hard example mining.

Shrivastava 2016 (arXiv:1604.03540), for pixels as in Wu 2016, "Bridging category-level and instance-level semantic
image segmentation" (arXiv:1605.06885, section 3.2). Shapes: N images, K classes, P labels of one image.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from snellen.models.loss import LossTerm
from snellen.models.losses.cross_entropy import IGNORED, cross_entropy

THRESHOLD = 0.7
LEAST_KEPT = 1 / 16


def ohem_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    threshold: float = THRESHOLD,
    least_kept: float = LEAST_KEPT,
    class_weights: Tensor | None = None,
    ignore_index: int = IGNORED,
) -> LossTerm:
    """Cross-entropy over labels whose class has a probability of at most `threshold`, and at least a share of all.

    The hardest are chosen within each image, so that a batch cut up gives the same.

    Args:
        logits: (N, K, H, W), or (N, K): then every image is a single label and none is left out.
        targets: (N, H, W) or (N,) int64; or (N, K) float shares of each class.
        threshold: Labels predicted with more than this probability are left out; 1: none is.
        least_kept: Share of an image's labels that are kept whatever their probability, rounded up.
        class_weights: (K,) float, of the labels that are kept; None: all alike.
        ignore_index: Labels of this value count nowhere.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if targets.is_floating_point():
        return cross_entropy(logits, targets, class_weights=class_weights)
    plain = torch_cross_entropy(logits, targets, ignore_index=ignore_index, reduction="none").reshape(len(targets), -1)
    labels_NP = targets.reshape(len(targets), -1)
    there = labels_NP != ignore_index
    with torch.no_grad():
        hardness = plain.where(there, -torch.ones_like(plain))
        ranked = hardness.sort(dim=1, descending=True).values
        least = (there.sum(dim=1, keepdim=True) * least_kept).ceil().long().clamp(min=1, max=ranked.shape[1])
        limit = ranked.gather(1, least - 1).clamp(max=-math.log(threshold) if threshold > 0 else math.inf)
        kept = there & (hardness >= limit)
    weights = kept.to(plain)
    if class_weights is not None:
        weights = weights * class_weights.to(plain)[labels_NP.where(there, 0)]
    return LossTerm((plain * weights).sum(), weights.sum().detach())
