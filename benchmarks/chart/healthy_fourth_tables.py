"""Tables as competitions have them, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import school
from benchmarks.chart.second import (
    SecondCases,
    binary_accuracy,
    cancer,
    cut,
    dense,
    diabetes,
    explained,
    wine,
)
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cache
def sales() -> tuple[Tensor, Tensor]:
    """Rows of (store of 20, weekday of 7, promotion 0 or 1) and sales of about 2000 to 12000 with noise."""
    draw = np.random.default_rng(41)
    store, day, promo = draw.integers(0, 20, 1600), draw.integers(0, 7, 1600), draw.integers(0, 2, 1600)
    base, week = draw.uniform(7.8, 8.8, 20), np.array([0.1, 0.0, -0.05, 0.0, 0.1, 0.25, -0.6])
    amount = np.exp(base[store] + week[day] + 0.25 * promo + draw.normal(0, 0.08, 1600))
    return torch.tensor(np.stack([store, day, promo], 1)), torch.tensor(amount, dtype=torch.float32)


@cache
def clicks(rows: int = 2400) -> tuple[Tensor, Tensor]:
    """Five fields of 12 values each (N, 5), and clicks 0 or 1 that follow from pairs of fields."""
    draw = np.random.default_rng(42)
    x, latent = draw.integers(0, 12, (rows, 5)), draw.normal(0, 1, (5, 12, 3))
    v = np.stack([latent[f, x[:, f]] for f in range(5)], 1)
    score = (v.sum(1) ** 2 - (v**2).sum(1)).sum(1) / 2
    return torch.tensor(x), torch.tensor((score + draw.logistic(0, 0.5, rows) > 0).astype(np.float32))


@cases.recipe("regression", 0.8)
def stores_embedded(harness: Harness, seed: int) -> float:
    """Entity embeddings for shops and weekdays, the logarithm of sales divided by its maximum through a sigmoid."""
    x, y = sales()
    y = (y.log() / y.log().max())[:, None]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.store, self.day = nn.Embedding(20, 8), nn.Embedding(7, 4)
            self.top = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, x: Tensor) -> Tensor:
            parts = [self.store(x[:, 0]), self.day(x[:, 1]), x[:, 2:].float()]
            return self.top(torch.cat(parts, 1)).sigmoid()

    net = Net()
    split = x[:1200], y[:1200], x[1200:], y[1200:]
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    return school(harness, net, optimizer, nn.L1Loss(), split, epochs=12, size=64, score=explained, key=None)


@cases.recipe("mlp", 0.9)
def raw_features_behind_a_norm(harness: Harness, seed: int) -> float:
    """Tumours in raw units (up to 4000), a BatchNorm1d first in the network takes care of it."""
    model = nn.Sequential(nn.BatchNorm1d(30), nn.Linear(30, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    split = cut(*load_breast_cancer(return_X_y=True))
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=10, drop_last=True)


@cases.recipe("regression", 0.3)
def logarithm_of_the_target(harness: Harness, seed: int) -> float:
    """RMSLE: squared error of log(1 + target); explained variance of the target itself after exp."""
    x, y, vx, vy = diabetes(raw=True)
    model = dense(10, 32, 1)
    nn.init.constant_(model[-1].bias, float(y.log1p().mean()))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    school(
        harness, model, optimizer, lambda o, t: (o - t).square().mean().sqrt(), (x, y.log1p(), vx, vy.log1p()),
        epochs=15, score=explained, key=None, tell="pair",
    )  # fmt: skip
    return explained(model(vx).expm1(), vy)


@cases.recipe("transformer", 0.9)
def features_as_tokens(harness: Harness, seed: int) -> float:
    """FT-Transformer on wine: each feature has its own token, a class token is read; post-norm encoder of torch."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.randn(13, 16) / 4), nn.Parameter(torch.randn(13, 16) / 4)
            self.first = nn.Parameter(torch.randn(1, 1, 16) / 4)
            layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, activation="gelu")
            self.body, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x[..., None] * self.scale + self.shift
            tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)
            return self.head(self.body(tokens)[:, 0])

    model = Tokens()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), wine(), epochs=15, size=16, percent=True)


@cases.recipe("mlp", 0.7)
def factorisation_machine(harness: Harness, seed: int) -> float:
    """A factorisation machine on five fields: biases, and pair terms by the square of a sum; L2 by weight_decay."""
    x, y = clicks()

    class Machine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = nn.Embedding(60, 1), nn.Embedding(60, 6)
            nn.init.normal_(self.v.weight, std=0.1)
            self.b = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            at = x + 12 * torch.arange(5)
            v = self.v(at)
            pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(1)
            return self.b + self.w(at).sum((1, 2)) + pairs

    model = Machine()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=1e-5)
    split = x[:1800], y[:1800], x[1800:], y[1800:]
    return school(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=10, size=64, score=binary_accuracy
    )  # fmt: skip


@cases.recipe("mlp", 0.7)
def deep_beside_crossed(harness: Harness, seed: int) -> float:
    """A deep and cross network: x0 * (w x) + x three times beside an MLP, one logit from both; SGD for embeddings."""
    x, y = clicks()

    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(60, 6)
            self.cross = nn.ModuleList(nn.Linear(30, 30) for _ in range(2))
            self.deep, self.head = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Dropout(0.2)), nn.Linear(78, 1)

        def forward(self, x: Tensor) -> Tensor:
            x0 = h = self.table(x + 12 * torch.arange(5)).flatten(1)
            for layer in self.cross:
                h = x0 * layer(h) + h
            return self.head(torch.cat([h, self.deep(x0)], 1)).squeeze(1)

    model = Crossed()
    groups = [{"params": model.table.parameters(), "lr": 0.02}, {"params": [*model.cross.parameters()]},
              {"params": [*model.deep.parameters(), *model.head.parameters()]}]  # fmt: skip
    optimizer = torch.optim.RMSprop(groups, lr=2e-3)
    split = x[:1800], y[:1800], x[1800:], y[1800:]
    return school(
        harness, model, optimizer, F.binary_cross_entropy_with_logits, split, epochs=6, size=64, score=binary_accuracy
    )


@cases.recipe("mlp", 0.92)
def a_network_per_feature(harness: Harness, seed: int) -> float:
    """Neural additive model: 30 small networks of one feature each, as grouped convolutions, their sum the logit."""
    x, y, vx, vy = cancer()
    model = nn.Sequential(
        nn.Unflatten(1, (30, 1)), nn.Conv1d(30, 240, 1, groups=30), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv1d(240, 30, 1, groups=30), nn.Flatten(),
    )  # fmt: skip

    def loss_fn(parts: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(parts.sum(1), y) + 1e-3 * parts.square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return school(
        harness, model, optimizer, loss_fn, (x, y.float(), vx, vy.float()), epochs=10,
        score=lambda o, t: binary_accuracy(o.sum(1), t),
    )  # fmt: skip
