"""What token ids show: padding at the ends of rows, and targets that are the next inputs."""

from typing import Any

import torch
from torch import Tensor

INTEGERS = (torch.int64, torch.int32, torch.int16)
MOST_ROWS = 64
"""Samples that are looked at."""
PADDED_ROWS = 0.25
"""Least share of the rows that end (or begin) with a run of one id for it to be taken for padding."""


def first_ids(nest: Any, *, flat: bool = False) -> Tensor | None:
    """The first integer tensor (N, T) with at least 2 columns in a nest of tensors; (N * T,) too if `flat`."""
    if isinstance(nest, Tensor):
        fits = nest.dtype in INTEGERS and ((nest.dim() == 2 and nest.shape[1] > 1) or (flat and nest.dim() == 1))
        return nest.detach() if fits else None
    values = nest.values() if isinstance(nest, dict) else nest if isinstance(nest, list | tuple) else ()
    return next((found for v in values if (found := first_ids(v, flat=flat)) is not None), None)


def shifted(ids: Tensor | None, targets: Tensor | None) -> Tensor | None:
    """Share of the targets (N, T) or (N, T - 1), the T-th aside, that equal the next input; 0-d.

    None where shapes differ.
    """
    if ids is None or targets is None or ids.shape[1] < 4:
        return None
    samples, length = ids.shape
    if targets.numel() not in (samples * length, samples * (length - 1)):
        return None
    rows = targets.reshape(samples, -1)[:, : length - 1].to(ids.device)
    return (rows == ids[:, 1:]).float().mean()


def padding_of(ids: Tensor, padding_idx: int | None) -> Tensor | None:
    """Mark padded tokens of (N, T) ids: those equal to `padding_idx` at an end of the row, or, where no embedding says,
    to an id that many rows end (or begin) with in a run and that no row has elsewhere. None when there is none."""
    rows = ids[:MOST_ROWS].cpu()
    for side in (rows, rows.flip(1)):
        candidates = [padding_idx] if padding_idx is not None else side[:, -1].unique().tolist()
        for value in candidates:
            hits = side == value
            run = hits.flip(1).long().cumprod(1).flip(1).bool()
            ends = run.sum(1)
            if padding_idx is not None:
                good = bool(run.any())
            else:
                # A run of two by chance is common with few ids; that the id occurs nowhere else is not.
                elsewhere = bool((hits & ~run).any())
                good = not elsewhere and float((ends >= 2).float().mean()) >= PADDED_ROWS and int(ends.max()) >= 3
            if good and bool((ends < rows.shape[1]).any()):
                run = run if side is rows else run.flip(1)
                rest = torch.zeros((len(ids) - len(rows), ids.shape[1]), dtype=torch.bool)
                return torch.cat([run, rest]).to(ids.device)
    return None
