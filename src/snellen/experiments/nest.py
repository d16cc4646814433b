"""Nests of tensors (tensor, list, tuple, mapping, dataclass) as batches: the first axis counts the samples.

A list of N tensors or N mappings is a batch too, of one member a sample, as detectors take it; a tuple holds arguments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


def tensors(nest: Any) -> Iterator[Tensor]:
    """Every tensor of `nest`, in order."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, Mapping):
        for value in nest.values():
            yield from tensors(value)
    elif isinstance(nest, list | tuple):
        for value in nest:
            yield from tensors(value)
    elif is_dataclass(nest) and not isinstance(nest, type):
        for f in fields(nest):
            yield from tensors(getattr(nest, f.name))


def mapped(nest: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`nest` with `change` applied to every tensor."""
    if isinstance(nest, Tensor):
        return change(nest)
    if isinstance(nest, Mapping):
        return _like(nest, {k: mapped(v, change) for k, v in nest.items()})
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(mapped(v, change) for v in nest))
    if isinstance(nest, list | tuple):
        return type(nest)(mapped(v, change) for v in nest)
    if is_dataclass(nest) and not isinstance(nest, type):
        return replace(nest, **{f.name: mapped(getattr(nest, f.name), change) for f in fields(nest) if f.init})
    return nest


def _like(nest: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    try:
        return type(nest)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def one_a_sample(nest: Any) -> bool:
    """Whether `nest` is a list with one member a sample rather than one tensor with all samples."""
    if not isinstance(nest, list) or not nest:
        return False
    if all(isinstance(v, Tensor) for v in nest):
        # Unequal tensors cannot be columns of one batch, and pictures come as (C, H, W).
        return len({t.shape[:1] for t in nest}) > 1 or all(t.dim() == 3 and t.shape[0] in (1, 3, 4) for t in nest)
    return all(isinstance(v, Mapping) or is_dataclass(v) for v in nest)


def samples(nest: Any) -> int | None:
    """Number of samples; None when the tensors of `nest` do not agree on it, or there is none."""
    if one_a_sample(nest):
        return len(nest)
    sizes = {t.shape[0] if t.dim() else -1 for t in tensors(nest)}
    return sizes.pop() if len(sizes) == 1 and -1 not in sizes else None


def chosen(nest: Any, rows: Sequence[int]) -> Any:
    """The samples `rows` of `nest`, in that order; a row may come several times."""
    if one_a_sample(nest):
        return [nest[r] for r in rows]
    count = samples(nest)
    if count is None:
        raise ValueError("the tensors do not agree on the number of samples")
    return mapped(nest, lambda t: t[torch.as_tensor(list(rows), device=t.device)])


def table_of(outputs: Any, count: int, axis: int | None = None) -> Tensor | None:
    """The floating-point tensors of `outputs` with `count` samples, side by side: (count, K) float32; None without.

    The samples are on `axis`, 0 or 1; where that is not told, on the first or, where none has as many there, on the
    second: recurrent networks give (T, N, C).
    """
    found = [t for t in tensors(outputs) if t.is_floating_point() and t.dim() and t.numel()]
    by_sample = [t for t in found if t.shape[0] == count and axis != 1]
    if not by_sample and axis != 0:
        by_sample = [t.movedim(1, 0) for t in found if t.dim() >= 3 and t.shape[1] == count]
    return torch.cat([t.reshape(count, -1).float() for t in by_sample], 1) if by_sample else None
