"""The hooks of a watched model and optimizer: they measure, keep results on the device, and change nothing.

Hooks sit on the model, on a few of its parameters and on the optimizer; leaf modules get theirs only for the forward
pass of a sampled step. No function of torch is replaced. Nothing here draws a random number or writes to a tensor of
the run, so losses are bit for bit those of an unwatched run.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

FIRST_STEPS = 3
"""Steps at the start that are always sampled: what is wrong there was wrong before training."""
GRADIENT_PROBES = 8
"""Parameters whose gradient is watched as it arrives, spread evenly over the network."""
CLEARING = (nn.ReLU, nn.ReLU6)
SATURATING = (nn.Sigmoid, nn.Tanh)
MODE_SENSITIVE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)

Sample = tuple[int, str, str, Tensor]
"""step, layer, signal, 0-d tensor on any device"""


class Probes:
    """Observes one model and one optimizer. `taken()` returns what was seen since the last call of it."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, every: int) -> None:
        self.model = model
        inner = getattr(optimizer, "optimizer", None)
        self.optimizer = inner if isinstance(inner, Optimizer) else optimizer
        self.every = every
        self.step = 0
        self.optimizer_steps = 0
        self.samples: list[Sample] = []
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.called: set[str] = set()
        self.without_gradient: set[str] | None = None
        self.start_norms: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._leaf_handles: list[RemovableHandle] = []
        self._before: list[Tensor] | None = None
        self._clear()

    def _clear(self) -> None:
        self.seen: dict[str, Any] = {
            "grad_forwards": 0,
            "no_grad_forwards": 0,
            "arrived": 0,
            "optimizer_stepped": False,
        }
        self._alive: list[Tensor] = []
        self._cleared = False
        self._produced: list[Tensor] = []
        self._sampled_forward = False

    def held(self) -> list[nn.Parameter]:
        """Every parameter the optimizer holds now."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of those that ask for a gradient now."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    @property
    def sampling(self) -> bool:
        """Whether this step is one of those measured in detail."""
        return self.step < FIRST_STEPS or self.step % self.every == 0

    def attach(self) -> None:
        """Put the hooks on."""
        if self._handles:
            return
        held = {id(p) for p in self.held()}
        mine = [p for _, p in self.trainable() if id(p) in held]
        count = min(GRADIENT_PROBES, len(mine))
        chosen = {round(i * (len(mine) - 1) / max(count - 1, 1)) for i in range(count)}
        self.has_probes = bool(chosen)
        with torch.no_grad():
            self.start_norms = self.norms()
        self._handles = [
            self.model.register_forward_pre_hook(self._before_forward),
            self.model.register_forward_hook(self._after_forward, always_call=True),
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
            *(mine[i].register_hook(self._arrival(mine[i])) for i in sorted(chosen)),
        ]

    def detach(self) -> None:
        """Take every hook off."""
        for handle in (*self._handles, *self._leaf_handles):
            handle.remove()
        self._handles, self._leaf_handles = [], []

    def norms(self) -> dict[str, Tensor]:
        """Name -> L2 norm of each trainable parameter now, on its device."""
        pairs = [(n, p.detach()) for n, p in self.trainable() if not isinstance(p, nn.parameter.UninitializedParameter)]
        return (
            dict(zip((n for n, _ in pairs), torch._foreach_norm([p for _, p in pairs]), strict=True)) if pairs else {}
        )

    def taken(self) -> dict[str, Any]:
        """What was seen since the last call: Python values, and 0-d tensors not yet read from the device."""
        if self._cleared:
            self.seen["alive"] = False
        elif self._alive:
            self.seen["alive"] = torch.stack([t.to(self._alive[0].device) for t in self._alive]).any()
        if self._produced:
            self.seen["produced"] = torch.stack([t.to(self._produced[0].device) for t in self._produced]).sum()
        seen = self.seen
        self.step += 1
        self._clear()
        return seen

    def _arrival(self, parameter: nn.Parameter) -> Any:
        def arrived(gradient: Tensor) -> None:
            # Runs before autograd adds `gradient` to `.grad`, so what is there is left from earlier.
            self.seen["arrived"] += 1
            old = parameter.grad
            if old is None:
                self._cleared = True
            elif old.layout == torch.strided and not self._cleared:
                # One backward that met cleared gradients is enough, whatever other backward passes the loop has.
                self._alive_by_backward(parameter, old.detach().count_nonzero() > 0)
            if gradient.layout == torch.strided:
                self._produced.append(gradient.detach().float().abs().sum())

        return arrived

    def _alive_by_backward(self, parameter: nn.Parameter, alive: Tensor) -> None:
        key = f"alive:{id(parameter)}"
        known = self.seen.get(key)
        # Alive means: at every backward since the last step. A parameter met clear once counts as cleared.
        self.seen[key] = alive if known is None else known & alive
        self._alive = [v for k, v in self.seen.items() if k.startswith("alive:")]

    def _before_forward(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            self.seen["no_grad_forwards"] += 1
            return
        self.seen["grad_forwards"] += 1
        self.seen["training"] = module.training
        x = first_tensor(inputs)
        if x is not None:
            x = x.detach()
            if x.is_floating_point():
                self.seen["input_sum"] = x.sum(dtype=torch.float32)
            if self.step < FIRST_STEPS and x.numel():
                x = x.float()
                self.seen["input_mean"], self.seen["input_std"] = x.mean(), x.std(unbiased=False)
                if x.dim() > 1 and x.shape[0] >= 4:
                    self.seen["input_varies"] = (x - x[:1]).abs().max()
        if self.sampling and not self._sampled_forward:
            self._sampled_forward = True
            for name, leaf in module.named_modules():
                if not any(True for _ in leaf.children()):
                    self._leaf_handles.append(leaf.register_forward_hook(self._leaf(name)))

    def _leaf(self, name: str) -> Any:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not torch.is_grad_enabled():
                return
            self.called.add(name)
            x = first_tensor(output)
            if x is None or not x.is_floating_point() or not x.numel():
                return
            x = (x.detach()[:4] if x.dim() > 2 else x.detach()[:256]).float()
            add = self.samples.append
            if isinstance(module, CLEARING):
                add((self.step, name, "zero_fraction", (x == 0).float().mean()))
            elif isinstance(module, nn.Sigmoid):
                add((self.step, name, "saturation", ((x - 0.5).abs() > 0.49).float().mean()))
            elif isinstance(module, nn.Tanh):
                add((self.step, name, "saturation", (x.abs() > 0.98).float().mean()))
            else:
                add((self.step, name, "output_std", x.std(unbiased=False)))

        return after

    def _after_forward(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for handle in self._leaf_handles:
            handle.remove()
        self._leaf_handles = []
        if not torch.is_grad_enabled():
            return
        y = first_tensor(output)
        if y is None or not y.is_floating_point() or not y.numel():
            return
        if self.sampling and y.grad_fn is not None and y.numel() == y.shape[0] >= 4:
            y.register_hook(self._pull(y.detach().clone()))
        y = y.detach()
        self.seen["output_sum"] = y.sum(dtype=torch.float32)
        if self.step < FIRST_STEPS and y.dim() == 2 and y.shape[1] > 1:
            y = y.float()
            rows, columns = y.sum(1), y.sum(0)
            self.seen["output"] = torch.stack(
                [y.min(), y.max(), rows.mean(), (columns - 1).abs().max(), (y == 0).float().mean()]
            )

    def _pull(self, output: Tensor) -> Any:
        """On the gradient of one output per sample: the line that fits it best, and what is left of it."""

        def arrived(gradient: Tensor) -> None:
            y, g = output.float().reshape(-1), gradient.detach().float().reshape(-1)
            dy, dg = y - y.mean(), g - g.mean()
            slope = (dy * dg).sum() / dy.square().sum().clamp_min(1e-30)
            rest = (dg - slope * dy).abs().max()
            self.seen["pull"] = torch.stack([rest, slope, dy.abs().max(), g.abs().max(), y.mean() - g.mean() / slope])

        return arrived

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        seen = self.seen
        seen["lr"] = float(optimizer.param_groups[0]["lr"]) if "lr" in optimizer.param_groups[0] else None
        held = self.held()
        pairs = [(p, p.grad) for p in held if p.grad is not None and p.grad.layout == torch.strided]
        seen["grads_at_step"] = any(p.grad is not None for p in held)
        if pairs:
            with torch.no_grad():
                each = torch.stack(
                    [n.float().to(pairs[0][0].device) for n in torch._foreach_norm([g for _, g in pairs])]
                )
            seen["grad_norms"] = each
            seen["grad_names"] = [self.names.get(id(p), "?") for p, _ in pairs]
            seen["grad_norm"] = each.norm()
            if self.sampling:
                self.samples += [
                    (self.step, n, "grad_norm", v) for n, v in zip(seen["grad_names"], each.unbind(), strict=True)
                ]
        if seen["arrived"]:
            absent = {name for name, p in self.trainable() if p.grad is None}
            if self.without_gradient is None:
                self.without_gradient = absent if pairs else None
            elif self.without_gradient and self.sampling:
                self.without_gradient &= absent
        if self.sampling:
            self._before = [p.detach().clone() for p in held if p.requires_grad]

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.optimizer_steps += 1
        self.seen["optimizer_stepped"] = True
        before, self._before = self._before, None
        if not before:
            return
        with torch.no_grad():
            held = [p for p in self.held() if p.requires_grad]
            after = [p.detach() for p in held]
            device = before[0].device
            moved = torch.stack([n.float().to(device) for n in torch._foreach_norm(torch._foreach_sub(after, before))])
            size = torch.stack([n.float().to(device) for n in torch._foreach_norm(before)])
            self.seen["update_ratio"] = moved.norm() / size.norm().clamp_min(1e-12)
            self.seen["weight_norm"] = size.norm()
            names = [self.names.get(id(p), "?") for p in held]
            for name, ratio, norm in zip(names, (moved / size.clamp_min(1e-12)).unbind(), size.unbind(), strict=True):
                self.samples += [(self.step, name, "update_ratio", ratio), (self.step, name, "weight_norm", norm)]


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a tensor, sequence or mapping; None when there is none."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return None
    return next((t for t in map(first_tensor, value) if t is not None), None)


def sensitive_to_mode(model: nn.Module) -> int:
    """Number of layers that act differently in train() and eval(): batch norm, and dropout with p above 0."""
    return sum(
        isinstance(m, MODE_SENSITIVE) and (not isinstance(m, nn.modules.dropout._DropoutNd) or m.p > 0)
        for m in model.modules()
    )
