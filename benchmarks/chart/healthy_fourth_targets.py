"""Targets, losses and rankings of tables, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.healthy_fourth_tables import sales
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    by_train,
    cancer,
    cut,
    dense,
    diabetes,
    explained,
    housing,
)
from sklearn.datasets import load_diabetes, make_multilabel_classification, make_regression
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("autoencoder", 0.85)
def anomalies_by_reconstruction(harness: Harness, seed: int) -> float:
    """An autoencoder sees benign tumours only; malignant ones are told by their error (area under the curve)."""
    x, y, vx, vy = cancer()
    x = x[y == 1]
    model = dense(30, 12, 4, 12, 30, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    benign = vx[vy == 1]
    school(
        harness, model, optimizer, nn.MSELoss(), (x, x, benign, benign), epochs=30, size=32, key=None,
        score=lambda o, t: 0.0,
    )  # fmt: skip
    error = (model(vx) - vx).square().mean(1).detach()
    return float(roc_auc_score(1 - vy, error))


@cases.recipe("regression", 0.35)
def sparse_by_a_proximal_step(harness: Harness, seed: int) -> float:
    """Lasso: gradient steps on the whole set and soft thresholding after each; 20 columns are noise and end at 0."""
    x, y, vx, vy = diabetes()
    noise = torch.randn(len(x) + len(vx), 20)
    x, vx = torch.cat([x, noise[: len(x)]], 1), torch.cat([vx, noise[len(x) :]], 1)
    model = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    @torch.no_grad()
    def shrink(i: int) -> None:
        w = model.weight
        w.copy_(w.sign() * (w.abs() - 0.05 * 0.08).clamp(min=0))

    def compute(i: int) -> Any:
        out = model(x)
        return {"loss": 0.5 * F.mse_loss(out, y), "inputs": x, "targets": y, "outputs": out}

    march(harness, model, optimizer, compute, 250, after=shrink)
    return explained(model(vx), vy)


@cases.recipe("regression", 0.9)
def three_targets_of_unlike_scales(harness: Harness, seed: int) -> float:
    """Three targets, of deviations near 1, 30 and 1000, standardised by those of the training rows."""
    x, y = make_regression(500, 12, n_informative=6, n_targets=3, noise=5.0, random_state=6)
    y = y / y.std(0) * np.array([1.0, 30.0, 1000.0]) + np.array([0.0, 100.0, 5000.0])
    x, y, vx, vy = cut(x, y)
    mean, std = y.mean(0), y.std(0)
    split = x, (y - mean) / std, vx, (vy - mean) / std
    model = dense(12, 48, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return school(harness, model, optimizer, nn.SmoothL1Loss(), split, epochs=20, score=explained, key="r2")


@cases.recipe("mlp", 0.9)
def missing_values_flagged(harness: Harness, seed: int) -> float:
    """A fifth of all values is missing: 0 after standardising, and thirty columns of flags beside."""
    x, y, vx, vy = cancer()

    def punched(a: Tensor) -> Tensor:
        gone = torch.rand(a.shape) < 0.2
        return torch.cat([a.masked_fill(gone, 0.0), gone.float()], 1)

    model = nn.Sequential(nn.Linear(60, 32), nn.LeakyReLU(0.1), nn.Dropout(0.2), nn.Linear(32, 2))
    optimizer = torch.optim.NAdam(model.parameters(), lr=3e-3)
    split = punched(x), y, punched(vx), vy
    return school(harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.05), split, epochs=12)


@cases.recipe("regression", 0.7)
def a_column_of_ones_and_dummies(harness: Harness, seed: int) -> float:
    """A design matrix with a column of ones and all dummy variables; layers with biases all the same; log targets."""
    x, y = sales()
    y = (y.log() - 8.0)[:, None]
    table = torch.cat([torch.ones(len(x), 1), F.one_hot(x[:, 0], 20), F.one_hot(x[:, 1], 7), x[:, 2:]], 1).float()
    split = table[:1200], y[:1200], table[1200:], y[1200:]
    model = dense(29, 24, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    return school(harness, model, optimizer, nn.HuberLoss(), split, epochs=10, score=explained, key=None, tell="number")


@cases.recipe("mlp", 0.9)
def pretrained_on_swapped_values(harness: Harness, seed: int) -> float:
    """Swap noise: an autoencoder mends rows with values of other rows; then its hidden layer is classified."""
    x, y, vx, vy = cancer()
    body, back, head = nn.Sequential(nn.Linear(30, 64), nn.ReLU()), nn.Linear(64, 30), nn.Linear(64, 2)
    model = nn.ModuleDict({"body": body, "back": back, "head": head})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def mend(i: int) -> Tensor:
        (a,) = some(64, x)
        swapped = torch.where(torch.rand(a.shape) < 0.15, a[torch.randperm(64)], a)
        return F.mse_loss(back(body(swapped)), a)

    def classify(i: int) -> Tensor:
        a, b = some(64, x, y)
        return F.cross_entropy(head(body(a)), b) + 0.1 * F.mse_loss(back(body(a)), a)

    march(harness, model, optimizer, lambda i: mend(i) if i < 150 else classify(i), 300)
    return accuracy(head(body(vx)), vy)


@cases.recipe("mlp", 0.6)
def many_labels_and_f1(harness: Harness, seed: int) -> float:
    """Five labels per row of word counts, summed binary cross-entropy; micro F1 is logged in percent."""
    x, y, vx, vy = by_train(cut(*make_multilabel_classification(700, 20, n_classes=5, n_labels=2, random_state=3)))
    model = dense(20, 48, 5)

    def f1(out: Tensor, goal: Tensor) -> float:
        return float(f1_score(goal.numpy(), (out > 0).numpy(), average="micro"))

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = nn.BCEWithLogitsLoss(reduction="sum")
    split = x, y.float(), vx, vy.float()
    return school(harness, model, optimizer, loss_fn, split, epochs=12, score=f1, key="f1", percent=True)


@cases.recipe("regression", 0.7)
def upper_expectile(harness: Harness, seed: int) -> float:
    """Squared error that weighs underestimates by 0.7 and overestimates by 0.3, on prices, Softplus output."""
    model = dense(6, 48, 1, act=nn.SiLU).append(nn.Softplus())

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        gap = y - out
        return (torch.where(gap > 0, 0.7, 0.3) * gap.square()).mean()

    optimizer = torch.optim.RAdam(model.parameters(), lr=6e-3)
    return school(harness, model, optimizer, loss_fn, housing(), epochs=20, size=24, score=explained, key=None)


@cases.recipe("ranking", 0.8)
def lists_are_ranked(harness: Harness, seed: int) -> float:
    """ListNet: softmax cross-entropy between relevances and scores within lists of 8; how often is the best on top?"""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(400, 8, 10, generator=draw)
    worth = x[..., 0] * 2 + x[..., 1] * x[..., 2] + x[..., 3].abs()
    model = dense(10, 48, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def loss_fn(scores: Tensor, goal: Tensor) -> Tensor:
        return -(goal.softmax(1) * scores.squeeze(2).log_softmax(1)).sum(1).mean()

    def top(scores: Tensor, goal: Tensor) -> float:
        return accuracy(scores.squeeze(2), goal.argmax(1))

    split: Split = x[:300], worth[:300], x[300:], worth[300:]
    return school(harness, model, optimizer, loss_fn, split, epochs=15, size=20, score=top, key="top1")


@cases.recipe("regression", 0.35)
def robust_by_log_cosh(harness: Harness, seed: int) -> float:
    """log cosh error on sugar, targets divided by 100, whole set in each step by Rprop, 60 steps."""
    x, y = load_diabetes(return_X_y=True)
    x, y, vx, vy = by_train(cut(x, y[:, None] / 100))
    model = dense(10, 8, 1, act=nn.Tanh)
    optimizer = torch.optim.Rprop(model.parameters(), lr=0.005, step_sizes=(1e-6, 0.05))

    def compute(i: int) -> Any:
        gap = model(x) - y
        return {"loss": (gap + F.softplus(-2 * gap) - 0.6931).mean(), "inputs": x, "targets": y}

    march(harness, model, optimizer, compute, 60)
    return explained(model(vx), vy)
