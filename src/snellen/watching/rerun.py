"""Runs a captured step again, and says where its first non-finite value came from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from snellen.watching.captured import Captured
from snellen.watching.nests import named_tensors
from snellen.watching.origin import Follower, Origin, any_bad, bad


@dataclass(frozen=True)
class Verdict:
    """Where the first non-finite value came from."""

    layer: str
    """Dotted name of a module or parameter, or "input" or "loss"."""
    message: str
    """One clause."""
    operator: str = ""
    """As torch names it; empty where none of the model's or loss's made it."""

    def within(self, root: str) -> "Verdict":
        """The same with the name of the model, where several are watched."""
        if not root or self.layer in ("input", "loss"):
            return self
        return replace(self, layer=f"{root}.{self.layer}")


def explain(captured: Captured, model: nn.Module, loss_fn: Callable[..., Any] | None = None) -> Verdict | None:
    """Run the step on `model`, which may be changed, and name the origin; None when everything is finite.

    The loss takes part when `loss_fn` is given and targets were captured; else the gradients that backward brought to
    the model's outputs are sent back through it.
    """
    captured.prepare(model)
    model.zero_grad()
    if any_bad([captured.args, captured.kwargs]):
        return Verdict("input", "the model's input holds NaN or infinity")
    spoilt = next((name for name, value in captured.weights.items() if bad(value) and name in _trained(model)), None)
    if spoilt is not None:
        return Verdict(spoilt, f"{spoilt} held NaN or infinity before the step: an earlier update put it there")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs, targets = (_moved(v, device) for v in (captured.args, captured.kwargs, captured.targets))
    follower = Follower()
    with torch.enable_grad(), captured.as_then(), follower, follower.inside(model):
        outputs = model(*args, **kwargs)
        loss = loss_fn(outputs, targets) if loss_fn is not None and targets is not None else None
    if any_bad(outputs):
        return _verdict(follower.reaching(outputs), model, "the model's output")
    if loss is not None and any_bad(loss):
        return _verdict(follower.reaching(loss), model, "loss")
    if loss is None and captured.loss is not None and not abs(captured.loss) < float("inf"):
        return Verdict("loss", "outputs are finite and the loss is not")
    with follower:
        if isinstance(loss, Tensor):
            loss.backward()
        else:
            sent = [t for _, t in named_tensors(outputs)]
            pairs = [
                (t, g) for t, g in zip(sent, captured.gradients, strict=False) if g is not None and t.requires_grad
            ]
            if any(bad(g) for _, g in pairs):
                return Verdict("loss", "outputs and loss are finite, and the gradient of the loss is not")
            if pairs:
                torch.autograd.backward([t for t, _ in pairs], [_moved(g, device) for _, g in pairs])
    wrong = next((name for name, p in model.named_parameters() if p.grad is not None and bad(p.grad)), None)
    if wrong is None:
        return None
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return _verdict(follower.reaching(grads), model, f"the gradient of {wrong}")


def _verdict(origin: Origin | None, model: nn.Module, what: str) -> Verdict:
    if origin is None:
        return Verdict(what, f"{what} is not finite")
    return Verdict(origin.module or "loss", origin.sentence(), origin.operator)


def _trained(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {key: _moved(v, device) for key, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_moved(v, device) for v in value]
        return tuple(items) if type(value) is tuple else items
    return value
