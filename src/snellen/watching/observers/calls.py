"""The order in which a loop calls what it must call: the CALLS table.

zero_grad and step of the optimizer are seen as they are called, recorded as the loop reports a step, forward by a hook
on the model, backward by the arrival of gradients. Schedulers and scalers are not given to the watch: they are found
among the live objects (`watching.bystanders`) and followed by their counters; a scaler's unscale_ is wrapped,
because its order against clipping matters. Clipping is a free function, so it is known by its trace: gradients were
written to (their version counter moved) after backward left them. Cleared gradients that no zero_grad of the optimizer
explains (`model.zero_grad()`, `p.grad = None`) count as zero_grad at the moment they are met.

A sequence runs from one step of its optimizer to the next. A part that repeats, as when gradients of several batches
add up, is written once.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

from snellen.watching.bystanders import FIRST_STEP, START
from snellen.watching.models import roots
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.optimizer_probe import evenly

PROBES = 4
"""Parameters of each optimizer whose gradient is followed, spread evenly over what it holds."""
LONGEST_PART = 4
"""Longest part of a sequence that is looked for as a repeat: forward, backward, recorded, and one more."""


class Calls:
    """Follows the order of calls, for each optimizer by itself."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sides: list[_Side] = []
        self._handles: list[RemovableHandle] = []
        self._wrappers: list[_Wrapper] = []
        self._seen: list[dict[str, list[int]]] = []

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hook the models, a few parameters and the optimizers; wrap one method of each optimizer and scaler."""
        hook = self._context.hook
        self._sides = [_Side(o) for o in optimizers]
        self._seen = self._seen or [{} for _ in optimizers]
        for _, root in roots(model):
            ids = {id(p) for p in root.parameters()}
            mine = [side for side in self._sides if side.ids & ids] or self._sides
            self._handles.append(root.register_forward_pre_hook(hook("calls", self._forward(mine))))
        for index, side in enumerate(self._sides):
            for p in side.probes:
                self._handles.append(p.register_hook(hook("calls", side.arriving)))
                self._handles.append(p.register_post_accumulate_grad_hook(hook("calls", side.arrived)))
            before, after = self._before_step(index), self._after_step(index)
            self._handles.append(side.optimizer.register_step_pre_hook(self._context.step_hook("calls", before)))
            self._handles.append(side.optimizer.register_step_post_hook(hook("calls", after)))
            self._wrap(side.optimizer, "zero_grad", side.about_to_clear, side.cleared)
        self._find(START)

    def _wrap(self, owner: Any, method: str, before: Callable[..., None], after: Callable[..., None]) -> None:
        hook = self._context.hook
        self._wrappers.append(_Wrapper(owner, method, hook("calls", before), hook("calls", after)))

    def _find(self, moment: str) -> None:
        """Follow the schedulers and scalers that have come to belong to our optimizers."""
        owners = {id(side.optimizer): side for side in self._sides}
        wrapped = {id(w.owner) for w in self._wrappers}
        for scheduler in self._context.bystanders.alive(LRScheduler, moment):
            side = owners.get(id(getattr(scheduler, "optimizer", None)))
            if side is not None:
                side.follow(scheduler)
        for scaler in self._context.bystanders.alive(GradScaler, moment):
            if scaler.is_enabled() and id(scaler) not in wrapped:
                for side in self._sides:
                    side.scalers.append([scaler, None])
                self._wrap(scaler, "unscale_", self._about_to_unscale, self._unscaled)

    def _about_to_unscale(self, optimizer: Any) -> None:
        for side in self._sides:
            if side.is_of(optimizer):
                side.look()
                side.add("unscale")

    def _unscaled(self, optimizer: Any) -> None:
        for side in self._sides:
            if side.is_of(optimizer):
                side.remember()

    def _forward(self, sides: list["_Side"]) -> Any:
        def before(module: nn.Module, inputs: Any) -> None:
            if torch.is_grad_enabled():
                for side in sides:
                    side.look()
                    side.add("forward")

        return before

    def _before_step(self, index: int) -> Any:
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            side = self._sides[index]
            side.look()
            side.add("step")
            sequence, side.now = ", ".join(side.now), []
            self._seen[index].setdefault(sequence, [self._context.step, 0])[1] += 1

        return before

    def _after_step(self, index: int) -> Any:
        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            self._sides[index].remember()

        return after

    def batch(self, batch: Batch) -> None:
        """The loop reported a step."""
        if batch.phase == "training":
            for side in self._sides:
                side.look()
                side.add("recorded")
            if batch.step == 0:
                self._find(FIRST_STEP)  # what was made after the watch

    def detach(self) -> None:
        """Take hooks and wrappers off."""
        for handle in self._handles:
            handle.remove()
        for wrapper in self._wrappers:
            wrapper.remove()
        self._handles, self._wrappers = [], []

    def facts(self) -> Mapping[str, Any]:
        """Rows of CALLS, the most frequent sequence of each optimizer first."""
        rows = [
            {"optimizer": index, "sequence": sequence, "first_step": first, "steps": steps}
            for index, seen in enumerate(self._seen)
            for sequence, (first, steps) in seen.items()
        ]
        return {"calls": sorted(rows, key=lambda row: (row["optimizer"], -row["steps"], row["first_step"]))}

    def state_dict(self) -> dict[str, Any]:
        """The sequences so far."""
        return {"seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on."""
        self._seen = [{sequence: list(n) for sequence, n in seen.items()} for seen in state["seen"]]


