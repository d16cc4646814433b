"""Optimizers, steps and rates of many kinds, by a third author, on which NO threshold is ever set.

See `healthy_third.py`.
"""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import rows
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    cancer,
    convs,
    dense,
    digits,
    explained,
    fit,
    housing,
)
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

cases = SecondCases("third")


class ByRule(Optimizer):
    """Each parameter moves by -lr times what `rule(gradient, parameter, memory)` says."""

    def __init__(self, params: Any, lr: float, rule: Any) -> None:
        super().__init__(params, {"lr": lr})
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(self.rule(p.grad, p, self.state[p]), alpha=-group["lr"])


def memory(state: Any, key: str, g: Tensor, share: float, what: Tensor) -> Tensor:
    """A running average in the state."""
    state[key] = share * state.get(key, torch.zeros_like(g)) + (1 - share) * what
    return state[key]


@cases.recipe("mlp", 0.85)
def momentum_written_out(harness: Harness, seed: int) -> float:
    """Heavy-ball momentum by hand in an optimizer of one's own, under no_grad."""

    def rule(g: Tensor, p: Tensor, state: Any) -> Tensor:
        state["v"] = 0.9 * state.get("v", 0) + g
        return state["v"]

    model = dense(64, 48, 10)
    optimizer = ByRule(model.parameters(), 0.05, rule)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=6)


@cases.recipe("mlp", 0.85)
def signs_of_gradients(harness: Harness, seed: int) -> float:
    """signSGD: every weight moves by the rate at every step, whatever its gradient's size; the rate falls to 0."""
    model = dense(64, 64, 10)
    optimizer = ByRule(model.parameters(), 2e-3, lambda g, p, s: g.sign())
    falls = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 8)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=8, scheduler=falls)


@cases.recipe("cnn", 0.7)
def trust_by_layer(harness: Harness, seed: int) -> float:
    """LAMB: Adam's direction scaled to each layer's norm, batches of 256, a rate of 0.03."""

    def rule(g: Tensor, p: Tensor, state: Any) -> Tensor:
        state["t"] = state.get("t", 0) + 1
        m = memory(state, "m", g, 0.9, g) / (1 - 0.9 ** state["t"])
        v = memory(state, "v", g, 0.99, g * g) / (1 - 0.99 ** state["t"])
        move = m / (v.sqrt() + 1e-6)
        return move * (p.norm() / move.norm()).clamp(0.01, 10) if p.ndim > 1 else move

    model = convs(width=12)
    optimizer = ByRule(model.parameters(), 0.03, rule)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit"), epochs=14, size=256)


