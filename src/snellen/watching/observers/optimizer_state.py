"""What the optimizers remember, and what of an update is lost on the way to the weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.observers.observer import Batch, Context

TENSORS = 16
"""Tensors of each optimizer whose second moments are looked at, spread evenly."""
ELEMENTS = 1024
"""Elements of each."""
PROBES = 4
"""Parameters of each optimizer whose gradient is compared before and after clipping."""
SECOND_MOMENTS = ("exp_avg_sq", "square_avg", "sum")
"""State keys of Adam and its kin, RMSprop, Adagrad."""
LOST = 0.1
"""Share of the steps remembered below which the rest was lost."""
COARSE = (torch.bfloat16, torch.float16)


def looked_at(number: int) -> bool:
    """Whether the `number`-th step (from 1) is one of those looked at: powers of 2, later every 64th."""
    return number > 0 and (number & (number - 1) == 0 or number % 64 == 0)


class OptimizerState:
    """Signals per parameter: `eps_kept`, median of sqrt(v) / (sqrt(v) + eps) over elements with v > 0, which is the
    share of the adaptive step that epsilon leaves; of layer "" `rounded_away`, share of the elements of half precision
    with a gradient that a step left exactly as they were, and `clip_kept`, median over a few parameters of the norm of
    the gradient that the optimizer meets over that which backward left. Events: `optimizer-state-lost`, `frozen-moved`
    (layer: parameter that asks for no gradient and was moved by the optimizer; value: in how many steps looked at)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put hooks before and after each optimizer's step."""
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._step = 0
        self._counts = [0] * len(optimizers)
        self._remembered = [0.0] * len(optimizers)
        self._before: dict[int, list[tuple[nn.Parameter, Tensor]]] = {}
        self._waiting: list[tuple[int, str, str, Tensor]] = []
        self._rows: list[dict[str, Any]] = []
        self._events: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._handles: list[RemovableHandle] = []
        self._probes: dict[int, list[nn.Parameter]] = {}
        self._left: dict[int, Tensor] = {}
        for index, optimizer in enumerate(optimizers):

            def before(o: Optimizer, a: Any, k: Any, index: int = index) -> None:
                self._before_step(index, o)

            def after(o: Optimizer, a: Any, k: Any, index: int = index) -> None:
                self._after_step(index, o)

            hook = self._context.hook
            held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad and p.is_leaf]
            self._probes[index] = held[:: max(len(held) // PROBES, 1)][:PROBES]
            self._handles += [
                optimizer.register_step_pre_hook(self._context.step_hook("optimizer state", before)),
                optimizer.register_step_post_hook(hook("optimizer state", after)),
                *(
                    p.register_post_accumulate_grad_hook(hook("optimizer state", self._arrival(index)))
                    for p in self._probes[index]
                ),
            ]

    def batch(self, batch: Batch) -> None:
        """Keep the number of the step."""
        if batch.phase == "training":
            self._step = batch.step + 1
        if len(self._waiting) >= 256:
            self._read()

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Signals and events."""
        self._read()
        return {"signals": list(self._rows), "events": list(self._events.values())}

    def state_dict(self) -> dict[str, Any]:
        """Rows, counts and how much each optimizer remembered."""
        self._read()
        return {
            "rows": [dict(row) for row in self._rows],
            "events": [dict(row) for row in self._events.values()],
            "counts": list(self._counts),
            "remembered": list(self._remembered),
            "step": self._step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on; an optimizer that remembered something then and nothing now has lost it."""
        self._rows = [dict(row) for row in state["rows"]]
        self._events = {(row["kind"], row["layer"]): dict(row) for row in state["events"]}
        if len(state["counts"]) == len(self._counts):
            self._counts, self._remembered = list(state["counts"]), list(state["remembered"])
        self._step = state["step"]

    def _arrival(self, index: int) -> Any:
        def arrived(parameter: Tensor) -> None:
            gradient = parameter.grad
            if looked_at(self._counts[index] + 1) and gradient is not None and gradient.layout == torch.strided:
                self._left[id(parameter)] = gradient.detach().float().norm()

        return arrived

    def _look_at_clipping(self, index: int) -> None:
        kept = [
            p.grad.detach().float().norm() / self._left[id(p)].clamp_min(1e-30)
            for p in self._probes[index]
            if p.grad is not None and id(p) in self._left
        ]
        for parameter in self._probes[index]:
            self._left.pop(id(parameter), None)
        if kept:
            self._waiting.append((self._step, "", "clip_kept", torch.stack(kept).median()))

    def _before_step(self, index: int, optimizer: Optimizer) -> None:
        self._counts[index] += 1
        steps = _steps_remembered(optimizer)
        # Going back to a checkpoint of some steps ago is no loss.
        if steps < LOST * self._remembered[index]:
            message = f"the optimizer's state was that of {self._remembered[index]:g} steps and is that of {steps:g}"
            self._note("optimizer-state-lost", None, message, self._remembered[index])
        self._remembered[index] = steps
        if looked_at(self._counts[index]):
            with torch.no_grad():
                self._look_at_clipping(index)
            held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            kept = [p for p in held if p.dtype in COARSE or not p.requires_grad]
            self._before[index] = [(p, p.detach().clone()) for p in kept]

    def _after_step(self, index: int, optimizer: Optimizer) -> None:
        self._remembered[index] = max(self._remembered[index], _steps_remembered(optimizer))
        if not looked_at(self._counts[index]):
            return
        with torch.no_grad():
            self._look_at_rounding(self._before.pop(index, []))
            self._look_at_epsilon(optimizer)

    def _look_at_rounding(self, before: list[tuple[nn.Parameter, Tensor]]) -> None:
        same, total = [], []
        for parameter, old in before:
            if not parameter.requires_grad:
                if not torch.equal(parameter.detach(), old):
                    name = self._names.get(id(parameter), "?")
                    message = f"{name} asks for no gradient, holds an old one, and the optimizer moved it"
                    self._note("frozen-moved", name, message, 0.0)
                    self._events["frozen-moved", name]["value"] += 1
            elif parameter.grad is not None and parameter.grad.layout == torch.strided:
                pulled = parameter.grad != 0
                same.append(((parameter.detach() == old) & pulled).sum())
                total.append(pulled.sum())
        if same:
            share = torch.stack(same).sum() / torch.stack(total).sum().clamp_min(1)
            self._waiting.append((self._step, "", "rounded_away", share))

    def _look_at_epsilon(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            if "eps" not in group or isinstance(group["eps"], tuple | list):
                continue
            held = [p for p in group["params"] if p in optimizer.state]
            for parameter in held[:: max(len(held) // TENSORS, 1)]:
                state = optimizer.state[parameter]
                moments = next((state[k] for k in SECOND_MOMENTS if isinstance(state.get(k), Tensor)), None)
                if moments is None or not moments.numel():
                    continue
                flat = moments.reshape(-1)
                flat = flat[:: max(flat.numel() // ELEMENTS, 1)].float()
                if "betas" in group:
                    flat = flat / (1 - float(group["betas"][1]) ** max(float(state.get("step", 1)), 1.0))
                root = torch.where(flat > 0, flat, torch.nan).sqrt()
                name = self._names.get(id(parameter), "?")
                kept = (root / (root + float(group["eps"]))).nanmedian()
                self._waiting.append((self._step, name, "eps_kept", kept))

    def _note(self, kind: str, layer: str | None, message: str, value: float) -> None:
        row = {"step": self._step, "kind": kind, "layer": layer, "message": message, "value": value}
        self._events.setdefault((kind, layer), row)

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            device = waiting[0][3].device
            values = torch.stack([v.float().to(device) for *_, v in waiting]).tolist()
            for (step, layer, signal, _), value in zip(waiting, values, strict=True):
                self._rows.append({"step": step, "layer": layer, "signal": signal, "value": value})


def _steps_remembered(optimizer: Optimizer) -> float:
    """Steps that the state says were taken, or 1 where a state counts none, or 0 without a state."""
    for state in optimizer.state.values():
        if isinstance(state, dict) and state:
            step = state.get("step")
            if step is None:
                return float(any(v is not None for v in state.values()))
            # A step count on the device would cost a transfer at every step.
            return float(step) if not isinstance(step, Tensor) or step.device.type == "cpu" else 1.0
    return 0.0
