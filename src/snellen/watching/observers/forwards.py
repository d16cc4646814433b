"""In which mode the model ran, in training and in validation: the FORWARDS table."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.models import roots
from snellen.watching.nests import named_tensors
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.probes import sensitive_to_mode

MOST_OUTPUTS = 16
"""Tensors of an output that are looked at."""
MOST_OPEN = 256
"""Passes with gradients whose backward is waited for; in longer rows the older half had none."""


class Forwards:
    """Counts forward passes by phase and mode.

    Without gradients a pass is validation. With gradients it is training when a backward pass reached its output before
    the loop reported the step, and else unused: validation without `torch.no_grad`, or an output that was detached.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: list[RemovableHandle] = []
        self._rows: dict[tuple[str, bool], list[int]] = {}
        self._open: list[_Pass] = []
        self._sensitive: dict[int, list[nn.Module]] = {}

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hook each model."""
        hook = self._context.hook("forwards", self._after)
        self._handles = [root.register_forward_hook(hook) for _, root in roots(model)]
        self._sensitive = {id(root): sensitive_to_mode(root) for _, root in roots(model)}

    def _after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            self._count("validation", module.training and self._acts_so(module), self._context.step)
            return
        one = _Pass(module.training, self._context.step)
        self._open.append(one)
        for _, y in islice(named_tensors(output), MOST_OUTPUTS):
            if y.grad_fn is not None:
                y.register_hook(self._context.hook("forwards", one.reached))
        if len(self._open) > MOST_OPEN:
            self._settle(self._open[: MOST_OPEN // 2])
            del self._open[: MOST_OPEN // 2]

    def _acts_so(self, root: nn.Module) -> bool:
        """Whether a layer of `root` acts in train() mode: a backbone that was put in eval() may be all that can."""
        layers = self._sensitive[id(root)]
        return not layers or any(layer.training for layer in layers)

    def batch(self, batch: Batch) -> None:
        """The loop reported a step: what backward has not reached by now it will not reach."""
        if batch.phase == "training":
            self._settle(self._open)
            self._open = []

    def _settle(self, passes: Sequence["_Pass"]) -> None:
        for one in passes:
            self._count("training" if one.met else "unused", one.training, one.step)

    def _count(self, phase: str, training: bool, step: int) -> None:
        self._rows.setdefault((phase, training), [step, 0])[1] += 1

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._settle(self._open)
        self._open = []

    def facts(self) -> Mapping[str, Any]:
        """Rows of FORWARDS."""
        rows = [
            {"phase": phase, "training_mode": training, "first_step": first, "calls": calls}
            for (phase, training), (first, calls) in self._rows.items()
        ]
        return {"forwards": rows}

    def state_dict(self) -> dict[str, Any]:
        """The counts so far."""
        return {"rows": [[phase, training, *numbers] for (phase, training), numbers in self._rows.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on."""
        self._rows = {(phase, training): numbers for phase, training, *numbers in state["rows"]}


class _Pass:
    """One forward pass with gradients."""

    def __init__(self, training: bool, step: int) -> None:
        self.training, self.step, self.met = training, step, False

    def reached(self, gradient: Tensor) -> None:
        """Backward came to the output."""
        self.met = True
