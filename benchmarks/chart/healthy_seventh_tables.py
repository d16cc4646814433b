"""Rows of tables: incomes, demand, lifetimes, treatments, by a seventh author, without any threshold.

See `healthy_seventh.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import iterate, pick, study
from benchmarks.chart.second import (
    SecondCases,
    Split,
    binary_accuracy,
    by_train,
    cancer,
    cut,
    dense,
    explained,
    housing,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


@cache
def _people(count: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(701)
    job, town = draw.integers(0, 8, count), draw.integers(0, 5, count)
    age, hours, school = draw.uniform(18, 70, count), draw.normal(40, 9, count), draw.integers(6, 18, count)
    worth = draw.normal(0, 1, 8)[job] + draw.normal(0, 0.7, 5)[town]
    logit = worth + 0.25 * (school - 11) + 0.05 * (hours - 40) - 0.0025 * (age - 48) ** 2 + 0.2
    rich = (draw.random(count) < 1 / (1 + np.exp(-1.6 * logit))).astype(np.float64)
    return np.stack([age, hours, school], 1), np.stack([job, town], 1), rich


@cases.recipe("tabular", 0.74)
def incomes_with_embedded_jobs(harness: Harness, seed: int) -> float:
    """Embeddings of two categories with dropout, a norm for three numbers, layers of linear, ReLU, norm."""
    numbers, kinds, rich = _people(2400)
    rows = np.concatenate([(numbers - numbers[:1800].mean(0)) / numbers[:1800].std(0), kinds], 1)

    class Tabular(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeds = nn.ModuleList([nn.Embedding(8, 5), nn.Embedding(5, 4)])
            self.emb_drop, self.bn_cont = nn.Dropout(0.04), nn.BatchNorm1d(3)
            self.layers = nn.Sequential(
                nn.Linear(12, 64, bias=False), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.1),
                nn.Linear(64, 32, bias=False), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(0.05), nn.Linear(32, 1),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            kinds = x[:, 3:].long()
            e = self.emb_drop(torch.cat([emb(kinds[:, i]) for i, emb in enumerate(self.embeds)], 1))
            return self.layers(torch.cat([e, self.bn_cont(x[:, :3])], 1))[:, 0]

    model = Tabular()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    split = tuple(torch.tensor(a, dtype=torch.float32) for a in (rows[:1800], rich[:1800], rows[1800:], rich[1800:]))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, 28 * 6)
    return study(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=6, size=64, score=binary_accuracy,
        scheduler=scheduler, each=True, drop=True,
    )  # fmt: skip


def plants(count: int = 900) -> Split:
    """Eight features of a plant's machines and its two outputs, heat and power, standardised."""
    draw = np.random.default_rng(702)
    x = draw.uniform(-1, 1, (count, 8))
    heat = 2 * x[:, 0] + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3])
    power = x[:, 0] - 1.5 * x[:, 4] ** 2 + x[:, 5]
    y = np.stack([heat, power], 1) + draw.normal(0, 0.15, (count, 2))
    return by_train(cut(x, (y - y.mean(0)) / y.std(0)))


