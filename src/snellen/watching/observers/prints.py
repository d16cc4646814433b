"""Prints of rows: numbers by which a sample is known again without keeping it."""

import torch
from torch import Tensor


def factors(count: int) -> Tensor:
    """(count,) int64, odd and different from place to place: a sum of products that wraps round knows the order."""
    return (torch.arange(1, count + 1) * 0x9E3779B97F4A7C1 + 0x7F4A7C15) | 1


def row_prints(values: Tensor, by: Tensor | None = None) -> Tensor:
    """(N, k) of any real type -> (N,) int64: equal rows have equal prints. `by` are `factors(k)` on its device."""
    by = factors(values.shape[1]).to(values.device) if by is None else by
    bits = values.float().contiguous().view(torch.int32).long() if values.is_floating_point() else values.long()
    mixed = (bits + 0x2545F491) * by
    return (mixed ^ (mixed >> 29)).sum(1)
