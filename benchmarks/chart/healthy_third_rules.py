"""Rules of learning and searches, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import math
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import rows
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, fit, wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


@cases.recipe("mlp", 0.9)
def langevin_wanders(harness: Harness, seed: int) -> float:
    """Stochastic gradient Langevin dynamics: noise in every step by intent, the answers of the last half averaged."""
    x, y, vx, vy = wine()
    model = dense(13, 24, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-3)
    answers = torch.zeros(len(vx), 3)
    harness.begin(model, optimizer)
    for i in range(200):
        at = rows(x, 24)
        loss = F.cross_entropy(model(x[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p), alpha=math.sqrt(2 * 0.05 * 2e-4))
            if i >= 100:
                answers += model(vx).softmax(1)
        harness.step(loss=loss, inputs=x[at], targets=y[at])
    return accuracy(answers, vy)


@cases.recipe("mlp", 0.8)
def feedback_is_random(harness: Harness, seed: int) -> float:
    """Feedback alignment: the backward pass goes through fixed random matrices by a Function of one's own."""

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, back: Tensor) -> Tensor:
            ctx.save_for_backward(x, back)
            return x @ w.T + b

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
            x, back = ctx.saved_tensors
            return g @ back, g.T @ x, g.sum(0), None

    class Aligned(nn.Linear):
        def __init__(self, into: int, out: int) -> None:
            super().__init__(into, out)
            self.register_buffer("back", torch.randn(out, into) / into**0.5)

        def forward(self, x: Tensor) -> Tensor:
            return Through.apply(x, self.weight, self.bias, self.back)

    model = nn.Sequential(Aligned(64, 64), nn.ReLU(), Aligned(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.recipe("mlp", 0.85)
def two_tasks_that_conflict(harness: Harness, seed: int) -> float:
    """PCGrad: the gradients of class and parity are projected where they conflict, and written into .grad."""
    x, y, vx, vy = digits("unit", image=False)
    body, kind, odd = dense(64, 64).append(nn.ReLU()), nn.Linear(64, 10), nn.Linear(64, 1)
    model = nn.ModuleList([body, kind, odd])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    params = list(model.parameters())
    harness.begin(model, optimizer)
    for _ in range(160):
        at = rows(x, 48)
        z = body(x[at])
        losses = [F.cross_entropy(kind(z), y[at])]
        losses.append(F.binary_cross_entropy_with_logits(odd(z).squeeze(1), (y[at] % 2).float()))
        flat = []
        for loss in losses:
            slopes = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True, materialize_grads=True)
            flat.append(torch.cat([g.flatten() for g in slopes]))
        dot = flat[0] @ flat[1]
        if dot < 0:
            flat = [flat[0] - dot / flat[1].square().sum() * flat[1], flat[1] - dot / flat[0].square().sum() * flat[0]]
        for p, g in zip(params, (flat[0] + flat[1]).split([p.numel() for p in params]), strict=True):
            p.grad = g.view_as(p).clone()
        optimizer.step()
        harness.step(loss=losses[0] + losses[1], inputs=x[at], targets=y[at])
    return accuracy(kind(body(vx)), vy)


@cases.recipe("darts", 0.85)
def mixes_of_activations(harness: Harness, seed: int) -> float:
    """Architecture search: the weights of four activations learn on other batches by a second optimizer of its own."""
    x, y, vx, vy = digits("standard", image=False)
    acts = (F.relu, torch.tanh, torch.sigmoid, lambda a: a)
    a, b, mix = nn.Linear(64, 64), nn.Linear(64, 10), nn.Parameter(torch.zeros(4))
    model = nn.ModuleDict({"a": a, "b": b, "mix": nn.ParameterList([mix])})

    def forward(x: Tensor) -> Tensor:
        h = a(x)
        return b(sum(w * f(h) for w, f in zip(mix.softmax(0), acts, strict=True)))

    of_net = torch.optim.SGD([*a.parameters(), *b.parameters()], lr=0.1, momentum=0.9)
    of_mix = torch.optim.Adam([mix], lr=0.02, betas=(0.5, 0.999))
    harness.begin(model, [of_net, of_mix])
    for _ in range(160):
        at, other = rows(x[:800], 32), 800 + rows(x[800:], 32)
        of_mix.zero_grad()
        F.cross_entropy(forward(x[other]), y[other]).backward()
        of_mix.step()
        of_net.zero_grad()
        out = forward(x[at])
        loss = F.cross_entropy(out, y[at])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        of_net.step()
        harness.step(loss=loss, inputs=x[at], targets=y[at], outputs=out)
    return accuracy(forward(vx), vy)


@cases.recipe("gumbel", 0.8)
def pixels_are_chosen(harness: Harness, seed: int) -> float:
    """Concrete selection: 16 of 64 pixels are chosen by Gumbel softmax whose temperature falls from 3 to 0.1."""
    x, y, vx, vy = digits("standard", image=False)

    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits, self.read, self.heat = nn.Parameter(0.01 * torch.randn(20, 64)), dense(20, 64, 10), 3.0

        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return self.read(x[:, self.logits.argmax(1)])
            return self.read(x @ F.gumbel_softmax(self.logits, tau=self.heat, dim=1).T)

    model = Choice()
    optimizer = torch.optim.Adam(
        [{"params": [model.logits], "lr": 0.1}, {"params": model.read.parameters(), "lr": 4e-3}]
    )

    def cool() -> None:
        model.heat = max(0.1, model.heat * 0.985)

    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=9, after=cool)