@cases.recipe("regression", 0.8)
def heat_and_power_by_huber(harness: Harness, seed: int) -> float:
    """Two targets at once, Huber's loss, Adam and a plateau scheduler that is fed by a hand-written loop."""
    x, y, vx, vy = plants()
    model = dense(8, 64, 64, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    criterion = nn.HuberLoss(delta=1.0)
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(25):
        model.train()
        running = 0.0
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            out = model(x[rows])
            loss = criterion(out, y[rows])
            loss.backward()
            optimizer.step()
            running += loss.item() * len(rows)
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            val = criterion(model(vx), vy).item()
        plateau.step(val)
        harness.epoch(train={"loss": running / len(x)}, val={"loss": val})
    return explained(model(vx).detach(), vy)


@cases.recipe("regression", 0.6)
def variance_with_a_half_stop(harness: Harness, seed: int) -> float:
    """A mean and a variance of prices; the likelihood is weighed by the square root of the detached variance."""
    x, y, vx, vy = housing()
    model = nn.Sequential(nn.Linear(6, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        a, b = pick(64, x, y)
        mean, raw = model(a).chunk(2, 1)
        var = F.softplus(raw) + 1e-4
        nll = 0.5 * ((b - mean).square() / var + var.log())
        return {"loss": (nll * var.detach().sqrt()).mean(), "inputs": a, "targets": b, "outputs": mean}

    iterate(harness, model, optimizer, compute, 400)
    return explained(model(vx)[:, :1].detach(), vy)


def demand(count: int = 1500) -> Split:
    """Sales of shops by price, weekday, weather: right-skewed, wider where they are higher."""
    draw = np.random.default_rng(703)
    x = draw.normal(0, 1, (count, 5))
    level = np.exp(0.6 * x[:, 0] - 0.5 * x[:, 1] + 0.3 * np.sin(2 * x[:, 2]) + 0.7)
    return by_train(cut(x, (level * draw.gamma(4, 0.25, count))[:, None]))


@cases.recipe("quantile", 0.08)
def quantiles_that_cannot_cross(harness: Harness, seed: int) -> float:
    """Five quantiles as one base and softplus steps, the pinball loss; scored by the gain over constant quantiles."""
    levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = dense(5, 64, 64, 5)

        def forward(self, x: Tensor) -> Tensor:
            out = self.body(x)
            return torch.cat([out[:, :1], F.softplus(out[:, 1:])], 1).cumsum(1)

    def pinball(out: Tensor, y: Tensor) -> Tensor:
        gap = y - out
        return torch.maximum(levels * gap, (levels - 1) * gap).mean()

    split = demand()
    flat = pinball(split[1].quantile(levels, 0).view(1, 5).expand(len(split[3]), 5), split[3])
    model = Steps()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)

    def gain(out: Tensor, y: Tensor) -> float:
        return float(1 - pinball(out, y) / flat)

    return study(harness, model, optimizer, pinball, split, epochs=10, size=50, score=gain, name=None)


@cases.recipe("survival", 0.7)
def lifetimes_by_weibull(harness: Harness, seed: int) -> float:
    """Accelerated failure: shape and scale of a Weibull distribution per row, censored rows by their survival.

    Scored by the share of comparable pairs in the right order.
    """
    x = torch.randn(1200, 6)
    scale = (0.7 * x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + 0.4 * x[:, 3].sin()).exp()
    life = scale * (-torch.rand(1200).log()) ** (1 / 1.8)
    end = torch.rand(1200) * 3 + 0.3
    time, died = torch.minimum(life, end), (life <= end).float()
    net = dense(6, 48, 48, 2, act=nn.ELU)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)

    def compute(i: int) -> Tensor:
        a, t, d = pick(80, x[:900], time[:900], died[:900])
        log_scale, log_shape = net(a).unbind(1)
        shape = (0.5 * log_shape).exp()
        z = shape * (t.log() - log_scale)
        return -(d * (z - t.log() + 0.5 * log_shape) - z.exp()).mean()

    iterate(harness, net, optimizer, compute, 250, clip=5.0)
    with torch.no_grad():
        risk, t, d = -net(x[900:])[:, 0], time[900:], died[900:]
    pairs = (t[:, None] < t[None]) & (d[:, None] > 0)
    return float((risk[:, None] > risk[None])[pairs].float().mean())


@cases.recipe("counts", 0.12)
def visits_with_many_zeros(harness: Harness, seed: int) -> float:
    """Zero-inflated Poisson: one output for never, one for the rate; the gain in nats over a constant fit."""
    x = torch.randn(1600, 5)
    never = torch.rand(1600) < torch.sigmoid(1.5 * x[:, 0])
    y = torch.poisson((0.8 + 0.6 * x[:, 1] - 0.4 * x[:, 2].abs()).exp()) * (~never).float()

    def nll(out: Tensor, y: Tensor) -> Tensor:
        zero, log_rate = out[:, 0], out[:, 1].clamp(-6, 4)
        poisson = F.poisson_nll_loss(log_rate, y, full=False, reduction="none") + torch.lgamma(y + 1)
        none = torch.logaddexp(F.logsigmoid(zero), F.logsigmoid(-zero) - log_rate.exp())
        return torch.where(y == 0, -none, poisson - F.logsigmoid(-zero)).mean()

    split = x[:1200], y[:1200], x[1200:], y[1200:]
    constant = torch.tensor([[0.0, 1.0]], requires_grad=True)
    solver = torch.optim.LBFGS([constant], max_iter=40)

    def closure() -> Tensor:
        solver.zero_grad()
        loss = nll(constant.expand(1200, 2), split[1])
        loss.backward()
        return loss

    solver.step(closure)
    base = float(nll(constant.detach().expand(400, 2), split[3]))
    model = dense(5, 32, 32, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return study(
        harness, model, optimizer, nll, split, epochs=8, size=60, score=lambda o, t: base - float(nll(o, t)), name=None
    )


@cases.recipe("causal", 0.6)
def who_gains_from_the_treatment(harness: Harness, seed: int) -> float:
    """One body and two heads, for treated and untreated; only the head of what happened learns."""
    x = torch.randn(2000, 6)
    treated = (torch.rand(2000) < torch.sigmoid(0.6 * x[:, 0])).float()
    effect = 1 + x[:, 1] + 0.5 * x[:, 2].relu()
    y = x[:, 0] + x[:, 3].sin() + treated * effect + 0.3 * torch.randn(2000)
    body = nn.Sequential(nn.Linear(6, 64), nn.ELU(), nn.Linear(64, 32), nn.ELU())
    heads = nn.ModuleList([dense(32, 32, 1, act=nn.ELU), dense(32, 32, 1, act=nn.ELU)])
    model = nn.ModuleDict({"body": body, "heads": heads})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-3)

    def compute(i: int) -> Any:
        a, t, b = pick(64, x[:1500], treated[:1500], y[:1500])
        z = body(a)
        out = torch.where(t > 0, heads[1](z)[:, 0], heads[0](z)[:, 0])
        return {"loss": F.mse_loss(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 500)
    with torch.no_grad():
        z = body(x[1500:])
        return explained((heads[1](z) - heads[0](z))[:, 0], effect[1500:])


@cases.recipe("linear", 0.88)
def random_waves_and_averaged_sgd(harness: Harness, seed: int) -> float:
    """Random Fourier features of tumours, fixed in a buffer, a linear layer on top, ASGD."""

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("freq", torch.randn(30, 80) * 0.08)
            self.register_buffer("shift", torch.rand(80) * 6.283)
            self.out = nn.Linear(80, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out((x @ self.freq + self.shift).cos() * (2 / 80) ** 0.5 * 4)

    model = Waves()
    optimizer = torch.optim.ASGD(model.parameters(), lr=0.2)
    return study(harness, model, optimizer, nn.CrossEntropyLoss(), cancer(), epochs=12, size=24)


@cases.recipe("regression", 0.6)
def prices_in_a_tube(harness: Harness, seed: int) -> float:
    """Support vector regression in the primal: errors below 0.1 are free, the weights' norm has a price."""
    model = dense(6, 40, 1, act=nn.Tanh)

    def tube(out: Tensor, y: Tensor) -> Tensor:
        return ((out - y).abs() - 0.1).relu().mean() + 1e-4 * model[-1].weight.square().sum()

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return study(
        harness, model, optimizer, tube, housing(), epochs=12, told=("inputs", "outputs"), score=explained, name=None
    )


@cases.recipe("boosting", 0.6)
def small_nets_correct_each_other(harness: Harness, seed: int) -> float:
    """Boosting with networks: each of five learns what the sum of the earlier ones leaves, shrunk by 0.5."""
    x, y, vx, vy = housing()
    nets = nn.ModuleList(dense(6, 24, 1) for _ in range(5))
    optimizers = [torch.optim.Adam(net.parameters(), lr=5e-3) for net in nets]
    harness.begin(nets, optimizers)
    base, so_far, val_so_far = y.mean(), torch.zeros_like(y), torch.zeros_like(vy)
    for net, optimizer in zip(nets, optimizers, strict=True):
        rest = y - base - so_far
        for _ in range(5):
            for rows in torch.randperm(len(x)).split(60):
                optimizer.zero_grad()
                loss = F.mse_loss(net(x[rows]), rest[rows])
                loss.backward()
                optimizer.step()
                harness.step(loss=loss)
        with torch.no_grad():
            so_far, val_so_far = so_far + 0.5 * net(x), val_so_far + 0.5 * net(vx)
    return explained(base + val_so_far, vy)


@cases.recipe("logistic", 0.9)
def wines_by_one_against_one(harness: Harness, seed: int) -> float:
    """Three linear machines for three pairs of cultivars, hinge loss on the rows of the pair, votes decide."""
    x, y, vx, vy = wine()
    first, second = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    model = nn.Linear(13, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-2)

    def pairwise(out: Tensor, y: Tensor) -> Tensor:
        sign = (y[:, None] == first).float() - (y[:, None] == second).float()
        return ((1 - sign * out).relu() * sign.abs()).sum() / sign.abs().sum()

    def votes(out: Tensor, y: Tensor) -> float:
        won = torch.where(out > 0, first, second)
        return float((F.one_hot(won, 3).sum(1).argmax(1) == y).float().mean())

    return study(harness, model, optimizer, pairwise, (x, y, vx, vy), epochs=15, size=16, score=votes)
