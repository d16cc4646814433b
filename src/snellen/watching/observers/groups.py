"""What the optimizers hold and with which options, and what became of each parameter: GROUPS and PARAMETERS."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.files import plain_json
from snellen.watching.observers.observer import Batch, Context

LOOKS = 3
"""Steps from the start in whose forward passes it is seen which modules are called."""


class Groups:
    """Describes groups and parameters before the first step, and the norms of the parameters at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: list[RemovableHandle] = []
        self._model: nn.Module | None = None
        self._groups: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._called: set[str] = set()
        self._ran: set[str] = set()
        self._start: Tensor | None = None
        """Per tensor: norm, standard deviation, and whether all rows are equal."""

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Look at every group and parameter; hook each module that owns a parameter, for the first steps."""
        self._model = model
        if not self._rows:
            self._describe(model, optimizers)
        if self._context.step >= LOOKS:
            return
        hook = self._context.hook
        for name, module in model.named_modules():
            if module._parameters:
                self._handles.append(module.register_forward_pre_hook(hook("groups", self._call(name))))

    def _describe(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        names = {id(p): name for name, p in model.named_parameters()}
        places: dict[int, int] = {}
        for index, optimizer in enumerate(optimizers):
            for number, group in enumerate(optimizer.param_groups):
                held = group["params"]
                for p in held:
                    places[id(p)] = places.get(id(p), 0) + 1
                self._groups.append(
                    {
                        "optimizer": index,
                        "kind": type(optimizer).__name__,
                        "group": number,
                        "parameters": sum(p.numel() for p in held if _is_made(p)),
                        "tensors": [names.get(id(p), "?") for p in held],
                        "options": json.dumps(_options(group)),
                    }
                )
        owners = {id(p): type(m).__name__ for m in model.modules() for p in m._parameters.values() if p is not None}
        numbers = []
        for name, p in model.named_parameters():
            made = _is_made(p)
            self._rows.append(
                {
                    "name": name,
                    "layer": owners[id(p)],
                    "shape": list(p.shape) if made else [],
                    "trainable": p.requires_grad,
                    "optimizers": places.get(id(p), 0),
                }
            )
            numbers.append(_measured(p.detach()) if made else torch.full((3,), math.nan))
        if numbers:
            device = numbers[0].device
            self._start = torch.stack([n.to(device) for n in numbers])

    def _call(self, name: str) -> Any:
        def called(module: nn.Module, inputs: Any) -> None:
            self._ran.add(name)
            if torch.is_grad_enabled():
                self._called.add(name)

        return called

    def batch(self, batch: Batch) -> None:
        """After the first steps it is known which modules take part."""
        if batch.step >= LOOKS - 1 and self._handles:
            self._release()

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def detach(self) -> None:
        """Take the hooks off."""
        self._release()

    def facts(self) -> Mapping[str, Any]:
        """Rows of GROUPS and PARAMETERS."""
        if self._model is None or self._start is None:
            return {"groups": self._groups}
        start = self._start.tolist()
        tensors = [p.detach() for _, p in self._model.named_parameters()]
        now = [torch.full((), math.nan) if not _is_made(p) else _norm(p) for p in tensors]
        end = torch.stack([n.to(now[0].device) for n in now]).tolist()
        rows = []
        for row, (norm, std, equal), last in zip(self._rows, start, end, strict=False):
            module, _, _ = row["name"].rpartition(".")
            rows.append(
                {
                    **row,
                    "called": module in self._called,
                    "ran": module in self._ran,
                    "start_norm": norm,
                    "end_norm": last,
                    "start_std": std,
                    "moved": last != norm,
                    "equal_rows": None if math.isnan(equal) else bool(equal),
                }
            )
        return {"groups": self._groups, "parameters": rows}

    def state_dict(self) -> dict[str, Any]:
        """What was described before the first step, and which modules were called."""
        start = None if self._start is None else self._start.tolist()
        called = {"called": sorted(self._called), "ran": sorted(self._ran)}
        return {"groups": self._groups, "rows": self._rows, "start": start, **called}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._groups = [dict(row) for row in state["groups"]]
        self._rows = [dict(row) for row in state["rows"]]
        self._start = None if state["start"] is None else torch.tensor(state["start"])
        self._called = set(state["called"])
        self._ran = set(state.get("ran", state["called"]))


def _is_made(p: Tensor) -> bool:
    return not isinstance(p, nn.parameter.UninitializedParameter)


def _norm(p: Tensor) -> Tensor:
    return torch.linalg.vector_norm(p.abs() if p.is_complex() else p, dtype=torch.float32)


def _measured(p: Tensor) -> Tensor:
    """L2 norm, population standard deviation, and 1 where all rows are equal, 0 where not, NaN for a single row."""
    values = (p.abs() if p.is_complex() else p).float()
    if p.dim() < 2 or len(p) < 2 or not values[0].numel():
        equal = torch.full((), math.nan, device=p.device)
    else:
        equal = (values == values[:1]).all().float()
    std = values.std(unbiased=False) if values.numel() else torch.zeros((), device=p.device)
    return torch.stack([_norm(p), std, equal])


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    plain = {
        key: float(value) if isinstance(value, Tensor) else value
        for key, value in group.items()
        if key != "params" and isinstance(value, int | float | bool | str | Tensor | tuple | list | None)
    }
    result: dict[str, Any] = plain_json(plain, str)
    return result
