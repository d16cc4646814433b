"""Parameters that the model uses and does not know of, and attempts to freeze that did nothing."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.observers.observer import Batch, Context

ALIKE = 0.85
"""Similarity (difflib, 0..1) from which an attribute was meant as `requires_grad`: require_grad has 0.96."""
DEEPEST = 3
"""Lists inside lists that are searched for layers."""
MOST = 4096
"""Elements of one list that are looked at."""
OWN = frozenset(vars(nn.Module()))
"""Attributes that every module has: its registers and hooks."""


class Structure:
    """Events: `unregistered-parameter` (layer: attribute that holds it; value: its number of elements), where gradients
    arrive at a parameter that neither the model nor an optimizer knows; `freeze-without-effect` (layer: parameter or
    module; message: the attribute that was set); `frozen-statistics-moved` (layer: batch norm whose weights are frozen
    and whose running statistics were updated)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Look through the model. No hook is needed."""
        known = {id(p) for p in model.parameters()}
        self._optimizers = list(optimizers)
        self._hidden: dict[int, tuple[str, Tensor]] = {}
        for name, module in model.named_modules():
            for attribute, value in vars(module).items():
                if attribute not in OWN:
                    for path, leaf in _leaves(value, ".".join(filter(None, (name, attribute))), 0):
                        if id(leaf) not in known:
                            self._hidden.setdefault(id(leaf), (path, leaf))
        self._frozen = {
            name: (module, module.running_mean.clone())
            for name, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and module.running_mean is not None
            and module.affine
            and not any(p.requires_grad for p in module.parameters())
        }
        self._meant = list(_frozen_in_vain(model))
        self._events: dict[tuple[str, str], dict[str, Any]] = {}

    def batch(self, batch: Batch) -> None:
        """Gradients that arrived at hidden parameters; nobody clears them, so that any later look finds them too."""
        if not batch.sampled or not self._hidden:
            return
        held = {id(p) for o in self._optimizers for group in o.param_groups for p in group["params"]}
        for key, (path, leaf) in self._hidden.items():
            if leaf.grad is not None and key not in held:
                message = f"{path} receives gradients and is neither in model.parameters() nor in an optimizer"
                self._events.setdefault(
                    ("unregistered-parameter", path),
                    {
                        "step": batch.step,
                        "kind": "unregistered-parameter",
                        "layer": path,
                        "message": message,
                        "value": float(leaf.numel()),
                    },
                )

    def detach(self) -> None:
        """Nothing was put on."""

    def facts(self) -> Mapping[str, Any]:
        """Events."""
        vain = [
            {"step": None, "kind": "freeze-without-effect", "layer": name, "message": message, "value": float(count)}
            for name, message, count in self._meant
        ]
        moved = [
            {
                "step": None,
                "kind": "frozen-statistics-moved",
                "layer": name,
                "message": f"{name} has frozen weights and its running mean was updated",
                "value": float((module.running_mean - start).abs().max()),
            }
            for name, (module, start) in self._frozen.items()
            if module.running_mean is not None
            and not torch.equal(module.running_mean, start.to(module.running_mean.device))
        ]
        return {"events": [*self._events.values(), *vain, *moved]}

    def state_dict(self) -> dict[str, Any]:
        """Events so far."""
        return {"events": [dict(row) for row in self._events.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._events = {(row["kind"], row["layer"]): dict(row) for row in state["events"]}


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Path and tensor of every leaf that asks for a gradient: in lists, dicts, and as a plain attribute."""
    if isinstance(value, Tensor):
        if value.requires_grad and value.is_leaf:
            yield path, value
    elif isinstance(value, nn.Module):
        # A module that is an attribute is registered, or was hidden on purpose past `__setattr__`.
        if depth:
            yield from ((f"{path}.{name}", p) for name, p in value.named_parameters() if p.requires_grad)
    elif depth < DEEPEST and isinstance(value, list | tuple | set | dict):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for (key, item), _ in zip(pairs, range(MOST), strict=False):
            yield from _leaves(item, f"{path}[{key}]", depth + 1)


def _frozen_in_vain(model: nn.Module) -> Iterator[tuple[str, str, int]]:
    """Name, message and number of parameters of what was meant to be frozen and still asks for gradients."""
    for name, parameter in model.named_parameters():
        attribute = _meant_as_freeze(vars(parameter)) if hasattr(parameter, "__dict__") else None
        if attribute and parameter.requires_grad:
            yield name, f"{attribute} = False was set on {name}, whose requires_grad is still True", 1
    for name, module in model.named_modules():
        attribute = _meant_as_freeze({k: v for k, v in vars(module).items() if k not in OWN})
        live = sum(p.requires_grad for p in module.parameters())
        if attribute and live:
            yield name, f"{attribute} = False was set on module {name or 'model'}, which does nothing", live


def _meant_as_freeze(attributes: Mapping[str, Any]) -> str | None:
    for attribute, value in attributes.items():
        if value is False and (
            attribute == "trainable" or difflib.SequenceMatcher(None, attribute, "requires_grad").ratio() >= ALIKE
        ):
            return attribute
    return None
