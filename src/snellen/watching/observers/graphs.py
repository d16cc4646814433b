"""The graphs that backward runs through: whether the loss has one, and whether old ones stay alive."""

import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.hooks import Hook
from snellen.watching.models import roots
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.optimizer_state import looked_at
from snellen.watching.probes import first_tensor

WINDOW = 256
"""Graphs of the latest steps that are looked after."""
LOOK = 16
"""Steps between two counts of those still alive."""
MOST_NODES = 20_000
"""Nodes of a graph that are counted."""


class _Mark:
    """Hangs on a node of a graph and dies with it."""

    __slots__ = ("__weakref__",)

    def __call__(self, *gradients: Any) -> None:
        """As a hook of the node: leaves the gradients alone."""


class Graphs:
    """Signals of layer "": `live_graphs`, graphs of earlier steps still in memory; `marked_graphs`, out of how many;
    `graph_nodes`, nodes behind the output. Event: `loss-is-leaf` (value: at
    how many steps the loss was a tensor made anew, with requires_grad set and no graph)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put a hook on each model."""
        self._marks: deque[weakref.ref[_Mark]] = deque(maxlen=WINDOW)
        self._marked = False
        self._rows: list[dict[str, Any]] = []
        self._leaves = [0, 0]
        hook = Hook("graphs", self._after_forward, self._context.ledger)
        self._handles: list[RemovableHandle] = [m.register_forward_hook(hook) for _, m in roots(model)]

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._marked or not torch.is_grad_enabled():
            return
        y = first_tensor(output)
        if y is not None and y.grad_fn is not None:
            # One graph a step: a recurrent cell is called many times, and all its graphs live until backward.
            self._marked = True
            mark = _Mark()
            y.grad_fn.register_hook(mark)
            self._marks.append(weakref.ref(mark))
            if looked_at(self._context.step + 1):
                self._add(self._context.step, "graph_nodes", _nodes(y.grad_fn))

    def batch(self, batch: Batch) -> None:
        """Count what is alive."""
        if batch.phase != "training":
            return
        self._marked = False
        if (batch.step + 1) % LOOK == 0 and self._marks:
            self._add(batch.step, "live_graphs", sum(mark() is not None for mark in self._marks))
            self._add(batch.step, "marked_graphs", len(self._marks))
        loss = batch.loss
        if isinstance(loss, Tensor) and loss.requires_grad and loss.is_leaf:
            self._leaves = [self._leaves[0] if self._leaves[1] else batch.step, self._leaves[1] + 1]

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Signals and events."""
        message = "the loss is a new tensor with requires_grad set by hand: no graph leads from it to the model"
        first, count = self._leaves
        leaf = {"step": first, "kind": "loss-is-leaf", "layer": None, "message": message, "value": float(count)}
        return {"signals": list(self._rows), "events": [leaf] if count else []}

    def state_dict(self) -> dict[str, Any]:
        """Rows so far."""
        return {"rows": [dict(row) for row in self._rows], "leaves": list(self._leaves)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._rows, self._leaves = [dict(row) for row in state["rows"]], list(state["leaves"])

    def _add(self, step: int, signal: str, value: float) -> None:
        self._rows.append({"step": step, "layer": "", "signal": signal, "value": float(value)})


def _nodes(end: Any) -> int:
    """Number of nodes from `end` back to the leaves, at most `MOST_NODES`."""
    seen, waiting = {end}, [end]
    while waiting and len(seen) < MOST_NODES:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    return len(seen)
