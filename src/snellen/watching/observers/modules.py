"""A census of the modules: what they are, and in which order and how often the first forward pass called them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

SETTINGS = (
    "p", "momentum", "eps", "num_features", "normalized_shape", "kernel_size", "stride", "padding_idx", "embedding_dim",
    "in_features", "out_features", "in_channels", "out_channels", "hidden_size", "num_heads", "embed_dim", "affine",
    "track_running_stats", "bidirectional", "batch_first",
)  # fmt: skip
"""Attributes that are kept where they are plain values; beside them `evens`: the axis a hand-written norm evens."""
DEFAULT_SPREAD = 0.1
"""Relative distance of a weight's std from that of torch's default; 64 uniform numbers are within 0.1 of it."""
FEWEST_PLACES = 4
"""Places of a sequence from which a mean over them says something."""
EVEN = 1e-3
"""Distance from 0 of a mean that was taken out: float32, and an epsilon under the root."""
FEWEST = 64
"""Numbers in a weight from which its distribution can be told."""


class Census:
    """Rows of the table of modules."""

    def __init__(self, model: nn.Module) -> None:
        names: dict[int, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            names.setdefault(id(module), []).append(name)
        self._rows = {name: _describe(name, module, names[id(module)][1:]) for name, module in model.named_modules()}
        self.padding_idx = next(
            (m.padding_idx for m in model.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None), None
        )
        self.done = False
        """Whether the first look is over."""
        self._count = 0
        self._weighted = 0
        self._last: dict[str, tuple[Any, int]] = {}
        self._chained: dict[str, bool] = {}
        self._given: dict[str, Tensor] = {}
        """First inputs of modules that are registered more than once, until the first look is over."""
        self._again: set[str] = set()

    def begins(self, name: str, module: nn.Module, x: Tensor | None) -> None:
        """`module` is called with `x`, during the first look."""
        row = self._rows.get(name)
        if row is None:
            return
        shape = None if x is None else list(x.shape)
        same = row["same_as"] and x is not None and not self.done and self._given.setdefault(name, x) is x
        if same and row["calls"]:
            self._again.add(name)
        if row["order"] is None:
            row |= {"order": self._count, "input_shape": shape, "training": module.training}
            self._count += 1
        else:
            given, weighted = self._last.get(name, (None, -1))
            # Nothing with weights ran in between and the shape fits: it got, perhaps activated, what it gave before.
            linked = given is not None and given == shape and weighted == self._weighted
            self._chained[name] = self._chained.get(name, True) and linked
        row["calls"] += 1

    def ends(self, name: str, module: nn.Module, y: Tensor | None) -> None:
        """`module` gave `y`."""
        row = self._rows.get(name)
        if row is None:
            return
        self._weighted += any(p.dim() > 1 for p in module._parameters.values() if p is not None)
        shape = None if y is None else list(y.shape)
        if row["output_shape"] is None:
            row["output_shape"] = shape
            if self._weighted and y is not None and evens_places(module, y):
                row["settings"] = json.dumps({**json.loads(row["settings"]), "evens": 1})
        self._last[name] = (shape, self._weighted)

    def note(self, layer: str, operator: str, about: Mapping[str, Any]) -> None:
        """An operator called as a function inside `layer`."""
        name = f"{layer}:{operator}"
        if name not in self._rows:
            settings = {k: v for k, v in about.items() if k != "output"}
            self._rows[name] = _empty(name, operator) | {
                "order": self._count,
                "calls": 0,
                "output_shape": about.get("output"),
                "settings": json.dumps(settings),
            }
            self._count += 1
        if not self.done:
            self._rows[name]["calls"] += 1

    def complete(self) -> None:
        """The first look is over."""
        self.done = True
        self._given = {}

    def trained(self, name: str) -> bool:
        """Whether that module ran in train() mode."""
        return bool(self._rows[name]["training"]) if name in self._rows else False

    def rows(self) -> list[dict[str, Any]]:
        """Rows for `watching.facts.MODULES`."""
        return [
            row | {"chained": self._chained.get(name, False), "same_input": name in self._again}
            for name, row in self._rows.items()
        ]

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the rows of an earlier part of the run."""
        self._rows = {row["name"]: dict(row) for row in rows}
        self._chained = {row["name"]: row["chained"] for row in rows}
        self._again = {row["name"] for row in rows if row.get("same_input")}
        self.done = any(row["calls"] for row in rows)


def _empty(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "order": None, "calls": 0, "input_shape": None, "output_shape": None,
        "parameters": 0, "trainable": None, "training": None, "settings": "{}", "same_as": [], "default_start": None,
    }  # fmt: skip


def _describe(name: str, module: nn.Module, others: list[str]) -> dict[str, Any]:
    own = [p for p in module._parameters.values() if p is not None]
    lazy = any(isinstance(p, nn.parameter.UninitializedParameter) for p in own)
    settings = dict(_plain(module))
    return _empty(name, type(module).__name__) | {
        "parameters": 0 if lazy else sum(p.numel() for p in own),
        "trainable": any(p.requires_grad for p in own) if own else None,
        "settings": json.dumps(settings),
        "same_as": others,
        "default_start": None if lazy else follows_default(module),
    }


def _plain(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for key in SETTINGS:
        value = getattr(module, key, None)
        if isinstance(value, int | float | str):
            yield key, value
        elif isinstance(value, tuple | list) and all(isinstance(v, int | float) for v in value):
            yield key, list(value)


def evens_places(module: nn.Module, y: Tensor) -> bool:
    """Whether a hand-written norm with a weight for each feature gave (N, T, D) of mean 0 and deviation 1 over T."""
    own = [p for p in module._parameters.values() if p is not None]
    if not own or type(module).__module__.startswith("torch.nn") or y.dim() != 3 or y.shape[1] < FEWEST_PLACES:
        return False
    if any(p.dim() != 1 or len(p) != y.shape[2] for p in own) or not y.is_floating_point():
        return False
    some = y.detach()[:4].float()
    over, along = some.mean(1).abs().amax(), (some.std(1, correction=0) - 1).abs().amax()
    return bool((over < EVEN) & (along < 10 * EVEN) & (some.mean(2).abs().amax() > 10 * EVEN))


def follows_default(module: nn.Module) -> bool | None:
    """Whether a linear layer's or convolution's weight is spread as `reset_parameters` leaves it: uniform within
    1/sqrt(fan_in), its largest number close to that bound. None for other modules and for few numbers."""
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or not isinstance(module.weight, Tensor):
        return None
    weight = module.weight.detach()
    if weight.numel() < FEWEST or weight.is_meta or not weight.is_floating_point():
        return None
    bound = (weight.shape[1] * weight[0, 0].numel()) ** -0.5
    largest, spread = torch.stack([weight.float().abs().max(), weight.float().std()]).tolist()
    inside = 0.9 * bound <= largest <= 1.01 * bound
    return bool(inside and abs(spread / (bound / 3**0.5) - 1) <= DEFAULT_SPREAD)
