"""Tables: rankings, tasks, experts, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import math
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, accuracy, cancer, cut, dense, draws, explained, fit, housing, wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


@cases.recipe("recommender", 0.5)
def items_ranked_in_pairs(harness: Harness, seed: int) -> float:
    """BPR with sparse embeddings and SparseAdam, random negatives; 2 x AUC - 1 on held-out likings."""
    draw = np.random.default_rng(61)
    taste, kind = draw.normal(size=(80, 3)), draw.normal(size=(60, 3))
    liked = torch.tensor(taste @ kind.T + 0.5 * draw.normal(size=(80, 60)) > 1.2)
    hold = torch.tensor(draw.random((80, 60)) < 0.2)
    users, items = nn.Embedding(80, 8, sparse=True), nn.Embedding(60, 8, sparse=True)
    for table in (users, items):
        nn.init.normal_(table.weight, std=0.1)
    pairs = (liked & ~hold).nonzero()
    model = nn.ModuleList([users, items])
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.02)

    def compute(i: int) -> torch.Tensor:
        u, a = pairs[rows(pairs, 128)].unbind(1)
        b = torch.randint(60, (128,))
        fine = (~liked[u, b]) | hold[u, b]
        gain = (users(u) * (items(a) - items(b))).sum(1)
        return -(F.logsigmoid(gain) * fine).sum() / fine.sum()

    iterate(harness, model, optimizer, compute, 250)
    with torch.no_grad():
        score = users.weight @ items.weight.T
    up, down = score[liked & hold], score[~liked & hold]
    return 2 * float((up[:, None] > down).float().mean()) - 1


@cases.recipe("multitask", 0.3)
def weights_by_uncertainty(harness: Harness, seed: int) -> float:
    """Kind of wine and two of its measures; each loss has a learned log variance, so that the sum may be negative."""
    x, y, vx, vy = wine()
    body, kind, other = dense(11, 32).append(nn.ReLU()), nn.Linear(32, 3), nn.Linear(32, 2)
    log_var = nn.Parameter(torch.zeros(2))
    model = nn.ModuleDict({"body": body, "kind": kind, "other": other, "s": nn.ParameterList([log_var])})
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    for _ in range(25):
        for bx, by in draws(x, y, 24):
            z = body(bx[:, :11])
            losses = torch.stack([F.cross_entropy(kind(z), by), 0.5 * F.mse_loss(other(z), bx[:, 11:])])
            loss = (losses * (-log_var).exp() + 0.5 * log_var).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss)
        with torch.no_grad():
            harness.epoch(val={"accuracy": accuracy(kind(body(vx[:, :11])), vy)})
    z = body(vx[:, :11])
    return min(accuracy(kind(z), vy), explained(other(z), vx[:, 11:]))


@cases.recipe("experts", 0.7)
def mixture_of_three_lines(harness: Harness, seed: int) -> float:
    """A softly gated mixture of three linear experts; log likelihood of a broken line; explained by the mixed mean."""
    draw = np.random.default_rng(67)
    x = draw.uniform(-3, 3, (600, 1))
    y = np.where(x < -1, 2 * x + 3, np.where(x < 1, -x, 1.5 * x - 2.5)) + 0.2 * draw.normal(size=(600, 1))

    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.lines = nn.Linear(1, 4), nn.Linear(1, 4)
            self.log_spread = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.gate(x).log_softmax(1), self.lines(x)

    model = Mix()

    def loss_fn(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        gate, line = out
        z = (y - line) / model.log_spread.exp()
        log_p = gate - 0.5 * z**2 - model.log_spread - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(log_p, 1).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    return fit(
        harness, model, optimizer, loss_fn, cut(x, y), epochs=15,
        score=lambda o, t: explained((o[0].exp() * o[1]).sum(1, keepdim=True), t), metric=None,
    )  # type: ignore[arg-type]  # fmt: skip


@cases.recipe("mlp", 0.9)
def labels_are_minus_and_plus(harness: Harness, seed: int) -> float:
    """Targets -1 and 1, SoftMarginLoss on a tanh network; nn.Module without Sequential, weight decay by hand."""
    x, y, vx, vy = cancer()
    model = dense(30, 20, 1, act=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    soft = nn.SoftMarginLoss()

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return soft(out.squeeze(1), y) + 1e-4 * sum(p.square().sum() for p in model.parameters())

    def score(out: Tensor, y: Tensor) -> float:
        return float((out.squeeze(1).sign() == y).float().mean())

    return fit(harness, model, optimizer, loss_fn, (x, 2.0 * y - 1, vx, 2.0 * vy - 1), epochs=10, score=score)


@cases.recipe("gp", 0.75)
def kernel_by_its_evidence(harness: Harness, seed: int) -> float:
    """A Gaussian process with a learned kernel over a network's features: marginal likelihood, Cholesky, whole set."""
    x, y, vx, vy = housing(400)
    middle, y, vy = y.mean(), y - y.mean(), vy - y.mean()

    class Process(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.raw = dense(6, 16, 4, act=nn.Tanh), nn.Parameter(torch.zeros(3))

        def kernel(self, a: Tensor, b: Tensor) -> Tensor:
            d = torch.cdist(self.features(a), self.features(b)).square()
            return self.raw[0].exp() * (-0.5 * d / self.raw[1].exp()).exp()

        def chol(self) -> Tensor:
            return torch.linalg.cholesky(self.kernel(x, x) + (self.raw[2].exp() + 1e-3) * torch.eye(len(x)))

        def forward(self, new: Tensor) -> Tensor:
            return self.kernel(new, x) @ torch.cholesky_solve(y, self.chol())

    model = Process()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def compute(i: int) -> Tensor:
        low = model.chol()
        return (0.5 * (y * torch.cholesky_solve(y, low)).sum() + low.diagonal().log().sum()) / len(x)

    iterate(harness, model, optimizer, compute, 40)
    return explained(model(vx) + 0 * middle, vy)


@cases.recipe("bayes", 0.85)
def weights_with_a_spread(harness: Harness, seed: int) -> float:
    """Bayes by backprop: each weight has a mean and a log deviation; divergence to a prior, scaled by set size."""
    x, y, vx, vy = wine()

    class Layer(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.randn(out, into) / into**0.5)
            self.log_spread, self.bias = nn.Parameter(torch.full((out, into), -4.0)), nn.Parameter(torch.zeros(out))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.mean + self.log_spread.exp() * torch.randn_like(self.mean), self.bias)

        def divergence(self) -> Tensor:
            return (0.5 * ((2 * self.log_spread).exp() + self.mean**2 - 1) - self.log_spread).sum()

    a, b = Layer(13, 24), Layer(24, 3)
    model = nn.Sequential(a, nn.ReLU(), b)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def compute(i: int) -> dict[str, Any]:
        at = rows(x, 32)
        out = model(x[at])
        loss = F.cross_entropy(out, y[at]) + (a.divergence() + b.divergence()) / (10 * len(x))
        return {"loss": loss, "inputs": x[at], "targets": y[at], "outputs": out}

    iterate(harness, model, optimizer, compute, 200)
    with torch.no_grad():
        return accuracy(torch.stack([model(vx).softmax(1) for _ in range(10)]).mean(0), vy)
