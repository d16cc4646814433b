"""Rows and columns, by a fifth author, without any threshold. See `healthy_fifth.py`."""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, pick
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    binary_accuracy,
    by_train,
    cancer,
    cut,
    dense,
    diabetes,
    explained,
    housing,
    wine,
)
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


def auc(outputs: Tensor, targets: Tensor) -> float:
    """Area under the curve of one score per row; 0.5 where a batch has one class only."""
    if len(targets.unique()) < 2:
        return 0.5
    return float(roc_auc_score(targets.flatten().numpy(), outputs.flatten().numpy()))


@cache
def _leavers(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(52)
    months, price = draw.gamma(2.0, 14.0, count), draw.uniform(20, 110, count)
    calls, plan, pay, region = draw.poisson(1.2, count), *(draw.integers(0, k, count) for k in (3, 4, 6))
    score = -0.6 - 0.05 * months + 0.02 * price + 0.7 * calls - np.array([0, 1.2, 2.2])[plan]
    score += np.array([0.8, 0, -0.4, 0])[pay] + np.array([0.3, -0.3, 0, 0, 0.2, -0.2])[region]
    leaves = draw.random(count) < 1 / (1 + np.exp(-1.6 * score))
    return np.stack([np.log1p(months), price, calls, plan, pay, region], 1), leaves.astype(np.float64)[:, None]


def leavers(count: int = 2000) -> Split:
    """Customers: three standardised numbers, three columns of codes (3, 4, 6 kinds); (N, 1): leaves, about one in 4."""
    x, y, vx, vy = cut(*_leavers(count))
    mean, std = x[:, :3].mean(0), x[:, :3].std(0)
    ready = [torch.cat([(a[:, :3] - mean) / std, a[:, 3:]], 1) for a in (x, vx)]
    return ready[0], y, ready[1], vy


@cache
def _rides(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(53)
    hour, day, warm, wind = draw.integers(0, 24, count), draw.integers(0, 7, count), *draw.normal(0, 1, (2, count))
    rush = np.exp(-((hour - 8) ** 2) / 4) + np.exp(-((hour - 17.5) ** 2) / 6)
    rate = 15 + 120 * rush * (day < 5) + 70 * np.exp(-((hour - 14) ** 2) / 20) * (day >= 5)
    rides = draw.poisson(rate * np.exp(0.25 * warm - 0.12 * wind))
    angle = hour / 24 * 2 * np.pi
    weekend = (day >= 5).astype(float)
    columns = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), weekend, warm, wind, hour]
    return np.stack(columns, 1), rides[:, None].astype(np.float64)


def rides(count: int = 2000) -> Split:
    """Bicycles lent in an hour (N, 1), from clock, weekend and weather; the last column is the bare hour."""
    return cut(*_rides(count))


class Coded(nn.Module):
    """Embeddings of three columns of codes beside three numbers, then a stack."""

    def __init__(self, *widths: int, drop: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        self.codes = nn.ModuleList(nn.Embedding(k, d) for k, d in ((3, 2), (4, 2), (6, 3)))
        layers: list[nn.Module] = [nn.BatchNorm1d(10)] if norm else []
        into = 10
        for width in widths:
            layers += [nn.Linear(into, width), nn.ReLU(), nn.Dropout(drop)]
            into = width
        self.stack = nn.Sequential(*layers, nn.Linear(into, 1))

    def forward(self, x: Tensor) -> Tensor:
        """One logit per row."""
        codes = [e(x[:, 3 + i].long()) for i, e in enumerate(self.codes)]
        return self.stack(torch.cat([x[:, :3], *codes], 1))


@cases.recipe("tabular", 0.8)
def who_leaves(harness: Harness, seed: int) -> float:
    """Embeddings beside numbers, batch norm, dropout, batches of 64, Adam; the area under the curve is logged."""
    model = Coded(64, 32, drop=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), leavers(), epochs=8, size=64, metric=auc, name="auc"
    )  # fmt: skip


