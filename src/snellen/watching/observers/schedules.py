"""The learning-rate schedulers of the watched optimizers: how often they were stepped, and over what period."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from snellen.watching.bystanders import END, FIRST_STEP, START
from snellen.watching.observers.observer import Batch, Context


class Schedules:
    """Events, one of each for a scheduler: `scheduler-steps` (layer: its class; value: calls of its step() since the
    watch began), `scheduler-start` (value: calls before the watch, where the optimizer remembered nothing yet),
    `scheduler-period` (value: T_max of a cosine schedule), `scheduler-total` and `scheduler-peak` (value: steps that a
    one-cycle schedule was made for, and its highest rate), `scheduler-best-min` and `scheduler-best-max` (value: the
    best number that one which waits for a plateau was given, in that mode)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Note the schedulers there are; those made later are found at the end."""
        self._optimizers = list(optimizers)
        self._start: dict[int, int] = {}
        self._begun: list[tuple[str, int]] = []
        self._found: list[LRScheduler] = []
        self._moment = FIRST_STEP
        for scheduler in self._schedulers(START):
            steps = int(scheduler.last_epoch)
            self._found.append(scheduler)
            self._start[id(scheduler)] = steps
            stateful = any(group.get("betas") or group.get("momentum") for group in scheduler.optimizer.param_groups)
            if steps > 0 and stateful and not scheduler.optimizer.state:
                self._begun.append((type(scheduler).__name__, steps))

    def _schedulers(self, moment: str) -> list[LRScheduler]:
        mine = {id(o) for o in self._optimizers}
        found = self._context.bystanders.alive(LRScheduler, moment)
        # Those inside a SequentialLR or ChainedScheduler are stepped by it.
        inner = {id(part) for s in found for part in getattr(s, "_schedulers", ())}
        return [s for s in found if id(getattr(s, "optimizer", None)) in mine and id(s) not in inner]

    def batch(self, batch: Batch) -> None:
        """Nothing is taken from the batch."""

    def detach(self) -> None:
        """Nothing was put on; what was made during the run is looked for at its end."""
        self._moment = END

    def facts(self) -> Mapping[str, Any]:
        """Events."""
        known = {id(s) for s in self._found}
        self._found += [s for s in self._schedulers(self._moment) if id(s) not in known]
        rows: list[tuple[str, str, float, str]] = []
        for scheduler in self._found:
            name = type(scheduler).__name__
            steps = int(scheduler.last_epoch) - self._start.get(id(scheduler), 0)
            rows.append(("scheduler-steps", name, steps, f"{name}.step() was called {steps} times"))
            if isinstance(scheduler, CosineAnnealingLR):
                period = float(scheduler.T_max)
                rows.append(("scheduler-period", name, period, f"T_max of {name} is {period:g}"))
            if isinstance(scheduler, OneCycleLR):
                total, peak = float(scheduler.total_steps), max(g["max_lr"] for g in scheduler.optimizer.param_groups)
                rows.append(("scheduler-total", name, total, f"{name} was made for {total:g} steps"))
                rows.append(("scheduler-peak", name, peak, f"{name} rises to {peak:g}"))
            if isinstance(scheduler, ReduceLROnPlateau) and math.isfinite(best := float(scheduler.best)):
                message = f"{name} in mode {scheduler.mode} takes {best:.6g} for the best"
                rows.append((f"scheduler-best-{scheduler.mode}", name, best, message))
        for name, count in self._begun:
            message = f"{name} had been stepped {count} times before, and the optimizer remembered nothing"
            rows.append(("scheduler-start", name, count, message))
        return {
            "events": [
                {"step": None, "kind": kind, "layer": name, "message": message, "value": float(value)}
                for kind, name, value, message in rows
            ]
        }

    def state_dict(self) -> dict[str, Any]:
        """Nothing: schedulers carry their own count."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on from."""
