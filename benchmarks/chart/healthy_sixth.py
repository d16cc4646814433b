"""Loops of many desks: helpers, data and a few first recipes by a sixth author, who had not read the rules, without
any threshold.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, cut, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("sixth")


def course(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    loss_fn: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 6,
    size: int = 32,
    tell: str = "ito",
    report: str = "both",
    scheduler: Any = None,
    each_step: bool = False,
    transform: Callable[[Tensor], Tensor] = lambda x: x,
    clip: float = 0.0,
    clear_last: bool = False,
    drop_last: bool = False,
    score: Callable[[Any, Any], float] = accuracy,
    key: str | None = "accuracy",
    cast: bool = False,
    after: Callable[[], Any] = lambda: None,
    judge: nn.Module | None = None,
) -> float:
    """A training function and an evaluation function, called in turn. Returns the last score.

    `tell`: what is told of a step beside its loss, i(nputs), t(argets), o(utputs), or "float" for the bare number.
    `report`: "both", "val" or "none" of an epoch. `clear_last`: gradients are cleared after the step.
    """
    x, y, vx, vy = split
    train = DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True, drop_last=drop_last)
    val = DataLoader(TensorDataset(vx, vy), batch_size=128)
    harness.begin(model, optimizer, loss_fn=loss_fn if "o" in tell and tell != "float" else None)
    value = 0.0
    for _ in range(epochs):
        model.train()
        total = 0.0
        for a, b in train:
            a = transform(a)
            if not clear_last:
                optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16) if cast else nullcontext():
                out = model(a)
                loss = loss_fn(out, b)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if clear_last:
                optimizer.zero_grad()
            after()
            if scheduler is not None and each_step:
                scheduler.step()
            total += loss.item() * len(a)
            told = {"i": ("inputs", a), "t": ("targets", b), "o": ("outputs", out)}
            if tell == "float":
                harness.step(loss=loss.item())
            else:
                harness.step(loss=loss, **dict(told[c] for c in tell))
        if scheduler is not None and not each_step:
            scheduler.step()
        tested = judge or model
        tested.eval()
        outs = []
        with torch.no_grad():
            for a, _ in val:
                outs.append(tested(a))
            out = tuple(map(torch.cat, zip(*outs, strict=True))) if isinstance(outs[0], tuple) else torch.cat(outs)
            value, val_loss = score(out, vy), float(loss_fn(out, vy))
        if report != "none":
            shown = {"loss": val_loss} | ({key: value} if key else {})
            harness.epoch(train={"loss": total / len(x)} if report == "both" else None, val=shown)
    return value


def iterate(
    harness: Harness,
    models: Any,
    optimizer: Any,
    compute: Callable[[int], Any],
    steps: int,
    *,
    clip: float = 0.0,
    scheduler: Any = None,
    after: Callable[[int], Any] = lambda i: None,
) -> None:
    """Research code: a number of iterations. `compute` gives the loss, or a dict of what is told of the step."""
    harness.begin(models, optimizer)
    for i in range(steps):
        told = compute(i)
        told = told if isinstance(told, dict) else {"loss": told}
        optimizer.zero_grad(set_to_none=True)
        told["loss"].backward()
        if clip:
            nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        harness.step(**told)
        after(i)


def pick(count: int, *data: Tensor) -> list[Tensor]:
    """The same random rows of each."""
    rows = torch.randint(len(data[0]), (count,))
    return [d[rows] for d in data]


@cache
def _textures(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(61)
    kinds = draw.integers(0, 5, count)
    r, c = np.mgrid[:size, :size]
    images = np.zeros((count, 3, size, size))
    for i, kind in enumerate(kinds):
        f, p, q = draw.uniform(0.7, 1.4), draw.uniform(0, 6.28), draw.uniform(0, 6.28)
        form = (
            np.sin(f * r + p),
            np.sin(f * c + p),
            np.sin(0.7 * f * (r + c) + p),
            np.sign(np.sin(f * r + p) * np.sin(f * c + q)),
            2 * (np.sin(f * r + p) * np.sin(f * c + q) > 0.5) - 1.0,
        )[kind]
        base, span = draw.uniform(0.35, 0.65, (3, 1, 1)), draw.uniform(0.1, 0.3, (3, 1, 1))
        images[i] = base + span * form + draw.normal(0, 0.08, (3, size, size))
    return images.clip(0, 1), kinds


def textures(count: int = 720, size: int = 20) -> Split:
    """Colour images (N, 3, size, size) in 0..1 of stripes in three directions, checks or dots; classes 0..4."""
    return cut(*_textures(count, size))


@cache
def _cells(count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(62)
    r, c = np.mgrid[:size, :size]
    images, masks, numbers = np.zeros((count, 1, size, size)), np.zeros((count, 1, size, size)), np.zeros(count)
    for i in range(count):
        image = draw.uniform(0.1, 0.25) + 0.003 * (r * draw.normal() + c * draw.normal())
        for _ in range(draw.integers(1, 5)):
            a, b, turn = draw.uniform(2.5, 5), draw.uniform(2.5, 5), draw.uniform(0, 3.14)
            y, x = draw.uniform(4, size - 4, 2)
            u, v = (r - y) * np.cos(turn) + (c - x) * np.sin(turn), (c - x) * np.cos(turn) - (r - y) * np.sin(turn)
            inside = (u / a) ** 2 + (v / b) ** 2 <= 1
            image = np.where(inside, draw.uniform(0.45, 0.8), image)
            masks[i, 0] = np.maximum(masks[i, 0], inside)
            numbers[i] += 1
        images[i, 0] = image + draw.normal(0, 0.05, (size, size))
    return images.clip(0, 1), masks, numbers


def cells(count: int = 360, size: int = 32) -> Split:
    """Grey images (N, 1, size, size) of one to four bright cells, masks of 0 and 1 of the same shape."""
    images, masks, _ = _cells(count, size)
    return cut(images, masks)


@cache
def _tones(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(63)
    kinds, t = draw.integers(0, 6, count), np.arange(length) / 4000
    waves = np.zeros((count, length))
    for i, kind in enumerate(kinds):
        f, p = draw.uniform(250, 600), draw.uniform(0, 6.28)
        last = t[-1]
        wave = (
            np.sin(6.28 * f * t + p),
            np.sin(6.28 * (f * t + 2.0 * f * t**2 / (2 * last)) + p),
            np.sin(6.28 * (3 * f * t - 2.0 * f * t**2 / (2 * last)) + p),
            np.sin(6.28 * f * t + p) * (0.5 + 0.5 * np.sin(6.28 * 30 * t)),
            np.sin(6.28 * f * t + p) + np.sin(6.28 * 2.7 * f * t),
            draw.normal(0, 0.7, length),
        )[kind]
        waves[i] = draw.uniform(0.3, 0.8) * wave + draw.normal(0, 0.1, length)
    return waves, kinds


def tones(count: int = 720, length: int = 512) -> Split:
    """Waves (N, length) about -1..1: tone, rising, falling, beating, two tones, noise; classes 0..5."""
    return cut(*_tones(count, length))


@cache
def _churn(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(64)
    months, bill, calls = draw.integers(1, 72, count), draw.gamma(4, 15, count), draw.poisson(1.2, count)
    age, data = draw.uniform(18, 80, count), draw.lognormal(1, 0.6, count)
    contract, payment, region = (draw.integers(0, k, count) for k in (3, 4, 6))
    score = 2.5 - 0.09 * months + 0.035 * bill + 1.1 * calls - 2.2 * contract + 1.2 * (payment == 2)
    score = score + 0.9 * (region % 2) - 1.5 * (age > 60) + 0.2 * data * (contract == 0)
    left = score + draw.logistic(0, 0.45, count) > np.median(score)
    return np.stack([months, bill, calls, age, data, contract, payment, region], 1), left.astype(np.float32)


def churn(count: int = 2000) -> Split:
    """Five standardised numbers and three categories of 3, 4 and 6 values, (N, 8); whether the customer left."""
    x, y = _churn(count)
    x = x.astype(np.float32)
    split = cut(x, y)
    mean, std = split[0][:, :5].mean(0), split[0][:, :5].std(0)
    for part in (split[0], split[2]):
        part[:, :5] = (part[:, :5] - mean) / std
    return split


@cache
def _reviews(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(65)
    rows, labels = np.zeros((count, 16), np.int64), np.zeros(count, np.int64)
    for i in range(count):
        while True:
            length = draw.integers(7, 17)
            row = draw.integers(32, 64, length)
            spots = draw.permutation(length)[: draw.integers(2, 5)]
            row[spots] = draw.integers(2, 32, len(spots))
            total = int((row < 17).sum() - ((row >= 17) & (row < 32)).sum())
            if total:
                break
        rows[i, :length], labels[i] = row, total > 0
    return rows, labels


def reviews(count: int = 1600) -> Split:
    """Words (N, 16) of 2..63 with 0 at the end for padding; whether praise (2..16) outnumbers blame (17..31)."""
    return cut(*_reviews(count))


@cache
def _rents(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(66)
    hour, day = draw.integers(0, 24, count), draw.integers(0, 7, count)
    warm, wet, wind = draw.uniform(-5, 32, count), draw.beta(2, 2, count), draw.gamma(2, 6, count)
    rush = np.exp(-((hour - 8) ** 2) / 4) + np.exp(-((hour - 17.5) ** 2) / 6)
    free = np.exp(-((hour - 14) ** 2) / 18)
    rate = 0.4 + np.where(day < 5, 2.2 * rush + 0.5 * free, 1.7 * free)
    rate = rate * np.exp(-((warm - 24) ** 2) / 400) * (1 - 0.5 * wet) * np.exp(-wind / 60)
    return np.stack([hour, day, warm, wet, wind], 1), draw.poisson(220 * rate).astype(np.float64)


def rents(count: int = 2400) -> Split:
    """Hour and weekday as sines and cosines, weather standardised, (N, 7); rented bicycles per hour, (N, 1), 0..500."""
    x, y = _rents(count)
    hour, day = x[:, 0] * 2 * np.pi / 24, x[:, 1] * 2 * np.pi / 7
    rest = (x[:, 2:] - x[:, 2:].mean(0)) / x[:, 2:].std(0)
    parts = np.stack([np.sin(hour), np.cos(hour), np.sin(day), np.cos(day)], 1)
    return cut(np.concatenate([parts, rest], 1), y[:, None])


def iou(out: Tensor, goal: Tensor) -> float:
    """Of one logit map with a mask of 0 and 1."""
    a, b = out > 0, goal > 0.5
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def block(into: int, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def area(out: Tensor, goal: Tensor) -> float:
    """Area under the curve of one score per row."""
    rank = out.flatten().argsort().argsort().float() + 1
    positive = goal.flatten() > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * m))


@cases.recipe("mlp", 0.85)
def beginners_first_net(harness: Harness, seed: int) -> float:
    """The first script of most people: two hidden layers of 128 and 64, Adam at 1e-3, batches of 32, ten epochs."""
    model = nn.Sequential(nn.Flatten(), *dense(64, 128, 64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=10, tell="it")


@cases.recipe("cnn", 0.85)
def sixty_minute_blitz(harness: Harness, seed: int) -> float:
    """The tutorial net for colour images: two convolutions of 5, pooling, three linear layers, batches of four."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5, padding=2), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 9, 120), nn.Linear(120, 84), nn.Linear(84, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))))
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))))

    x, y, vx, vy = textures()
    split = ((x - 0.5) / 0.5, y, (vx - 0.5) / 0.5, vy)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.004, momentum=0.9)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, size=4, report="val")


@cases.recipe("regression", 0.8)
def rented_bicycles(harness: Harness, seed: int) -> float:
    """Bicycles per hour divided by 100, three layers, Adam with a rate that falls by step, R2 as the metric."""
    x, y, vx, vy = rents()
    model = dense(7, 64, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    split = (x, y / 100, vx, vy / 100)
    return course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=12, size=64, scheduler=scheduler, score=explained,
        key="r2",
    )  # fmt: skip


@cases.recipe("classification", 0.85)
def leaving_customers(harness: Harness, seed: int) -> float:
    """Embeddings for three categories beside five numbers, batch norm and dropout, one logit, AUC per epoch."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(k, 3) for k in (3, 4, 6))
            self.body = nn.Sequential(
                nn.Linear(14, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 24), nn.ReLU(),
                nn.Linear(24, 1),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            codes = [table(x[:, 5 + i].long()) for i, table in enumerate(self.tables)]
            return self.body(torch.cat([x[:, :5], *codes], 1)).squeeze(1)

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    loss_fn = nn.BCEWithLogitsLoss()
    return course(harness, model, optimizer, loss_fn, churn(), epochs=8, size=64, score=area, key="auc", tell="")