@cases.recipe("mlp", 0.8)
def noise_is_added_to_gradients(harness: Harness, seed: int) -> float:
    """Annealed Gaussian noise on every gradient, larger than the gradient itself at first."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = iter(range(10**6))

    def noise() -> None:
        spread = 0.1 / (1 + next(step)) ** 0.275
        for p in model.parameters():
            p.grad.add_(torch.randn_like(p), alpha=spread)  # type: ignore[union-attr]

    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=8, clip=noise)


@cases.recipe("mlp", 0.7)
def private_gradients(harness: Harness, seed: int) -> float:
    """DP-SGD: per-sample gradients by vmap of grad, each clipped at 1, noise added; .grad is written by hand."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 32, 10, act=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def one(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, weights, (x[None],)), y[None])

    slopes = vmap(grad(one), (None, 0, 0))
    harness.begin(model, optimizer)
    for _ in range(120):
        at = rows(x, 64)
        weights = {k: p.detach() for k, p in model.named_parameters()}
        each = slopes(weights, x[at], y[at])
        norm = sum(g.flatten(1).square().sum(1) for g in each.values()).sqrt()
        scale = (1 / norm).clamp(max=1)
        for k, p in model.named_parameters():
            total = torch.einsum("b,b...->...", scale, each[k])
            p.grad = (total + 0.6 * torch.randn_like(p)) / 64
        optimizer.step()
        with torch.no_grad():
            out = model(x[at])
        harness.step(loss=F.cross_entropy(out, y[at]), inputs=x[at], targets=y[at], outputs=out)
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def remainder_of_three(harness: Harness, seed: int) -> float:
    """Accumulation over 5 batches of 16, of which an epoch has 66: the last step of each has but one."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(10):
        parts = torch.randperm(len(x)).split(16)
        for i, part in enumerate(parts):
            out = model(x[part])
            loss = F.cross_entropy(out, y[part])
            (loss / 5).backward()
            if (i + 1) % 5 == 0 or i + 1 == len(parts):
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=out)
        with torch.no_grad():
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.85)
def batches_that_grow(harness: Harness, seed: int) -> float:
    """Instead of a falling rate the batch doubles from 8 to 256."""
    x, y, vx, vy = digits("standard", count=900)
    model = convs(width=8, norm=lambda c: nn.GroupNorm(2, c))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for size in (8, 16, 32, 64, 128, 256):
        for part in torch.randperm(len(x)).split(size):
            out = model(x[part])
            loss = F.cross_entropy(out, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=out)
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("mlp", 0.93)
def step_by_line_search(harness: Harness, seed: int) -> float:
    """Armijo's rule: the rate is halved until the whole-set loss falls enough, doubled after; it is in param_groups."""
    x, y, vx, vy = cancer()
    model = dense(30, 16, 1, act=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def value() -> Tensor:
        return F.binary_cross_entropy_with_logits(model(x).squeeze(1), y.float())

    harness.begin(model, optimizer)
    for _ in range(60):
        loss = value()
        optimizer.zero_grad()
        loss.backward()
        old = [p.detach().clone() for p in model.parameters()]
        slope = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
        group = optimizer.param_groups[0]
        group["lr"] = min(2 * group["lr"], 16.0)
        while True:
            optimizer.step()
            with torch.no_grad():
                if value() <= loss - 0.3 * group["lr"] * slope or group["lr"] < 1e-4:
                    break
                for p, o in zip(model.parameters(), old, strict=True):
                    p.copy_(o)
            group["lr"] *= 0.5
        harness.step(loss=loss, inputs=x, targets=y)
    return binary_accuracy(model(vx), vy)


@cases.recipe("regression", 0.75)
def curvature_on_few_weights(harness: Harness, seed: int) -> float:
    """LBFGS with strong Wolfe conditions on prices, the loss given by a closure that runs many times a step."""
    x, y, vx, vy = housing()
    model = dense(6, 16, 1, act=nn.Tanh)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=10, history_size=20, line_search_fn="strong_wolfe")
    harness.begin(model, optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y) + 1e-4 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    for _ in range(15):
        loss = optimizer.step(closure)
        harness.step(loss=loss, inputs=x, targets=y)
        with torch.no_grad():
            harness.epoch(train={"loss": float(loss)}, val={"loss": F.mse_loss(model(vx), vy).item()})
    return explained(model(vx), vy)


@cases.recipe("mlp", 0.85)
def adaptive_sharpness(harness: Harness, seed: int) -> float:
    """ASAM as an optimizer with first_step and second_step; the second pass sees the perturbed weights."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for i in range(160):
        at = rows(x, 48)
        out = model(x[at])
        loss = F.cross_entropy(out, y[at])
        loss.backward()
        with torch.no_grad():
            params = [p for p in model.parameters() if p.grad is not None]
            norm = sum((p.abs() * p.grad).square().sum() for p in params).sqrt() + 1e-12
            climbs = [0.5 * p.square() * p.grad / norm for p in params]
            for p, c in zip(params, climbs, strict=True):
                p.add_(c)
        optimizer.zero_grad()
        F.cross_entropy(model(x[at]), y[at]).backward()
        with torch.no_grad():
            for p, c in zip(params, climbs, strict=True):
                p.sub_(c)
        optimizer.step()
        optimizer.zero_grad()
        harness.step(loss=loss, inputs=x[at], targets=y[at], outputs=out)
        if i % 40 == 39:
            with torch.no_grad():
                harness.epoch(val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)
