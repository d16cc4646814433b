"""Class weights against imbalance, from how often each class occurs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["none", "balanced", "sqrt", "median"]


def class_weights(counts: Sequence[float] | Tensor, kind: Weighting) -> Tensor | None:
    """Weights (K,) float32 for `counts` (K,) of labels or pixels; None for "none".

    balanced: total / (K count), as scikit-learn's `compute_class_weight("balanced")` (King and Zeng 2001); sqrt: the
    square root of that, for classes so rare that their full weight would drown the others; median: the median count of
    the classes divided by the class's own (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2). A class without any
    label never meets its weight and gets 1. Raises ValueError for negative counts or none at all.
    """
    if kind == "none":
        return None
    n = torch.as_tensor(counts, dtype=torch.float64)
    there = n > 0
    if n.ndim != 1 or (n < 0).any() or not there.any():
        raise ValueError(f"counts must be (K,), 0 or more and not all 0, got {n.tolist()}")
    scale = n[there].quantile(0.5) if kind == "median" else n.sum() / there.sum()
    weights = torch.where(there, scale / n.clamp(min=torch.finfo(n.dtype).tiny), torch.ones_like(n))
    return (weights.sqrt() if kind == "sqrt" else weights).float()
