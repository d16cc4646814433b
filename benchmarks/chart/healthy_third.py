"""First programs of many people: loops of a third author, who had not read the rules, on which NO threshold is set.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, accuracy, binary_accuracy, cancer, cut, dense, digits, explained, fit
from benchmarks.chart.second import diabetes as sugar
from sklearn.datasets import load_iris, make_friedman1, make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def iterate(
    harness: Harness,
    models: Any,
    optimizers: Any,
    compute: Callable[[int], Any],
    count: int,
    *,
    every: int = 0,
    check: Callable[[], dict[str, float]] | None = None,
    clip: Callable[[], Any] | None = None,
    after: Callable[[], Any] | None = None,
    begin: bool = True,
) -> None:
    """A loop that counts steps, as research code does. `compute` gives the loss, or a dict of what is told."""
    if begin:
        harness.begin(models, optimizers)
    losses = []
    for i in range(count):
        told = compute(i)
        told = told if isinstance(told, dict) else {"loss": told}
        every_optimizer = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in every_optimizer:
            optimizer.zero_grad()
        told["loss"].backward()
        if clip:
            clip()
        for optimizer in every_optimizer:
            optimizer.step()
        if after:
            after()
        losses.append(float(told["loss"].detach()))
        harness.step(**told)
        if every and (i + 1) % every == 0:
            harness.epoch(train={"loss": float(np.mean(losses))}, val=check() if check else None)
            losses = []


def rows(data: Tensor, size: int) -> Tensor:
    """Random rows, with repeats."""
    return torch.randint(len(data), (size,))


def iris() -> Any:
    """Four flower measures in centimetres, as they are, three kinds."""
    return cut(*load_iris(return_X_y=True), share=0.7)


@cases.recipe("mlp", 0.9)
def bceloss_after_a_sigmoid(harness: Harness, seed: int) -> float:
    """The sigmoid is in the model, nn.BCELoss outside, targets (N, 1); the whole table in each step."""
    x, y, vx, vy = cancer()
    y, vy = y.float()[:, None], vy.float()[:, None]
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    loss_fn, optimizer = nn.BCELoss(), torch.optim.Adam(model.parameters(), lr=0.01)
    harness.begin(model, optimizer, loss_fn=loss_fn)
    for epoch in range(80):
        out = model(x)
        loss = loss_fn(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        if epoch % 10 == 9:
            harness.epoch(train={"loss": loss.item()}, val={"loss": loss_fn(model(vx), vy).item()})
    return float(((model(vx) > 0.5) == (vy > 0.5)).float().mean())


@cases.recipe("mlp", 0.85)
def softmax_by_hand(harness: Harness, seed: int) -> float:
    """Probabilities by exp and sum, the mean of -log of the right one; homework, done right."""

    def nll(scores: Tensor, y: Tensor) -> Tensor:
        scores = scores - scores.max(1, keepdim=True).values
        p = scores.exp() / scores.exp().sum(1, keepdim=True)
        return -torch.log(p[torch.arange(len(y)), y] + 1e-12).mean()

    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return fit(harness, model, optimizer, nll, digits(image=False), epochs=8, size=50)


@cases.recipe("mlp", 0.85)
def probabilities_come_out(harness: Harness, seed: int) -> float:
    """The model ends in a softmax; the loss takes its logarithm and nll_loss. Not cross-entropy of probabilities."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))

    def loss_fn(p: Tensor, y: Tensor) -> Tensor:
        return F.nll_loss(torch.log(p.clamp(min=1e-8)), y)

    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss_fn, digits(image=False), epochs=6)


@cases.recipe("cnn", 0.85)
def log_softmax_and_dropout(harness: Harness, seed: int) -> float:
    """The classic MNIST script: log_softmax in the model, nll_loss, two dropouts, Adadelta with a decay of 0.7."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
    return fit(harness, model, optimizer, F.nll_loss, digits("standard"), epochs=6, size=64, scheduler=decay)


@cases.recipe("mlp", 0.85)
def squared_error_to_one_hot(harness: Harness, seed: int) -> float:
    """Classes as one-hot vectors, mean squared error, sigmoid units throughout, as in the books of old."""
    model = dense(64, 40, 10, act=nn.Sigmoid).append(nn.Sigmoid())
    x, y, vx, vy = digits(image=False)
    split = x, F.one_hot(y, 10).float(), vx, F.one_hot(vy, 10).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return fit(harness, model, optimizer, nn.MSELoss(), split, epochs=10, score=lambda o, t: accuracy(o, t.argmax(1)))


@cases.recipe("mlp", 0.85)
def flowers_in_centimetres(harness: Harness, seed: int) -> float:
    """Raw measures of iris flowers, one hidden layer, 150 whole-set steps; only a loss is printed."""
    x, y, vx, vy = iris()
    model = dense(4, 12, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    iterate(harness, model, optimizer, lambda i: F.cross_entropy(model(x), y), 150)
    return accuracy(model(vx), vy)


@cases.recipe("regression", 0.9)
def sine_by_a_cubic(harness: Harness, seed: int) -> float:
    """The tutorial's third-order polynomial for a sine: squares summed over 2000 points, RMSprop at 2e-3."""
    x = torch.linspace(-3.1416, 3.1416, 2000)
    y, powers = x.sin(), x[:, None] ** torch.tensor([1, 2, 3])
    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0, 1))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    iterate(harness, model, optimizer, lambda i: F.mse_loss(model(powers), y, reduction="sum"), 800)
    return explained(model(powers), y)


@cases.recipe("mlp", 0.85)
def one_sample_a_step(harness: Harness, seed: int) -> float:
    """Plain SGD, one digit at a time, in an order drawn anew each epoch."""
    x, y, vx, vy = digits("unit", image=False, count=800)
    model = nn.Linear(64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(3):
        for i in torch.randperm(len(x)):
            optimizer.zero_grad()
            out = model(x[i][None])
            loss = F.cross_entropy(out, y[i][None])
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[i][None], targets=y[i][None], outputs=out)
        harness.epoch(val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.93)
def moons_without_a_validation(harness: Harness, seed: int) -> float:
    """Two moons, tanh, batches of 20, zero_grad after the step instead of before."""
    x, y, vx, vy = cut(*make_moons(400, noise=0.12, random_state=4))
    model = dense(2, 24, 24, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    harness.begin(model, optimizer)
    for _ in range(20):
        for part in torch.randperm(len(x)).split(20):
            logits = model(x[part]).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(logits, y[part].float())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=logits)
    return binary_accuracy(model(vx), vy)


@cases.recipe("regression", 0.25)
def sugar_in_raw_units(harness: Harness, seed: int) -> float:
    """Targets of 25 to 346 as they are, an output that begins at 0, a loss that begins near 29000."""
    model = dense(10, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    split = sugar(raw=True)
    return fit(harness, model, optimizer, nn.MSELoss(), split, epochs=12, score=explained, metric=None)


@cases.recipe("regression", 0.6)
def ten_features_five_matter(harness: Harness, seed: int) -> float:
    """Friedman's function, raw targets near 14, L1Loss, batches of 40, a model in plain nn.Module style."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(10, 64)
            self.fc2 = nn.Linear(64, 64)
            self.fc3 = nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x))))).squeeze(-1)

    net = Net()
    split = cut(*make_friedman1(600, noise=0.5, random_state=7))
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    return fit(harness, net, optimizer, nn.L1Loss(), split, epochs=30, size=40, score=explained, metric=None)
