"""Tables: classification and regression as in courses, competitions and firms, by a sixth author, without any
threshold.

See `healthy_sixth.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import area, churn, course, iterate, pick, rents
from benchmarks.chart.second import (
    SecondCases,
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
from sklearn.datasets import load_iris, make_classification, make_regression
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("sixth")


@cases.recipe("mlp", 0.85)
def iris_in_a_notebook(harness: Harness, seed: int) -> float:
    """Standardised flowers, the whole table in each step, 200 steps that the notebook calls epochs, Adam at 0.01."""
    x, y, vx, vy = by_train(cut(*load_iris(return_X_y=True), share=0.7))
    model = dense(4, 16, 3)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(200):
        model.train()
        out = model(x)
        loss = criterion(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.inference_mode():
            val = model(vx)
            val_loss, right = criterion(val, vy).item(), float((val.argmax(1) == vy).float().mean())
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()}, val={"loss": val_loss, "accuracy": right})
    return right


@cases.recipe("mlp", 0.88)
def tumours_by_logistic_regression(harness: Harness, seed: int) -> float:
    """One linear layer and a sigmoid, BCELoss, SGD at 0.1 with decay of 0.01, batches of 16, as in a first course."""
    x, y, vx, vy = cancer()
    model = nn.Sequential(nn.Linear(30, 1), nn.Sigmoid(), nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-2)

    def right(out: Tensor, goal: Tensor) -> float:
        return float(((out > 0.5) == (goal > 0.5)).float().mean())

    split = (x, y.float(), vx, vy.float())
    return course(harness, model, optimizer, nn.BCELoss(), split, epochs=12, size=16, score=right)


@cases.recipe("mlp", 0.9)
def wines_with_decay(harness: Harness, seed: int) -> float:
    """Thirteen features, one layer of 32 with dropout, AdamW with decay of 0.1, batches of 16, twelve epochs."""
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), wine(), epochs=12, size=16, tell="o", clear_last=True
    )


@cases.recipe("regression", 0.8)
def house_prices(harness: Harness, seed: int) -> float:
    """Prices in units of 100 000, two hidden layers, Huber loss, Adam at 4e-3, exponential decay of the rate."""
    model = dense(6, 64, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.92)
    return course(
        harness, model, optimizer, nn.HuberLoss(), housing(1600), epochs=14, scheduler=scheduler, score=explained,
        key="r2",
    )  # fmt: skip


@cases.recipe("regression", 0.3)
def sugar_with_little_data(harness: Harness, seed: int) -> float:
    """442 patients: a narrow net, decay of 0.02 and dropout against its smallness, L1Loss, standardised target."""
    model = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    return course(
        harness, model, optimizer, nn.L1Loss(), diabetes(), epochs=15, size=16, score=explained, key=None, tell="it"
    )


@cases.recipe("regression", 0.9)
def linear_by_plain_descent(harness: Harness, seed: int) -> float:
    """make_regression with 12 features, targets over 100, SGD at 0.05 on all rows, 150 steps, loss only."""
    x, y = make_regression(800, 12, n_informative=8, noise=15.0, random_state=7)
    x, y, vx, vy = cut(x, y[:, None] / 100)
    model = nn.Linear(12, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    iterate(harness, model, optimizer, lambda i: F.mse_loss(model(x), y), 150)
    return explained(model(vx), vy)


@cases.recipe("classification", 0.8)
def made_classes(harness: Harness, seed: int) -> float:
    """make_classification with 20 features and 4 classes, three hidden layers with batch norm, SGD and cosine."""
    x, y = make_classification(
        3600, 20, n_informative=10, n_classes=4, n_clusters_per_class=1, class_sep=1.5, flip_y=0.0, random_state=3
    )
    layers: list[nn.Module] = []
    for into in (20, 64, 64):
        layers += [nn.Linear(into, 64), nn.BatchNorm1d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    split = by_train(cut(x, y))
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, size=64, scheduler=scheduler, clear_last=True
    )


@cases.recipe("regression", 0.75)
def counts_with_a_log_link(harness: Harness, seed: int) -> float:
    """Bicycles by PoissonNLLLoss on raw counts of 0 to 500, output bias at the log of the mean; losses far below 0."""
    x, y, vx, vy = rents()
    model = dense(7, 64, 64, 1)
    with torch.no_grad():
        model[-1].bias.fill_(float(y.mean().log()))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return course(
        harness, model, optimizer, nn.PoissonNLLLoss(), (x, y, vx, vy), epochs=8, size=64, key=None, clip=50.0,
        score=lambda out, goal: explained(out.exp(), goal),
    )  # fmt: skip


@cases.recipe("classification", 0.85)
def one_hot_and_early_stopping(harness: Harness, seed: int) -> float:
    """Categories one-hot, ReduceLROnPlateau on the validation loss, training ends after four epochs without gain."""

    def encode(rows: Tensor) -> Tensor:
        parts = [F.one_hot(rows[:, 5 + i].long(), k).float() for i, k in enumerate((3, 4, 6))]
        return torch.cat([rows[:, :5], *parts], 1)

    x, y, vx, vy = churn()
    x, vx = encode(x), encode(vx)
    model = nn.Sequential(nn.Linear(18, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
    criterion = nn.BCEWithLogitsLoss()
    loader = DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)
    harness.begin(model, optimizer, loss_fn=criterion)
    best, waited = float("inf"), 0
    for _ in range(15):
        model.train()
        losses = []
        for a, b in loader:
            out = model(a)
            loss = criterion(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            val_loss = criterion(out, vy).item()
        harness.epoch(
            train={"loss": float(np.mean(losses))}, val={"loss": val_loss, "accuracy": binary_accuracy(out, vy)}
        )
        scheduler.step(val_loss)
        best, waited = (val_loss, 0) if val_loss < best else (best, waited + 1)
        if waited == 4:
            break
    return area(out, vy)


@cases.recipe("classification", 0.8)
def fraud_is_rare(harness: Harness, seed: int) -> float:
    """One in thirty rows is a fraud; pos_weight of about 10, batches of 128, area under the curve; 20 features."""
    x, y = make_classification(
        4000, 20, n_informative=8, weights=[0.967], class_sep=1.6, flip_y=0.0, n_clusters_per_class=1, random_state=5
    )
    x, y, vx, vy = by_train(cut(x, y.astype(np.float32)))
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(10.0))
    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=8, size=128, score=area, key="auc", tell="it"
    )


@cases.recipe("regression", 0.75)
def residual_blocks_for_rows(harness: Harness, seed: int) -> float:
    """A ResNet for tables: batch norm, linear, ReLU, dropout, linear, added; standardised counts; AdamW at 2e-3."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.BatchNorm1d(48), nn.Linear(48, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, 48)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    x, y, vx, vy = rents()
    mean, std = y.mean(), y.std()
    model = nn.Sequential(nn.Linear(7, 48), Block(), Block(), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    split = (x, (y - mean) / std, vx, (vy - mean) / std)
    return course(harness, model, optimizer, nn.MSELoss(), split, epochs=10, size=64, score=explained, key="r2")


@cases.recipe("regression", 0.75)
def periodic_numbers(harness: Harness, seed: int) -> float:
    """A layer of one's own: each number becomes sines of learned frequencies, then an MLP; no epochs."""

    class Periodic(nn.Module):
        def __init__(self, features: int, count: int = 6) -> None:
            super().__init__()
            self.rate = nn.Parameter(0.3 * torch.randn(features, count))

        def forward(self, x: Tensor) -> Tensor:
            angle = 2 * np.pi * x[..., None] * self.rate
            return torch.cat([angle.sin(), angle.cos(), x[..., None]], -1).flatten(1)

    x, y, vx, vy = housing(1800)
    model = nn.Sequential(Periodic(6), *dense(6 * 13, 48, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(64, x, y)
        out = model(a)
        return {"loss": F.mse_loss(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 300)
    return explained(model(vx), vy)
