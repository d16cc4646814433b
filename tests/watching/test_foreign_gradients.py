"""Loops whose gradients do not come from one `loss.backward()`: nothing is changed, and nothing false is said."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

import snellen

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], Tensor]


def per_sample(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Clipped per-sample gradients (Abadi 2016), by vmap."""

    def loss_of(weights: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, weights, (one[None],)), label[None])

    weights = dict(model.named_parameters())
    each = vmap(grad(loss_of), (None, 0, 0))({k: v.detach() for k, v in weights.items()}, x, y)
    for name, p in weights.items():
        p.grad = each[name].mean(0)
    with torch.no_grad():
        return cross_entropy(model(x), y)


def assigned(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Gradients by `torch.autograd.grad`, put in place and never added up."""
    loss = cross_entropy(model(x), y)
    for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        p.grad = g
    return loss


def attacked(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """One signed step on the input before each step on the weights (Goodfellow 2015)."""
    near = x.clone().requires_grad_(True)
    cross_entropy(model(near), y).backward()
    assert near.grad is not None
    optimizer.zero_grad()
    loss = cross_entropy(model(x + 0.01 * near.grad.sign()), y)
    loss.backward()
    return loss


def trained(step: Step, watched: bool) -> tuple[dict[str, Tensor], list[str]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(256, 8)
    y = (x @ torch.randn(8, 3)).argmax(1)
    watch: Any = snellen.watch(model, optimizer) if watched else None
    if watch is not None:
        watch.start()
    for i in range(60):
        rows = slice(32 * (i % 8), 32 * (i % 8) + 32)
        loss = step(model, optimizer, x[rows], y[rows])
        optimizer.step()
        if step is not assigned:
            optimizer.zero_grad()
        if watch is not None:
            watch.step(loss=loss, inputs=x[rows], targets=y[rows])
    if watch is None:
        return model.state_dict(), []
    watch.finish()
    return model.state_dict(), [f.rule for f in watch.report().findings if f.severity != "info"]


def check(step: Step) -> None:
    alone, _ = trained(step, watched=False)
    seen, said = trained(step, watched=True)
    assert all(torch.equal(alone[name], seen[name]) for name in alone)
    assert not said


def test_gradients_of_single_samples_under_vmap() -> None:
    check(per_sample)


def test_gradients_put_in_place_are_not_left_over() -> None:
    check(assigned)


def test_gradients_of_an_attack_are_not_erased_micro_batches() -> None:
    check(attacked)
