"""Tables of one's own, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import itertools
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import as_column, auc, evaluate, f1, train_model
from benchmarks.chart.second import SecondCases, Split, accuracy, by_train, cancer, cut, dense, wine
from sklearn.datasets import load_iris, make_classification
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")
LEVELS = (7, 12, 3)
"""Values of the categories of `loans`."""


def loans(count: int = 2400) -> Split:
    """Applicants: five numbers, standardised, then three columns of codes (N, 8); 1 was not paid back."""
    draw = np.random.default_rng(911)
    income, debt = draw.lognormal(0, 0.5, count), draw.gamma(2, 0.5, count)
    age, years, rate = draw.uniform(20, 70, count), draw.exponential(5, count), draw.normal(6, 2, count)
    codes = np.stack([draw.integers(0, k, count) for k in LEVELS], 1)
    effects = [draw.normal(0, 0.8, k) for k in LEVELS]
    logit = -0.8 + 2.0 * (debt / income - 1).clip(-2, 3) + 0.25 * (rate - 6) - 0.1 * years - 0.02 * (age - 45)
    logit = logit + sum(e[codes[:, i]] for i, e in enumerate(effects))
    numbers = np.stack([np.log(income), debt, age, years, rate], 1)
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    bad = (draw.uniform(0, 1, count) < 1 / (1 + np.exp(-1.5 * logit))).astype(np.int64)
    return cut(np.concatenate([numbers, codes], 1), bad)


def sheet(count: int = 1500, classes: int = 3, seed: int = 913, share: Any = None) -> Split:
    """A standardised table of scikit-learn's make_classification: twenty columns, eight of which tell."""
    x, y = make_classification(
        count, 20, n_informative=8, n_redundant=4, n_classes=classes, class_sep=1.5, flip_y=0.0, weights=share,
        random_state=seed,
    )  # fmt: skip
    return by_train(cut(x, y))


class Mixed(nn.Module):
    """Embeddings of codes beside numbers, as in the tabular learner of many courses."""

    def __init__(self, numbers: int = 5, out: int = 1) -> None:
        super().__init__()
        self.embeds = nn.ModuleList(nn.Embedding(k, min(8, (k + 1) // 2)) for k in LEVELS)
        self.emb_drop, self.bn = nn.Dropout(0.04), nn.BatchNorm1d(numbers)
        wide = numbers + sum(e.embedding_dim for e in self.embeds)  # type: ignore[misc]
        self.layers = nn.Sequential(
            nn.Linear(wide, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(),
            nn.BatchNorm1d(32), nn.Dropout(0.1), nn.Linear(32, out),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """One logit."""
        codes = x[:, 5:].long()
        embedded = torch.cat([e(codes[:, i]) for i, e in enumerate(self.embeds)], 1)
        return self.layers(torch.cat([self.emb_drop(embedded), self.bn(x[:, :5])], 1))


def right(outputs: Tensor, targets: Tensor) -> float:
    """Share of right answers of one logit."""
    return float(((outputs > 0) == (targets > 0.5)).float().mean())


@cases.recipe("table", 0.75)
def loans_with_embedded_codes(harness: Harness, seed: int) -> float:
    """Embeddings, batch norm and dropout for numbers and codes, one-cycle at 1e-2, AUC on validation."""
    model = Mixed()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=28 * 5)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), as_column(loans()), epochs=5, size=64, metric=auc,
        name="auc", scheduler=scheduler, when="batch", drop_last=True,
    )  # fmt: skip


@cases.recipe("table", 0.75)
def loans_one_hot_and_early_stopping(harness: Harness, seed: int) -> float:
    """Codes as dummies, a net of 48-24, dropout, Adam at 1e-3, patience of three, scored by AUC."""
    split = as_column(loans())

    def dummies(x: Tensor) -> Tensor:
        return torch.cat([x[:, :5], *(F.one_hot(x[:, 5 + i].long(), k).float() for i, k in enumerate(LEVELS))], 1)

    model = nn.Sequential(
        nn.Linear(5 + sum(LEVELS), 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 24), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(24, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (dummies(split[0]), split[1], dummies(split[2]), split[3]),
        epochs=12, size=32, patience=3, metric=auc, name="auc", told="pair",
    )  # fmt: skip


@cases.recipe("table", 0.75)
def sheet_of_three_classes(harness: Harness, seed: int) -> float:
    """make_classification, an MLP with batch norm, Adam at 1e-3 of the defaults, batches of 32, train accuracy too."""
    model = nn.Sequential(
        nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)
    )
    optimizer = torch.optim.Adam(model.parameters())
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), sheet(), epochs=6, train_metric=True)


