"""How many backward passes make one step, and whether the loss of each was divided by their number."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.models import roots
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.optimizer_state import looked_at
from snellen.watching.probes import first_tensor

ALIKE = 1e-3
"""Relative difference within which the loss that the loop reports is that of the loss function."""
MOST_PASSES = 256
"""Of one step whose gradients at the output are looked at."""
USUAL: tuple[Callable[..., Tensor], ...] = (
    F.cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.nll_loss,
)  # fmt: skip
"""Losses that are tried where the loop did not name its own."""


class Accumulation:
    """Signals of layer "": `backwards`, passes whose gradients one step of the first optimizer adds up, each with its
    own forward pass; `loss_weight`, ||dL/doutput|| as it came over what the loss function's own derivative gives: 1 for
    a loss as it is, 1/k for one divided by k. The second needs targets, outputs, one optimizer, and loss_fn or one of
    the usual losses; without loss_fn each pass is reported as a step, or there are three or more of one shape. Event
    `passes-erased` (value: steps before which gradients of some backward passes were cleared and nothing but those of
    the last was stepped with, the weights being the same throughout; layer: passes of each such step, at the most)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[dict[str, Any]] = []
        self._handles: list[RemovableHandle] = []
        self._erased = {"first": 0, "steps": 0, "passes": 0}

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put hooks on each model, one parameter and the optimizer."""
        self._forwards = self._added = self._count = self._reported = self._reports = 0
        self._stepped = False
        self._arrivals, self._version = 0, -1
        self._kept: tuple[int, int] | None = None
        self._asked = False
        self._pulls: list[tuple[torch.Size, Tensor]] = []
        self._mine = len(optimizers) == 1
        held = [p for group in optimizers[0].param_groups for p in group["params"] if p.requires_grad]
        if not self._mine or not held:
            return
        self._parameter = held[-1]
        hook = self._context.hook
        self._handles = [
            *(m.register_forward_hook(hook("accumulation", self._after_forward)) for _, m in roots(model)),
            self._parameter.register_hook(hook("accumulation", self._arrived)),
            self._parameter.register_post_accumulate_grad_hook(hook("accumulation", self._stored)),
            optimizers[0].register_step_pre_hook(self._context.step_hook("accumulation", self._before_step)),
        ]

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        self._forwards += 1
        x = first_tensor(inputs)
        # An attack or a saliency map asks for the input's gradient; that of the weights is thrown away on purpose.
        self._asked |= x is not None and x.requires_grad and x.is_leaf
        y = first_tensor(output)
        if looked_at(self._context.step + 1) and y is not None and y.requires_grad:
            y.register_hook(self._context.hook("accumulation", self._pulled))

    def _pulled(self, gradient: Tensor) -> None:
        if len(self._pulls) < MOST_PASSES:
            self._pulls.append((gradient.shape, gradient.detach().float().norm()))

    def _arrived(self, gradient: Tensor) -> None:
        self._added = 1 if self._parameter.grad is None else self._added + 1
        # Weights moved in between, as in sharpness-aware or line-search methods, begin a new count.
        self._arrivals = self._arrivals + 1 if self._parameter._version == self._version else 1
        self._version = self._parameter._version

    def _stored(self, parameter: Tensor) -> None:
        self._kept = None if parameter.grad is None else (id(parameter.grad), parameter.grad._version)

    def _look_for_erased(self) -> None:
        """Passes whose gradient is gone, and no other that was made of them was put in its place."""
        gradient, kept = self._parameter.grad, self._kept
        passes, self._arrivals, self._kept = self._arrivals, 0, None
        asked, self._asked = self._asked, False
        if asked or gradient is None or kept != (id(gradient), gradient._version) or self._forwards != passes:
            return
        if self._added == 1 < passes:
            old = self._erased
            first = old["first"] if old["steps"] else max(self._context.step, 0)
            self._erased = {"first": first, "steps": old["steps"] + 1, "passes": max(old["passes"], passes)}

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._look_for_erased()
        # A second loss through the same forward pass is no second batch.
        self._count = self._added if self._added == self._forwards else 1
        self._forwards = self._added = 0
        self._stepped = True

    def batch(self, batch: Batch) -> None:
        """Compare the gradient that came with the one that the loss function gives."""
        pulls, self._pulls = self._pulls, []
        if batch.phase == "training":
            self._reported += 1
            if self._stepped:
                self._reports, self._reported, self._stepped = self._reported, 0, False
        if batch.phase != "training" or not self._mine or self._count < 2 or not looked_at(batch.step + 1):
            return
        self._add(batch.step, "backwards", self._count)
        output, call = batch.outputs, self._context.loss_fn
        if not pulls or not isinstance(output, Tensor) or batch.targets is None:
            return
        several = self._count > 2 and len(pulls) == self._count and len({shape for shape, _ in pulls}) == 1
        if call is None and self._reports != self._count and not several:
            return  # Two losses with a pass each, as of adversarial training, and one of them reported.
        told = float(batch.loss.detach() if isinstance(batch.loss, Tensor) else batch.loss)
        for one in [u for u in USUAL if _fits(u, output, batch.targets)] if call is None else [call]:
            size = _pull_of(one, output, batch.targets, told)
            if size:
                self._add(batch.step, "loss_weight", float(pulls[-1][1]) / size)
                return

    def _add(self, step: int, signal: str, value: float) -> None:
        self._rows.append({"step": step, "layer": "", "signal": signal, "value": float(value)})

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Signals."""
        first, steps, passes = (self._erased[k] for k in ("first", "steps", "passes"))
        if not steps:
            return {"signals": list(self._rows)}
        message = f"before {steps} steps gradients of up to {passes - 1} of {passes} backward passes were cleared"
        event = {
            "step": first,
            "kind": "passes-erased",
            "layer": str(passes),
            "message": message,
            "value": float(steps),
        }
        return {"signals": list(self._rows), "events": [event]}

    def state_dict(self) -> dict[str, Any]:
        """Rows so far."""
        return {"rows": [dict(row) for row in self._rows], "erased": dict(self._erased)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._rows = [dict(row) for row in state["rows"]]
        self._erased = dict(state.get("erased", self._erased))


def _pull_of(call: Callable[..., Any], output: Tensor, targets: Any, told: float) -> float | None:
    """Norm of the gradient that `call` gives at the output; None where its value is not the loss that was told."""
    with torch.enable_grad():
        alone = output.detach().clone().requires_grad_(True)
        loss = call(alone, targets)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.requires_grad:
            return None
        value = float(loss.detach())
        if not abs(told - value) <= ALIKE * abs(value):  # neither where one is NaN
            return None
        (own,) = torch.autograd.grad(loss, alone)
    return float(own.float().norm())


def _fits(call: Callable[..., Any], output: Tensor, targets: Any) -> bool:
    """Whether one of the usual losses takes these outputs and targets."""
    if not isinstance(targets, Tensor) or not targets.numel():
        return False
    if call in (F.cross_entropy, F.nll_loss):
        ids = targets.dtype == torch.long and output.dim() >= 2
        inside = ids and targets.shape == (output.shape[0], *output.shape[2:])
        return inside and int(targets.min()) >= 0 and int(targets.max()) < output.shape[1]
    return targets.is_floating_point() and targets.shape == output.shape