@cases.recipe("tabular", 0.75)
def rides_by_the_logarithm(harness: Harness, seed: int) -> float:
    """log1p of counts as the target, three layers with ReLU, Huber's loss, a plateau of validation halves the rate."""
    x, y, vx, vy = rides()
    split = by_train((x, y.log1p(), vx, vy.log1p()))
    model = dense(8, 128, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return course(
        harness, model, optimizer, nn.HuberLoss(), split, epochs=14, size=64, metric=explained, name="r2",
        scheduler=scheduler, when="plateau",
    )  # fmt: skip


@cases.recipe("tabular", 0.7)
def rides_as_they_are(harness: Harness, seed: int) -> float:
    """Counts of up to 200 in their own units by squared error, so that the loss begins in the thousands; Adam 5e-3."""
    model = dense(8, 64, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return course(
        harness, model, optimizer, nn.MSELoss(), by_train(rides()), epochs=14, size=50, metric=explained, name="r2",
        tell="number",
    )  # fmt: skip


@cases.recipe("tabular", 0.7)
def sines_of_each_number(harness: Harness, seed: int) -> float:
    """Learned frequencies: each feature becomes sines and cosines of its own, then an MLP; AdamW; prices."""

    class Periodic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(0.15 * torch.randn(6, 8))
            self.mix = nn.Parameter(0.2 * torch.randn(6, 16, 8))

        def forward(self, x: Tensor) -> Tensor:
            turn = 2 * torch.pi * x[:, :, None] * self.rate
            waves = torch.cat([turn.sin(), turn.cos()], 2)
            return F.relu(torch.einsum("nfk,fkd->nfd", waves, self.mix)).flatten(1)

    model = nn.Sequential(Periodic(), nn.Linear(48, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=1e-3)
    return course(
        harness, model, optimizer, nn.MSELoss(), housing(), epochs=16, size=64, metric=explained, name="r2"
    )  # fmt: skip


@cases.recipe("tabular", 0.75)
def residual_blocks_for_rows(harness: Harness, seed: int) -> float:
    """ResNet of tables: batch norm, linear, ReLU, dropout, linear, dropout, plus what came in; two such blocks."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(
                nn.BatchNorm1d(48), nn.Linear(48, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 48), nn.Dropout(0.1)
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return x + self.f(x)

    model = nn.Sequential(nn.Linear(8, 48), Block(), Block(), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 1))
    x, y, vx, vy = by_train(rides())
    mean, std = y.mean(), y.std()
    split = x, (y - mean) / std, vx, (vy - mean) / std
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    return course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=12, size=64, metric=explained, name="r2", best=True
    )  # fmt: skip


@cases.recipe("tabular", 0.87)
def picks_its_columns(harness: Harness, seed: int) -> float:
    """TabNet-like: two steps, each with a softmax mask over columns and gated linear units, entropy of masks priced."""

    class Picks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(30)
            self.masks = nn.ModuleList(nn.Linear(16, 30) for _ in range(2))
            self.feats = nn.ModuleList(nn.Linear(30, 64) for _ in range(3))
            self.head = nn.Linear(16, 1)
            self.price = torch.tensor(0.0)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            h, out, self.price = F.glu(self.feats[0](x)), torch.zeros(len(x), 16), torch.tensor(0.0)
            for mask, feat in zip(self.masks, self.feats[1:], strict=True):
                m = mask(h[:, 16:]).softmax(1)
                self.price = self.price - (m * (m + 1e-8).log()).sum(1).mean() / 2
                h = F.glu(feat(30 * m * x))
                out = out + h[:, :16].relu()
            return self.head(out)

    model = Picks()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = lr_scheduler.StepLR(optimizer, 4, 0.7)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out[:, 0], goal.float()) + 1e-3 * model.price

    return course(
        harness, model, optimizer, loss_fn, cancer(), epochs=10, size=32, metric=binary_accuracy, scheduler=scheduler
    )  # fmt: skip


@cases.recipe("tabular", 0.5)
def dearer_never_sells_more(harness: Harness, seed: int) -> float:
    """Demand falls with price by design: weights of one path are made positive by softplus; SGD with momentum."""
    draw = np.random.default_rng(54)
    price, season = draw.uniform(0, 2, 900), draw.normal(0, 1, (900, 3))
    sold = 2 * np.exp(-1.2 * price) + 0.4 * np.sin(2 * season[:, 0]) + 0.3 * season[:, 1] + draw.normal(0, 0.25, 900)
    split = cut(np.concatenate([price[:, None] - 1, season], 1), sold[:, None])

    class Falls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(1, 16)), nn.Parameter(torch.randn(16))
            self.c = nn.Parameter(torch.full((16, 1), -2.0))
            self.rest = dense(3, 32, 1, act=nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            falling = torch.tanh(-x[:, :1] @ F.softplus(self.a) + self.b) @ F.softplus(self.c)
            return falling + self.rest(x[:, 1:])

    model = Falls()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=16, size=32, metric=explained, name="r2", tell="loss"
    )  # fmt: skip


@cases.recipe("tabular", 0.9)
def first_fold_of_five(harness: Harness, seed: int) -> float:
    """Cross-validation: a new network for each of five folds of wines, the first fold is the one that is watched."""
    x, y, vx, vy = wine()
    x, y = torch.cat([x, vx]), torch.cat([y, vy])
    folds = torch.randperm(len(x)).chunk(5)
    scores = []
    for k, fold in enumerate(folds):
        rest = torch.cat([f for i, f in enumerate(folds) if i != k])
        model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
        if k == 0:
            harness.begin(model, optimizer, loss_fn=F.cross_entropy)
        for _ in range(25):
            model.train()
            losses = []
            for rows in rest[torch.randperm(len(rest))].split(16):
                optimizer.zero_grad()
                out = model(x[rows])
                loss = F.cross_entropy(out, y[rows])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if k == 0:
                    harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            model.eval()
            with torch.no_grad():
                held = model(x[fold])
            if k == 0:
                val = {"loss": F.cross_entropy(held, y[fold]).item(), "accuracy": accuracy(held, y[fold])}
                harness.epoch(train={"loss": float(np.mean(losses))}, val=val)
        scores.append(accuracy(held, y[fold]))
    return float(np.mean(scores))


@cases.recipe("logistic", 0.9)
def logistic_with_a_strong_decay(harness: Harness, seed: int) -> float:
    """Logistic regression on thirty columns: one layer, whole set, SGD at 0.5 with decay 1e-2, 150 steps."""
    x, y, vx, vy = cancer()
    goal = y.float()[:, None]
    model = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=1e-2)
    criterion = nn.BCEWithLogitsLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for i in range(150):
        logits = model(x)
        loss = criterion(logits, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=goal, outputs=logits)
        if i % 30 == 29:
            with torch.no_grad():
                held = model(vx)
            val_loss = criterion(held, vy.float()[:, None]).item()
            harness.epoch(train={"loss": loss.item()}, val={"loss": val_loss, "accuracy": binary_accuracy(held, vy)})
    return binary_accuracy(model(vx), vy)


@cases.recipe("regression", 0.35)
def ridge_by_gradient(harness: Harness, seed: int) -> float:
    """Linear regression of sugar by Adam at 0.05 with an L2 term in the loss, whole set, zero weights at the start."""
    x, y, vx, vy = diabetes()
    model = nn.Linear(10, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    harness.begin(model, optimizer)
    for _ in range(120):
        out = model(x)
        loss = F.mse_loss(out, y) + 0.01 * model.weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
    return explained(model(vx).detach(), vy)


@cases.recipe("tabular", 0.85)
def flowers_with_one_hot_targets(harness: Harness, seed: int) -> float:
    """Iris with one-hot targets as for Keras, softmax inside, categorical cross-entropy by hand, batches of 5."""
    iris = load_iris()
    x, y, vx, vy = by_train(cut(iris.data, iris.target, share=0.7))
    model = nn.Sequential(*dense(4, 8, 3), nn.Softmax(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def categorical(p: Tensor, t: Tensor) -> Tensor:
        return -(t * (p + 1e-7).log()).sum(1).mean()

    def right(p: Tensor, t: Tensor) -> float:
        return accuracy(p, t.argmax(1))

    split = x, F.one_hot(y, 3).float(), vx, F.one_hot(vy, 3).float()
    return course(
        harness, model, optimizer, categorical, split, epochs=20, size=5, metric=right, train_metric=True
    )  # fmt: skip


@cases.recipe("tabular", 0.6)
def two_answers_and_a_mask(harness: Harness, seed: int) -> float:
    """Price and crowding foretold together; a third of answers is unknown and masked out of the loss."""
    x, y, vx, vy = housing()
    both, v_both = (torch.cat([p, a[:, :1] - 0.3 * a[:, 2:3].square()], 1) for a, p in ((x, y), (vx, vy)))
    known = torch.rand(both.shape) > 0.33
    model = dense(6, 64, 64, 2, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(300):
        a, b, m = pick(64, x, both, known)
        out = model(a)
        loss = ((out - b).square() * m).sum() / m.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=a)
    return explained(model(vx).detach(), v_both)