@cases.recipe("table", 0.55)
def frauds_by_positive_weight(harness: Harness, seed: int) -> float:
    """One row in twelve is positive: BCEWithLogitsLoss with pos_weight, large batches, F1 on validation."""
    x, y, vx, vy = as_column(sheet(3000, 2, 914, [0.92]))
    criterion = nn.BCEWithLogitsLoss(pos_weight=((1 - y).sum() / y.sum()).sqrt())
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, criterion, (x, y, vx, vy), epochs=8, size=128, metric=f1, name="f1", keep_best=True
    )


@cases.recipe("table", 0.88)
def irises_in_a_notebook(harness: Harness, seed: int) -> float:
    """Iris as in a first notebook: all training rows at once, 150 steps of Adam at 0.01, printed every ten steps."""
    x, y, vx, vy = by_train(cut(*load_iris(return_X_y=True), share=0.8))
    model = dense(4, 16, 8, 3)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    harness.begin(model, optimizer, loss_fn=criterion)
    losses = []
    for step in range(150):
        y_pred = model(x)
        loss = criterion(y_pred, y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=y_pred)
        if step % 10 == 0:
            assert np.isfinite(losses[-1])
    return evaluate(model, vx, vy, criterion, accuracy)[1]


@cases.recipe("table", 0.9)
def wines_over_five_folds(harness: Harness, seed: int) -> float:
    """Cross-validation in five folds, a new model in each; the last fold is watched, the mean accuracy is reported."""
    a, b, c, d = wine()
    x, y = torch.cat([a, c]), torch.cat([b, d])
    scores = []
    for fold, held in enumerate(torch.randperm(len(x)).chunk(5)):
        keep = torch.ones(len(x), dtype=torch.bool)
        keep[held] = False
        split = (x[keep], y[keep], x[held], y[held])
        model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-3)
        if fold < 4:
            for _ in range(12):
                for rows in torch.randperm(len(split[0])).split(16):
                    optimizer.zero_grad()
                    F.cross_entropy(model(split[0][rows]), split[1][rows]).backward()
                    optimizer.step()
            scores.append(evaluate(model, *split[2:], F.cross_entropy, accuracy)[1])
        else:
            scores.append(train_model(harness, model, optimizer, F.cross_entropy, split, epochs=12, size=16))
    return float(np.mean(scores))


@cases.recipe("table", 0.9)
def logistic_regression_by_sgd(harness: Harness, seed: int) -> float:
    """One linear layer on tumours, SGD at 0.1 with weight decay, small batches, four epochs told by the loss only."""
    model = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), as_column(cancer()), epochs=6, size=16, metric=right,
        told="number",
    )  # fmt: skip


@cases.recipe("table", 0.75)
def best_of_a_small_grid(harness: Harness, seed: int) -> float:
    """Four settings of rate and width are tried for two epochs unwatched; the best one is trained and watched."""
    split = sheet(1400, 3, 917)
    x, y, vx, vy = split

    def build(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(20, width), nn.LeakyReLU(0.1), nn.Linear(width, 3))

    tried = {}
    for rate, width in itertools.product((3e-3, 1e-2), (32, 96)):
        model = build(width)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        for rows in list(torch.randperm(len(x)).split(32)) + list(torch.randperm(len(x)).split(32)):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        tried[rate, width] = evaluate(model, vx, vy, F.cross_entropy, accuracy)[1]
    rate, width = max(tried, key=lambda key: tried[key])
    model = build(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    return train_model(harness, model, optimizer, F.cross_entropy, split, epochs=6, told="outputs")
