"""Results of operators whose size or value depends on the data, which a pass without values takes at a bound."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snellen.errors import UseError


class DataDependentError(UseError):
    """The forward pass read a value, and the caller wants real values rather than an assumption."""


class Bounds:
    """Stands in for data-dependent operators on meta tensors, and keeps account of what was assumed."""

    def __init__(self, *, assume_values: bool) -> None:
        self._assume_values = assume_values
        self._most: dict[str, int] = {}
        self._values = 0

    def result(self, name: str, args: Sequence[Any], kwargs: Any) -> Any:
        """The result of operator `name` at its upper bound; None where it depends on shapes alone.

        Raises DataDependentError when a value is read and values are not to be assumed; a detector, whose proposals
        were bounded already, is never asked for values.
        """
        bound = _BOUNDED.get(name)
        if bound is None:
            return None
        x = next((a for a in args if isinstance(a, Tensor)), None)
        if x is None or x.device.type != "meta":
            return None
        if name == "aten._local_scalar_dense":
            if not self._assume_values and not self._most:
                raise DataDependentError("the forward pass depends on values")
            self._values += 1
            # A condition that does not hold ends every loop.
            return False if x.dtype == torch.bool else 1.0 if x.is_floating_point() else 1
        out = bound(x, args, kwargs)
        if out is not None:
            most = out[0] if isinstance(out, tuple) else out
            count = int(x.numel() if name == "aten._unique2" else most.shape[0])
            self._most[name] = max(self._most.get(name, 0), count)
        return out

    def assumptions(self) -> list[str]:
        """One sentence per kind of assumption that the pass rests on."""
        told = [_TOLD[name].format(count) for name, count in sorted(self._most.items())]
        if self._values:
            many = f"{self._values} values" if self._values > 1 else "one value"
            told.append(f"{many} that the forward pass reads from its data taken as 1, or false")
        return told


def _nonzero(x: Tensor, args: Sequence[Any], kwargs: Any) -> Tensor:
    return torch.empty((x.numel(), x.dim()), dtype=torch.int64, device="meta")


def _kept_boxes(x: Tensor, args: Sequence[Any], kwargs: Any) -> Tensor:
    return torch.empty((x.shape[0],), dtype=torch.int64, device="meta")


def _unique(x: Tensor, args: Sequence[Any], kwargs: Any) -> tuple[Tensor, ...]:
    # One group of everything: loops over the groups then do in one turn what they do in sum.
    sizes = ((1, x.dtype), (x.numel(), torch.int64), (1, torch.int64))
    return tuple(torch.empty((n,), dtype=d, device="meta") for n, d in sizes)


def _masked(x: Tensor, args: Sequence[Any], kwargs: Any) -> Tensor | None:
    if not any(i is not None and i.dtype == torch.bool for i in args[1]):
        return None
    # A mask stands for its positions, all of them; what stands before it stays.
    shape = [int(n) for n in x.shape]
    place, masked = 0, False
    out: list[int] = []
    chosen = 0
    for index in args[1]:
        if index is None:
            out.append(shape[place])
            place += 1
            continue
        if not masked:
            chosen = len(out)
            out.append(1)
            masked = True
        if index.dtype == torch.bool:
            out[chosen] = max(out[chosen], index.numel())
            place += index.dim()
        else:
            out[chosen] = max(out[chosen], index.numel())
            place += 1
    return torch.empty((*out, *shape[place:]), dtype=x.dtype, device="meta")


def _masked_select(x: Tensor, args: Sequence[Any], kwargs: Any) -> Tensor:
    return torch.empty((x.numel(),), dtype=x.dtype, device="meta")


_BOUNDED: dict[str, Any] = {
    "aten.nonzero": _nonzero,
    "torchvision.nms": _kept_boxes,
    "aten._unique2": _unique,
    "aten.index": _masked,
    "aten.masked_select": _masked_select,
    "aten._local_scalar_dense": lambda x, args, kwargs: None,
}

_TOLD = {
    "aten.nonzero": "every one of up to {:,} candidates passes its threshold",
    "torchvision.nms": "non-maximum suppression keeps all of up to {:,} boxes",
    "aten._unique2": "up to {:,} items share one group",
    "aten.index": "a mask chooses all of up to {:,} places",
    "aten.masked_select": "a mask chooses all of up to {:,} values",
}
