"""What layers give in the forward pass: scale, how much of it differs between samples, attention; and what modules are.

Looks at the first forward pass with gradients of steps 0, 1, 2, 4, 8, 16 and, within the budget, of the first sampled
step from 32, 64, ... on: their number grows with the logarithm of the run. Hooks on inner modules and the dispatch mode
live during that one pass only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.models import roots
from snellen.watching.observers.modules import Census
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.operators import Frame, Operators, dead_units, few, some
from snellen.watching.observers.tokens import first_ids, padding_of, shifted
from snellen.watching.probes import first_tensor

WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)
NORMS = (nn.modules.batchnorm._BatchNorm,)
ATTENTION = (nn.MultiheadAttention,)
EARLY = 16
"""Last step of the start, in which looks are taken whatever they cost."""
ENOUGH = 60
"""Forward passes after which running statistics must be those of the data."""
SLOW = 0.1
"""Share of what they began with from which it is told."""
POSITIONS = 256
"""Places of a sample from which the variance of a channel is taken."""


class Activations:
    """Signals and modules as `watching.facts` lists them. Events: `running-statistics-still` (layer: a batch norm that
    ran in train() mode and whose running mean is that of the start; value: forward passes), `running-statistics-slow`
    (layer: a batch norm that began with torch's mean 0 and variance 1; value: the share of them that its momentum
    leaves after so many passes), `tie-broken` (layer: a head whose weight equalled an embedding's at the start and no
    longer does; value: their relative distance)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: list[tuple[int, str, str, Tensor | float]] = []
        self._done: list[dict[str, Any]] = []
        self._handles: list[RemovableHandle] = []
        self._inner: list[RemovableHandle] = []
        self._frames: list[Frame] = []
        self._mode: Operators | None = None
        self._looked: dict[str, int] = {}
        """Root -> step at which it was last looked at."""
        self._parts_at = -1
        self._forwards = 0
        self._still: list[tuple[str, nn.Module, Tensor]] = []
        self._fresh: set[str] = set()
        """Batch norms whose running statistics were those of no data at the start."""
        self._ties: list[tuple[str, str, Tensor, Tensor]] = []
        self._ids: Tensor | None = None

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hook the model's call and the optimizers' steps."""
        self._model = model
        self.census = Census(model)
        hook = self._context.hook
        plain = not any(isinstance(m, torch.jit.ScriptModule) or _compiled(m) for m in model.modules())
        for name, root in roots(model) if plain else ():
            self._handles += [
                root.register_forward_pre_hook(hook("activations", self._enter(name)), with_kwargs=True),
                root.register_forward_hook(hook("activations", self._leave(name)), always_call=True),
            ]
        self._fused = list(_fused_projections(model))
        if self._fused:
            self._handles += [
                o.register_step_pre_hook(self._context.step_hook("activations", self._before_step)) for o in optimizers
            ]
        self._still = [
            (name, m, m.running_mean.detach().clone())
            for name, m in model.named_modules()
            if isinstance(m, NORMS) and isinstance(m.running_mean, Tensor) and not is_lazy(m.running_mean)
        ]
        self._fresh = {
            name
            for name, m, mean in self._still
            if not mean.any() and isinstance(m.running_var, Tensor) and bool((m.running_var == 1).all())
        }
        self._ties = list(_equal_pairs(model))

    def batch(self, batch: Batch) -> None:
        """Whether the targets are the next inputs; only token ids are looked at."""
        if batch.phase == "training" and batch.step < 3:
            ids = first_ids(batch.inputs)
            share = shifted(ids if ids is not None else self._ids, first_ids(batch.targets, flat=True))
            if share is not None:
                self._add("target", "shifted_input", share)

    def detach(self) -> None:
        """Take every hook off."""
        for handle in (*self._handles, *self._inner):
            handle.remove()
        self._handles, self._inner = [], []

    def facts(self) -> Mapping[str, Any]:
        """Signals, modules and events."""
        self._read()
        return {"signals": list(self._done), "modules": self.census.rows(), "events": list(self._events())}

    def state_dict(self) -> dict[str, Any]:
        """What was measured, and what the modules were at the start."""
        self._read()
        return {
            "signals": self._done,
            "modules": self.census.rows(),
            "forwards": self._forwards,
            "looked": dict(self._looked),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on; what the modules were at the start is not looked at again."""
        self._done = [dict(row) for row in state["signals"]]
        self._forwards, self._looked = state["forwards"], dict(state["looked"])
        self.census.restore(state["modules"])

    def _add(self, layer: str, signal: str, value: Tensor | float) -> None:
        self._rows.append((self._context.step, layer, signal, value))

    def _enter(self, root_name: str) -> Any:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not torch.is_grad_enabled() or self._frames:
                return
            self._forwards += module.training
            if not self._is_due(root_name) or torch.compiler.is_compiling():
                return
            self._looked[root_name] = self._context.step
            self._ids = first_ids([*args, *kwargs.values()])
            padding = None if self._ids is None else padding_of(self._ids, self.census.padding_idx)
            self._frames = [Frame(root_name, module)]
            prefix = f"{root_name}." if root_name else ""
            for name, part in module.named_modules():
                if part is not module:
                    self._inner += [
                        part.register_forward_pre_hook(self._hooked(self._begin(prefix + name)), with_kwargs=True),
                        part.register_forward_hook(self._hooked(self._end), with_kwargs=True, always_call=True),
                    ]
            self._mode = Operators(lambda: self._frames[-1], self._add, self.census.note, padding)
            self._mode.__enter__()

        return before

    def _is_due(self, root_name: str) -> bool:
        step, last = self._context.step, self._looked.get(root_name, -1)
        if step <= EARLY:
            return step != last and not step & (step - 1)
        return self._context.sampled and step.bit_length() > max(last, 0).bit_length()

    def _hooked(self, call: Any) -> Any:
        def unseen(*args: Any) -> None:
            """Run `call` while the mode looks away: what it computes is none of the model's operators."""
            mode = self._mode
            if mode is not None:
                mode.looking = False
            try:
                call(*args)
            finally:
                if mode is not None:
                    mode.looking = True

        return self._context.hook("activations", unseen)

    def _leave(self, root_name: str) -> Any:
        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not self._frames or self._frames[0].module is not module:
                return
            mode, self._mode, self._frames = self._mode, None, []
            for handle in self._inner:
                handle.remove()
            self._inner = []
            if mode is not None:
                mode.__exit__(None, None, None)
                if mode.failure is not None:
                    raise mode.failure  # the hook around this makes it an event; the run goes on
            self.census.complete()

        return after

    def _begin(self, name: str) -> Any:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._frames.append(Frame(name, module))
            x = first_tensor([*args, *kwargs.values()])
            if self._context.step == 0 or not self.census.done:
                self.census.begins(name, module, x)

        return before

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        frame = self._frames.pop()
        x, y = first_tensor([*args, *kwargs.values()]), first_tensor(output)
        if self._context.step == 0 or not self.census.done:
            self.census.ends(frame.name, module, y)
        outer = self._frames[-1]
        if isinstance(module, ATTENTION):
            frame.attention = True
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase | nn.RNNCellBase):
            frame.activation = False
        whole = frame.attention and frame.activation
        frame.convolutions += isinstance(module, nn.Conv2d)
        if x is not None and y is not None and x.shape == y.shape:
            if whole and not frame.block and x.dim() == 3:
                self._add(frame.name, "through_cosine", torch.cosine_similarity(few(x), few(y), dim=-1).mean())
            if frame.convolutions > 1 and not frame.maps and x.dim() == 4:
                frame.maps = True
                a, b = ((t - t.mean((2, 3), keepdim=True)).flatten(1) for t in (few(x), few(y)))
                self._add(frame.name, "through_maps", torch.cosine_similarity(a, b, dim=-1).mean())
        outer.convolutions = min(outer.convolutions + frame.convolutions, 2)
        outer.maps |= frame.maps
        outer.attention |= frame.attention
        outer.activation |= frame.activation
        outer.block |= frame.block or whole
        if x is not None and y is not None and y.is_floating_point() and y.numel():
            self._measure(frame.name, module, x, y)

    def _measure(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if isinstance(module, nn.ReLU | nn.ReLU6) and y.dim() > 1:
            self._add(name, "dead_units", dead_units(few(y)))
        elif isinstance(module, NORMS) and x.dim() > 1 and x.is_floating_point():
            self._add(name, "variance", _variances(x.detach()).median())
        elif isinstance(module, WEIGHTED):
            out = some(y)
            rms = out.square().mean().sqrt()
            self._add(name, "rms", rms)
            if x.is_floating_point() and x.numel():
                self._add(name, "input_rms", some(x).square().mean().sqrt())
            if len(out) > 1:
                rest = out.var(0, correction=0).mean().sqrt()
                self._add(name, "spread", rest / rms.clamp_min(1e-30))

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        step = self._context.step
        if step not in self._looked.values() or step == self._parts_at:
            return
        self._parts_at = step
        for name, weight in self._fused:
            if weight.grad is not None and weight.grad.layout == torch.strided:
                for part, rows in zip("qkv", weight.grad.detach().chunk(3), strict=True):
                    self._add(f"{name}[{part}]", "part_grad_norm", rows.float().norm())

    def _read(self) -> None:
        """Read what waits on the device, in one transfer a device."""
        rows, self._rows = self._rows, []
        tensors = [value.detach().reshape(()) for *_, value in rows if isinstance(value, Tensor)]
        values: Iterator[float] = iter(())
        if tensors:
            values = iter(torch.stack([t.float().to(tensors[0].device) for t in tensors]).tolist())
        for step, layer, signal, value in rows:
            number = next(values) if isinstance(value, Tensor) else float(value)
            self._done.append({"step": step, "layer": layer, "signal": signal, "value": number})

    def _events(self) -> Iterator[dict[str, Any]]:
        for name, module, start in self._still:
            ran = self.census.trained(name)
            now = module.running_mean
            if ran and self._forwards > 1 and isinstance(now, Tensor) and torch.equal(now.cpu(), start.cpu()):
                message = f"{name} ran {self._forwards} times in train() mode and its running mean did not change"
                yield _event("running-statistics-still", name, message, float(self._forwards))
            momentum = getattr(module, "momentum", None)
            if ran and name in self._fresh and isinstance(momentum, float) and self._forwards >= ENOUGH:
                left = (1 - momentum) ** self._forwards
                if 1 > left > SLOW:
                    message = f"{name} ran {self._forwards} times in train() mode with momentum {momentum:g}"
                    yield _event("running-statistics-slow", name, message, left)
        for embedding, head, first, second in self._ties:
            apart = (first.detach() - second.detach()).norm() / first.detach().norm().clamp_min(1e-12)
            if self._context.step and float(apart) > 0:
                message = f"{head} started equal to {embedding} and is {float(apart):.2g} of its norm away from it now"
                yield _event("tie-broken", head, message, float(apart))


def _variances(x: Tensor) -> Tensor:
    """Variance of each channel of (N, C, ...), from at most `POSITIONS` places of each sample."""
    flat = x.flatten(2) if x.dim() > 2 else x[..., None]
    flat = flat[..., :: max(flat.shape[-1] // POSITIONS, 1) | 1].float()
    return flat.var((0, 2), correction=0)


def _event(kind: str, layer: str, message: str, value: float) -> dict[str, Any]:
    return {"step": None, "kind": kind, "layer": layer, "message": message, "value": value}


def _compiled(module: nn.Module) -> bool:
    """Whether torch.compile made it: hooks and modes would make it compile anew."""
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def _fused_projections(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights that hold query, key and value one above the other."""
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield f"{name}.in_proj_weight", module.in_proj_weight
        elif isinstance(module, nn.Linear) and module.out_features == 3 * module.in_features and "qkv" in name.lower():
            yield f"{name}.weight", module.weight


def _equal_pairs(model: nn.Module) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Embeddings and linear layers with equal weights that are two parameters, not one."""
    tables = [(n, m.weight) for n, m in model.named_modules() if isinstance(m, nn.Embedding) and m.weight.requires_grad]
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or not module.weight.requires_grad:
            continue
        for table_name, weight in tables:
            if (
                weight is not module.weight
                and weight.shape == module.weight.shape
                and weight.device == module.weight.device
                and weight.numel() >= 64
                and torch.equal(weight, module.weight)
                and bool(weight.detach().std() > 0)
            ):
                yield table_name, name, weight, module.weight
