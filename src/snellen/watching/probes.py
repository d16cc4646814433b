"""The hooks of a watched model and optimizer: they measure, keep results on the device, and change nothing.

Hooks sit on the model, on a few of its parameters and on the optimizer; leaf modules get theirs only for the forward
pass of a sampled step. No function of torch is replaced. Nothing here draws a random number or writes to a tensor of
the run, so losses are bit for bit those of an unwatched run.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.hooks import Hook, Ledger
from snellen.watching.models import roots
from snellen.watching.optimizer_probe import MOST_NUMBERS, Norms, OptimizerProbe, blocks

FIRST_STEPS = 3
"""Steps at the start that are always sampled: what is wrong there was wrong before training."""
CLEARING = (nn.ReLU, nn.ReLU6)
SATURATING = (nn.Sigmoid, nn.Tanh)
MODE_SENSITIVE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class Probes:
    """Observes a model (or several) and its optimizers. `taken()` returns what was seen since the last call of it."""

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], every: int, ledger: Ledger | None = None
    ) -> None:
        self.model, self.ledger = model, ledger or Ledger()
        self.every = every
        self.step = 0
        self.next_sample = 0
        """First step from which the next detailed sample is taken."""
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.sides = [OptimizerProbe(o, self.names, self.ledger) for o in optimizers]
        self.called: set[str] = set()
        self.without_gradient: set[str] | None = None
        self.start_norms: dict[str, Tensor] = {}
        self._samples: list[tuple[int, Norms]] = []
        self._handles: list[RemovableHandle] = []
        self._leaf_handles: list[RemovableHandle] = []
        self._clear()

    def _clear(self) -> None:
        self.seen: dict[str, Any] = {"grad_forwards": 0, "no_grad_forwards": 0}
        self._sampled_forward: set[str] = set()
        self.sampling = self.step < FIRST_STEPS or self.step >= self.next_sample
        """Whether this step is one of those measured in detail."""
        for side in self.sides:
            side.sampling = self.sampling

    @property
    def optimizers(self) -> list[Optimizer]:
        """The watched optimizers, without wrappers."""
        return [side.optimizer for side in self.sides]

    @property
    def has_probes(self) -> bool:
        """Whether the arrival of any gradient would be seen."""
        return any(side.has_probes for side in self.sides)

    @property
    def optimizer_steps(self) -> int:
        """Steps of all optimizers since the watch began."""
        return sum(side.steps for side in self.sides)

    def held(self) -> list[nn.Parameter]:
        """Every parameter the optimizers hold now."""
        return [p for side in self.sides for p in side.held()]

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of those that ask for a gradient now."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def attach(self) -> None:
        """Put the hooks on."""
        if self._handles:
            return
        with torch.no_grad():
            self.start_norms = self.norms()
        for name, root in roots(self.model):
            before, after = self._hook(partial(self._before_forward, name)), self._hook(self._after_forward)
            self._handles.append(root.register_forward_pre_hook(before))
            self._handles.append(root.register_forward_hook(after, always_call=True))
        for side in self.sides:
            side.tell = self._gradients_are_there
            self._handles += side.attach()

    def _hook(self, call: Any) -> Hook:
        return Hook("layers", call, self.ledger)

    def detach(self) -> None:
        """Take every hook off."""
        for handle in (*self._handles, *self._leaf_handles):
            handle.remove()
        self._handles, self._leaf_handles = [], []
        for side in self.sides:
            side.tell = None  # else each would hold the other, and the model, until the collector comes

    def norms(self) -> dict[str, Tensor]:
        """Name -> L2 norm of each trainable parameter now, on its device."""
        pairs = [(n, p.detach()) for n, p in self.trainable() if not isinstance(p, nn.parameter.UninitializedParameter)]
        return (
            dict(zip((n for n, _ in pairs), torch._foreach_norm([p for _, p in pairs]), strict=True)) if pairs else {}
        )

    def samples(self) -> list[tuple[int, Norms]]:
        """Step and numbers of what was sampled since the last call."""
        samples, self._samples = self._samples, []
        return samples

    def taken(self) -> dict[str, Any]:
        """What was seen since the last call: Python values, and tensors not yet read from the device.

        "sides" holds the same of each optimizer.
        """
        seen = self.seen
        seen["sides"] = [side.taken() for side in self.sides]
        for side in self.sides:
            self._samples += [(self.step, norms) for norms in side.norms]
            side.norms = []
        if self.sampling and self.step >= FIRST_STEPS - 1:
            # On the grid of `every`, so that what is sampled does not depend on where the first steps ended.
            self.next_sample = (self.step // self.every + 1) * self.every
        self.step += 1
        self._clear()
        return seen

    def go_on(self, step: int, next_sample: int | None = None) -> None:
        """Go on with `step` as the next one."""
        self.step = step
        self.next_sample = -(-step // self.every) * self.every if next_sample is None else next_sample
        self._clear()

    def _gradients_are_there(self) -> None:
        """Before a step that has gradients: which parameters have none."""
        if self.without_gradient is None or (self.without_gradient and self.sampling):
            absent = {name for name, p in self.trainable() if p.grad is None}
            self.without_gradient = absent if self.without_gradient is None else self.without_gradient & absent

    def _before_forward(self, root: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            self.seen["no_grad_forwards"] += 1
            return
        self.seen["grad_forwards"] += 1
        self.seen["training"] = module.training
        x = first_tensor(inputs)
        if x is not None:
            x = x.detach()
            if self.step < FIRST_STEPS and x.numel():
                x = x.float()
                self.seen["input_mean"], self.seen["input_std"] = x.mean(), x.std(unbiased=False)
                if x.dim() > 1 and x.shape[0] >= 4:
                    self.seen["input_varies"] = (x - x[:1]).abs().max()
        if self.sampling and root not in self._sampled_forward:
            self._sampled_forward.add(root)
            for name, leaf in module.named_modules(prefix=root):
                if not any(True for _ in leaf.children()):
                    self._leaf_handles.append(leaf.register_forward_hook(self._hook(self._leaf(name))))

    def _leaf(self, name: str) -> Any:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not torch.is_grad_enabled():
                return
            self.called.add(name)
            x = first_tensor(output)
            if x is None or not x.is_floating_point() or not x.numel() or not x.dim():
                return
            x = blocks(x.detach()[:4] if x.dim() > 2 else x.detach()[:256], MOST_NUMBERS).float()
            if isinstance(module, CLEARING):
                signal, value = "zero_fraction", 1 - x.count_nonzero() / x.numel()
            elif isinstance(module, nn.Sigmoid):
                signal, value = "saturation", ((x - 0.5).abs() > 0.49).float().mean()
            elif isinstance(module, nn.Tanh):
                signal, value = "saturation", (x.abs() > 0.98).float().mean()
            else:
                signal, value = "output_std", x.std(unbiased=False)
            self._samples.append((self.step, ((name,), signal, value)))

        return after

    def _after_forward(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for handle in self._leaf_handles:
            handle.remove()
        self._leaf_handles = []
        if not torch.is_grad_enabled():
            return
        y = first_tensor(output)
        if y is not None and (not y.is_floating_point() or not y.numel()):
            y = None
        if y is not None:
            self.seen["output_sum"] = y.detach().sum(dtype=torch.float32)
        # A sum over a batch of images takes time; on the CPU it is known by now whether any is needed.
        if y is None or y.device.type != "cpu" or not math.isfinite(self.seen["output_sum"]):
            x = first_tensor(inputs)
            if x is not None and x.is_floating_point():
                self.seen["input_sum"] = x.detach().sum(dtype=torch.float32)
        if y is None:
            return
        if self.sampling and y.grad_fn is not None and y.dim() and y.numel() == y.shape[0] >= 4:
            y.register_hook(self._hook(self._pull(y.detach().clone())))
        y = y.detach()
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


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a tensor, sequence or mapping; None when there is none."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return None
    return next((t for t in map(first_tensor, value) if t is not None), None)


def sensitive_to_mode(model: nn.Module, *, trained: bool = False) -> list[nn.Module]:
    """Layers that act differently in train() and eval(): batch norm, and dropout with p above 0.

    With `trained` those alone that train or, having no weights of their own, stand beside some that do: frozen parts
    are kept in eval() on purpose.
    """
    found = {
        id(m): (m, parent)
        for parent in model.modules()
        for m in (parent.children() if parent is not model else (model, *model.children()))
        if isinstance(m, MODE_SENSITIVE) and (not isinstance(m, nn.modules.dropout._DropoutNd) or m.p > 0)
    }
    if not trained:
        return [m for m, _ in found.values()]
    return [m for m, parent in found.values() if any(p.requires_grad for p in (*m.parameters(), *_own(m, parent)))]


def _own(layer: nn.Module, parent: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters beside a layer that has none itself."""
    return iter(()) if next(layer.parameters(), None) is not None else parent.parameters()
