"""NaN and infinity: the first module and operator that made one of finite values, and the step kept for a replay.

Each step costs one look at the norm of the gradients, before the optimizer would write it into the weights. When it is
not finite the weights are still those of before, so the step is run again on a copy of the model, from the same batch,
weights and random numbers, operator by operator. On an accelerator that look would make the loop wait, and is taken in
sampled steps only; the copy then starts from weights as they are when the loss is read.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.experiments.snapshot import copy_without_hooks, generators_kept
from snellen.watching.captured import Captured, autocast_now, generators_now
from snellen.watching.models import roots
from snellen.watching.nests import named_tensors
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.rerun import Verdict, explain

OWNER = "snellen.watching"
"""Where the hooks come from that the copy is to be without."""
MOST_PASSES = 16
"""Forward passes of one step that are remembered, where gradients of several batches add up."""


class _Pass:
    """One forward pass with gradients since the last recorded step."""

    def __init__(self, root: str, module: nn.Module, args: Any, kwargs: Any, cuda: bool) -> None:
        self.root, self.module, self.args, self.kwargs = root, module, args, kwargs
        self.random, self.autocast = generators_now(cuda), autocast_now()
        self.gradients: dict[int, Tensor] = {}
        self.outputs = 0


class Blame:
    """Finds the origin of the first non-finite value of the run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: list[RemovableHandle] = []
        self._passes: list[_Pass] = []
        self._weights: dict[str, dict[str, Tensor]] | None = None
        self._verdict: Verdict | None = None
        self._captured: Captured | None = None
        self._step = 0

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hook each model before and after its forward pass, and each optimizer before its step."""
        hook = self._context.hook
        self._roots = dict(roots(model))
        self._cuda = any(p.is_cuda for p in model.parameters())
        for name, root in self._roots.items():
            before, after = hook("blame", self._before(name)), hook("blame", self._after)
            self._handles.append(root.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(root.register_forward_hook(after))
        for index, optimizer in enumerate(optimizers):
            self._handles.append(
                optimizer.register_step_pre_hook(self._context.step_hook("blame", self._before_step(index)))
            )

    def _before(self, name: str) -> Any:
        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            if torch.is_grad_enabled() and self._verdict is None:
                del self._passes[: -MOST_PASSES + 1]
                self._passes.append(_Pass(name, module, args, kwargs, self._cuda))

        return before

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if not torch.is_grad_enabled() or not self._passes or self._passes[-1].module is not module:
            return
        one = self._passes[-1]
        tensors = [t for _, t in named_tensors(output)]
        one.outputs = len(tensors)
        for index, t in enumerate(tensors):
            if t.grad_fn is not None and index < MOST_PASSES:
                t.register_hook(self._context.hook("blame", _keep(one, index)))

    def _before_step(self, index: int) -> Any:
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if self._verdict is not None or self._weights is not None:
                return
            norm = self._context.gradient_norm(index)
            if norm is None or not (norm.device.type == "cpu" or self._context.sampled):
                return
            if not math.isfinite(float(norm)):
                self._weights = self._copied()

        return before

    def _copied(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: value.detach().clone() for key, value in root.state_dict().items() if isinstance(value, Tensor)}
            for name, root in self._roots.items()
        }

    def batch(self, batch: Batch) -> None:
        """Explain the step, if something in it was not finite; else forget it."""
        if batch.phase != "training" or self._verdict is not None:
            return
        loss = batch.loss
        value: float | None = None
        if isinstance(loss, Tensor):
            if loss.device.type == "cpu" or self._weights is not None:
                value = float(loss.detach().float().mean())
        elif loss is not None:
            value = float(loss)
        if self._weights is not None or (value is not None and not math.isfinite(value)):
            self._explain(batch, value)
        self._passes = []
        self._weights = None

    def _explain(self, batch: Batch, loss: float | None) -> None:
        weights = self._weights or self._copied()
        for one in self._passes:
            captured = Captured(
                step=batch.step,
                weights=weights[one.root],
                modes=[name for name, module in one.module.named_modules() if module.training],
                args=list(one.args),
                kwargs=dict(one.kwargs),
                random=one.random,
                autocast=one.autocast,
                loss=loss,
                targets=batch.targets,
                gradients=[one.gradients.get(i) for i in range(one.outputs)],
                device=str(next((p.device for p in one.module.parameters()), torch.device("cpu"))),
            )
            with generators_kept():
                verdict = explain(captured, copy_without_hooks(one.module, OWNER), self._context.loss_fn)
            if verdict is None:
                continue
            self._verdict, self._captured, self._step = verdict.within(one.root), captured, batch.step
            if self._context.run_dir is not None:
                captured.save(Path(self._context.run_dir))
            break

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._passes = [], []

    def facts(self) -> Mapping[str, Any]:
        """Events `non-finite` (in place of the recorder's) and `non-finite-operator`."""
        v = self._verdict
        if v is None:
            return {}
        row = {"step": self._step, "layer": v.layer, "value": None}
        events = [{**row, "kind": "non-finite", "message": v.message}]
        if v.operator:
            events.append({**row, "kind": "non-finite-operator", "message": v.operator})
        return {"events": events}

    def state_dict(self) -> dict[str, Any]:
        """The verdict, if there is one."""
        v = self._verdict
        return {} if v is None else {"step": self._step, "verdict": [v.layer, v.message, v.operator]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if "verdict" in state:
            self._step, self._verdict = state["step"], Verdict(*state["verdict"])


def _keep(one: _Pass, index: int) -> Any:
    def keep(gradient: Tensor) -> None:
        one.gradients[index] = gradient.detach()

    return keep
