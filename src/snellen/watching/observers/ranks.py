"""What is known of other processes that train the same model, without talking to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.bystanders import START
from snellen.watching.hooks import Hook
from snellen.watching.models import roots
from snellen.watching.observers.observer import Batch, Context


class Ranks:
    """Events, in a process group of two or more: `distributed` (value: its size); `wrapper-bypassed` (value: training
    passes of a module whose DistributedDataParallel wrapper was never called).

    It never starts a collective operation: a watch that runs on one rank alone would wait for ever.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put counters on wrappers and what they wrap."""
        self._calls = {"wrapper": 0, "module": 0}
        self._handles: list[RemovableHandle] = []
        self._world = 1
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        self._world = distributed.get_world_size()
        mine = {id(m) for _, m in roots(model)} | {
            id(m.module) for _, m in roots(model) if isinstance(m, DistributedDataParallel)
        }
        for wrapper in self._context.bystanders.alive(DistributedDataParallel, START):
            if id(wrapper) in mine or id(wrapper.module) in mine:
                self._handles.append(wrapper.register_forward_pre_hook(self._counter("wrapper")))
                self._handles.append(wrapper.module.register_forward_pre_hook(self._counter("module")))

    def _counter(self, what: str) -> Hook:
        def count(module: nn.Module, inputs: Any) -> None:
            if torch.is_grad_enabled():
                self._calls[what] += 1

        return Hook("ranks", count, self._context.ledger)

    def batch(self, batch: Batch) -> None:
        """Nothing is taken from the batch."""

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Events."""
        events = []
        if self._world > 1:
            message = f"{self._world} processes train together"
            events.append(
                {"step": None, "kind": "distributed", "layer": None, "message": message, "value": float(self._world)}
            )
        if self._calls["module"] and not self._calls["wrapper"]:
            message = "the module was called and the DistributedDataParallel that wraps it was not"
            count = float(self._calls["module"])
            events.append({"step": 0, "kind": "wrapper-bypassed", "layer": None, "message": message, "value": count})
        return {"events": events}

    def state_dict(self) -> dict[str, Any]:
        """Calls so far."""
        return {"calls": dict(self._calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._calls = dict(state["calls"])
