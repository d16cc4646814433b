"""Homework, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import school
from benchmarks.chart.second import SecondCases, accuracy, cancer, cut, dense, wine
from sklearn.datasets import load_iris, make_circles
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("fourth")


@cases.recipe("mlp", 0.9)
def circle_in_a_circle(harness: Harness, seed: int) -> float:
    """Two rings, two logits, full batch of 300 for 200 steps; loss and accuracy of every tenth step are printed."""
    x, y, vx, vy = cut(*make_circles(400, noise=0.08, factor=0.5, random_state=2))
    model = dense(2, 16, 16, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.8)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for i in range(200):
        out = model(x)
        loss = F.cross_entropy(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        if i % 10 == 0:
            with torch.inference_mode():
                test = model(vx)
            harness.epoch(
                train={"loss": loss.item(), "accuracy": 100 * accuracy(out, y)},
                val={"loss": F.cross_entropy(test, vy).item(), "accuracy": 100 * accuracy(test, vy)},
            )
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.9)
def flowers_one_by_one(harness: Harness, seed: int) -> float:
    """Iris, one flower a step in the order of the shuffled table, SGD at 0.02; the loss told is a running average."""
    x, y, vx, vy = cut(*load_iris(return_X_y=True), share=0.7)
    model = dense(4, 16, 3, act=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    harness.begin(model, optimizer)
    average = 1.0
    for _ in range(12):
        for i in range(len(x)):
            loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average = 0.95 * average + 0.05 * loss.item()
            harness.step(loss=average)
        harness.epoch(train={"loss": average}, val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.9)
def wines_until_patience_ends(harness: Harness, seed: int) -> float:
    """Early stopping: it ends when the validation loss has not fallen for 8 epochs, at most 60; batches of 16."""
    x, y, vx, vy = wine()
    model = nn.Sequential(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, drop_last=True)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    best, waited = float("inf"), 0
    for _ in range(60):
        model.train()
        for a, b in loader:
            out = model(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            val = F.cross_entropy(out, vy).item()
        harness.epoch(val={"loss": val, "accuracy": accuracy(out, vy)})
        best, waited = (val, 0) if val < best - 1e-3 else (best, waited + 1)
        if waited == 8:
            break
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.92)
def logistic_by_its_formula(harness: Harness, seed: int) -> float:
    """Logistic regression with the formula written out, clipped probabilities, labels of shape (N,), momentum 0.9."""
    model = nn.Sequential(nn.Linear(30, 1), nn.Sigmoid(), nn.Flatten(0))

    def loss_fn(p: Tensor, y: Tensor) -> Tensor:
        p = p.clamp(1e-6, 1 - 1e-6)
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y, vx, vy = cancer()
    return school(
        harness, model, optimizer, loss_fn, (x, y.float(), vx, vy.float()), epochs=8, size=20,
        score=lambda p, t: float(((p > 0.5) == (t > 0.5)).float().mean()),
    )  # fmt: skip