class _Side:
    """One optimizer: what happened since its last step, and the versions of its gradients as they were last known."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        self.probes = [held[i] for i in evenly(len(held), PROBES)]
        self.ids = {id(p) for p in held}
        self.now: list[str] = []
        self.versions: dict[int, int] = {}
        """Of the probes that have a gradient."""
        self.scalers: list[list[Any]] = []
        """Each with its record of what was done for each optimizer, when last seen."""
        self._schedulers: list[tuple[LRScheduler, list[Any]]] = []
        self._writes: dict[str, str] = {}

    def is_of(self, optimizer: Any) -> bool:
        """Whether this is the side of `optimizer`, or of the one it wraps."""
        return optimizer is self.optimizer or getattr(optimizer, "optimizer", None) is self.optimizer

    def follow(self, scheduler: LRScheduler) -> None:
        """Note the steps of `scheduler` from now on."""
        if all(known is not scheduler for known, _ in self._schedulers):
            self._schedulers.append((scheduler, [scheduler.last_epoch]))

    def add(self, call: str) -> None:
        """Append `call`, unless it repeats the one before or completes the repeat of a part."""
        now = self.now
        now.append(call)
        for length in range(1, min(LONGEST_PART, len(now) // 2) + 1):
            if now[-length:] == now[-2 * length : -length]:
                del now[-length:]
                return

    def look(self) -> None:
        """Note what has happened since the last look and shows only in its traces."""
        for known in self.scalers:
            states = known[0]._per_optimizer_states
            if states is not known[1]:  # an update makes a new record
                if known[1] is not None:
                    self.add("scaler_update")
                known[1] = states
        self._look_at_gradients()
        for scheduler, last in self._schedulers:
            if scheduler.last_epoch != last[0]:
                last[0] = scheduler.last_epoch
                self.add("scheduler")

    def _look_at_gradients(self) -> None:
        for parameter in self.probes:
            version = self.versions.get(id(parameter))
            if version is None:
                continue
            gradient = parameter.grad
            if gradient is None:
                self.versions.clear()
                self.add("zero_grad")
                return
            if gradient._version != version:
                self.remember()
                self.add(self._what_wrote(gradient))
                return

    def _what_wrote(self, gradient: Tensor) -> str:
        """zero_grad when the gradient is 0 now, else clip. Read from the device once for each place in a sequence."""
        place = ", ".join(self.now)
        if place not in self._writes:
            empty = gradient.layout == torch.strided and not gradient.detach().any()
            self._writes[place] = "zero_grad" if empty else "clip"
        return self._writes[place]

    def remember(self) -> None:
        """Take the gradients as they are for what they should be."""
        self.versions = {id(p): p.grad._version for p in self.probes if p.grad is not None}

    def arriving(self, gradient: Tensor) -> None:
        """A gradient is about to be added to that of a parameter."""
        if not self.now or self.now[-1] != "backward":
            self._look_at_gradients()

    def arrived(self, parameter: Tensor) -> None:
        """A gradient was added to that of `parameter`."""
        if parameter.grad is not None:
            self.versions[id(parameter)] = parameter.grad._version
        if not self.now or self.now[-1] != "backward":
            self.add("backward")

    def about_to_clear(self, *args: Any, **kwargs: Any) -> None:
        """zero_grad of the optimizer was called."""
        self.look()
        self.add("zero_grad")

    def cleared(self, *args: Any, **kwargs: Any) -> None:
        """zero_grad of the optimizer returned."""
        self.remember()


class _Wrapper:
    """Stands in for one method of one object. Copies and pickles of the object carry the method itself."""

    def __init__(self, owner: Any, method: str, before: Callable[..., None], after: Callable[..., None]) -> None:
        self.owner, self.method, self.before, self.after = owner, method, before, after
        self.inner = getattr(owner, method)
        self.had = owner.__dict__.get(method)
        functools.update_wrapper(self, self.inner)  # some ask for the signature of what they call
        setattr(owner, method, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.before(*args, **kwargs)
        try:
            return self.inner(*args, **kwargs)
        finally:
            self.after(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (self.owner, self.method))

    def remove(self) -> None:
        """Put the method back, unless somebody has put another in our place."""
        if self.owner.__dict__.get(self.method) is not self:
            return
        if self.had is None:
            delattr(self.owner, self.method)
        else:
            setattr(self.owner, self.method, self.had)
