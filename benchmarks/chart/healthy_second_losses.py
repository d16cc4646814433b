"""Losses and tables of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import itertools

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    cancer,
    cut,
    dense,
    diabetes,
    digits,
    explained,
    fit,
    housing,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.recipe("housing", 0.7)
def three_quantiles(harness: Harness, seed: int) -> float | None:
    """Pinball loss of the 10 %, 50 % and 90 % quantiles."""
    levels = torch.tensor([0.1, 0.5, 0.9])

    def pinball(out: Tensor, y: Tensor) -> Tensor:
        error = y - out
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    model = dense(6, 48, 48, 3, act=nn.SiLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, pinball, housing(), score=lambda o, y: explained(o[:, 1:2], y), metric=None)


@cases.recipe("diabetes", 0.25)
def gaussian_with_its_variance(harness: Harness, seed: int) -> float | None:
    """Negative log-likelihood of a normal distribution of raw targets over 100; may become negative."""
    model = dense(10, 32, 2, act=nn.Tanh)

    def nll(out: Tensor, y: Tensor) -> Tensor:
        return F.gaussian_nll_loss(out[:, :1], y / 100, F.softplus(out[:, 1:]) + 1e-3)

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    return fit(
        harness, model, optimizer, nll, diabetes(raw=True), score=lambda o, y: explained(o[:, :1], y / 100), epochs=15,
        metric="r2",
    )  # fmt: skip


@cases.recipe("counts", 0.6)
def poisson_counts(harness: Harness, seed: int) -> float | None:
    """Counts per hour, log link, PoissonNLLLoss; negative losses are legal."""
    draw = np.random.default_rng(8)
    hour, heat, free = draw.uniform(0, 24, 1200), draw.normal(0, 1, 1200), draw.integers(0, 2, 1200)
    rate = np.exp(1.5 + np.sin((hour - 8) / 24 * 6.28) + 0.4 * heat - 0.5 * free)
    x = np.stack([np.sin(hour / 24 * 6.28), np.cos(hour / 24 * 6.28), heat, free], 1)
    split = cut(x, draw.poisson(rate).astype(np.float64)[:, None])
    model = dense(4, 32, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, nn.PoissonNLLLoss(), split, score=lambda o, y: explained(o.exp(), y), metric=None
    )


@cases.recipe("cancer", 0.9)
def squared_hinge_machine(harness: Harness, seed: int) -> float | None:
    """A linear support vector machine: targets -1 and 1, squared hinge, decay."""
    x, y, vx, vy = cancer()
    split = x, 2.0 * y[:, None] - 1, vx, 2.0 * vy[:, None] - 1
    model = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=1e-2)
    return fit(harness, model, optimizer, lambda o, t: F.relu(1 - o * t).square().mean(), split, score=binary_accuracy)


@cases.recipe("cancer", 0.8)
def rare_class_weighted(harness: Harness, seed: int) -> float | None:
    """One positive in twelve, pos_weight of 11; the score is the balanced accuracy."""
    x, y, vx, vy = cancer()
    keep = (y == 1) | (torch.arange(len(y)) % 7 == 0)
    x, y = x[keep], y[keep]
    split = x, (1.0 - y)[:, None], vx, (1.0 - vy)[:, None]
    model = dense(30, 24, 1)

    def balanced(out: Tensor, t: Tensor) -> float:
        return float(((out > 0)[t == 1].float().mean() + (out <= 0)[t == 0].float().mean()) / 2)

    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([11.0]))
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss, split, score=balanced, epochs=12)


@cases.recipe("mlp", 0.8)
def balanced_class_weights(harness: Harness, seed: int) -> float | None:
    """Three classes are rare; cross-entropy is weighted by inverse frequency."""
    x, y, vx, vy = digits("standard", image=False)
    keep = (y > 2) | (torch.arange(len(y)) % 4 == 0)
    x, y = x[keep], y[keep]
    count = torch.bincount(y, minlength=10)
    loss = nn.CrossEntropyLoss(weight=len(y) / (10 * count))
    model = dense(64, 64, 10)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss, (x, y, vx, vy))


@cases.recipe("wine", 0.85)
def class_and_strength(harness: Harness, seed: int) -> float | None:
    """Two tasks with learned weights of uncertainty: cultivar, and alcohol from the other features."""
    x, y, vx, vy = wine()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.kind, self.alcohol = dense(12, 32, 32), nn.Linear(32, 3), nn.Linear(32, 1)
            self.log_var = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = F.relu(self.trunk(x))
            return self.kind(h), self.alcohol(h)

    model = Two()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    for _ in range(25):
        for rows in torch.randperm(len(x)).split(24):
            kind, alcohol = model(x[rows, 1:])
            parts = torch.stack([F.cross_entropy(kind, y[rows]), F.mse_loss(alcohol, x[rows, :1])])
            loss = (parts * (-model.log_var).exp() + model.log_var / 2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=x[rows, 1:], outputs={"kind": kind, "alcohol": alcohol})
    model.eval()
    with torch.no_grad():
        return accuracy(model(vx[:, 1:])[0], vy)


@cases.recipe("tabular", 0.6)
def categories_and_numbers(harness: Harness, seed: int) -> float | None:
    """Embeddings for a district and a season, numbers beside them, batch norm on the numbers."""
    draw = np.random.default_rng(4)
    place, season, area = draw.integers(0, 30, 1200), draw.integers(0, 4, 1200), draw.normal(80, 25, 1200)
    worth, tide = draw.normal(0, 1, 30), np.array([0.0, 0.4, 0.8, 0.3])
    y = worth[place] + tide[season] + 0.02 * area + draw.normal(0, 0.2, 1200)
    split = cut(np.stack([place, season, area], 1), (y - y.mean())[:, None])

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.season = nn.Embedding(30, 6), nn.Embedding(4, 2)
            self.norm, self.rest = nn.BatchNorm1d(1), dense(9, 32, 1)

        def forward(self, x: Tensor) -> Tensor:
            parts = self.place(x[:, 0].long()), self.season(x[:, 1].long()), self.norm(x[:, 2:])
            return self.rest(torch.cat(parts, 1))

    model = Mixed()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return fit(harness, model, optimizer, F.mse_loss, split, score=explained, metric="r2", epochs=12)


@cases.recipe("ratings", 0.4)
def factorised_ratings(harness: Harness, seed: int) -> float | None:
    """Matrix factorisation with biases, SparseAdam for sparse embeddings."""
    draw = np.random.default_rng(6)
    people, things = draw.normal(0, 1, (60, 2)), draw.normal(0, 1, (40, 2))
    pairs = np.array(list(itertools.product(range(60), range(40))))
    stars = 3 + (people[pairs[:, 0]] * things[pairs[:, 1]]).sum(1) * 0.7 + draw.normal(0, 0.2, len(pairs))
    split = cut(pairs, stars.clip(1, 5))

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.person, self.thing = nn.Embedding(60, 9, sparse=True), nn.Embedding(40, 9, sparse=True)
            nn.init.normal_(self.person.weight, std=0.3)
            nn.init.normal_(self.thing.weight, std=0.3)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.person(x[:, 0]), self.thing(x[:, 1])
            return 3 + (a[:, 1:] * b[:, 1:]).sum(1) + a[:, 0] + b[:, 0]

    model = Factors()
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=2e-2)
    return fit(harness, model, optimizer, F.mse_loss, split, score=explained, metric=None, size=64, epochs=10)


@cases.recipe("cancer", 0.9)
def mixed_up_rows(harness: Harness, seed: int) -> float | None:
    """Mixup: rows and one-hot targets are blended, soft-target cross-entropy."""
    x, y, vx, vy = cancer()

    def blend(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        share, other = float(np.random.beta(0.4, 0.4)), torch.randperm(len(a))
        return share * a + (1 - share) * a[other], share * t + (1 - share) * t[other]

    def score(out: Tensor, t: Tensor) -> float:
        return accuracy(out, t.argmax(1))

    model = dense(30, 48, 2)
    split = x, F.one_hot(y, 2).float(), vx, F.one_hot(vy, 2).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, before=blend, score=score, epochs=10)
