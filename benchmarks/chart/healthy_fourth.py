"""Notebooks and homework of many people: loops of a fourth author, who had not read the rules, without any threshold.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

cases = SecondCases("fourth")


def school(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    loss_fn: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 6,
    size: int = 32,
    tell: str = "all",
    percent: bool = False,
    summed: bool = False,
    drop_last: bool = False,
    scheduler: Any = None,
    by_batch: bool = False,
    augment: Callable[[Tensor], Tensor] = lambda x: x,
    before_step: Callable[[], Any] = lambda: None,
    after_step: Callable[[], Any] = lambda: None,
    score: Callable[[Any, Any], float] = accuracy,
    key: str | None = "accuracy",
) -> float:
    """A loop with a DataLoader and a validation after each epoch. Returns the last score.

    `tell` is what the harness hears of a step: "all", "loss", "number" (a float) or "pair" (inputs and targets).
    `percent`: metrics are 0..100. `summed`: losses of an epoch are sums over its batches.
    """
    x, y, vx, vy = split
    loader = DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True, drop_last=drop_last)
    harness.begin(model, optimizer, loss_fn=loss_fn if tell == "all" else None)
    value = 0.0
    for _ in range(epochs):
        model.train()
        running = 0.0
        for inputs, targets in loader:
            inputs = augment(inputs)
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = loss_fn(outputs, targets)
            loss.backward()
            before_step()
            optimizer.step()
            after_step()
            if scheduler is not None and by_batch:
                scheduler.step()
            running += loss.item()
            if tell == "all":
                harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
            elif tell == "pair":
                harness.step(loss=loss, inputs=inputs, targets=targets)
            else:
                harness.step(loss=loss if tell == "loss" else loss.item())
        if scheduler is not None and not by_batch:
            scheduler.step()
        model.eval()
        with torch.no_grad():
            outputs = model(vx)
            value, val_loss = score(outputs, vy), float(loss_fn(outputs, vy))
        shown = {key: value * (100 if percent else 1)} if key else {}
        harness.epoch(train={"loss": running if summed else running / len(loader)}, val={"loss": val_loss} | shown)
    return value


def march(
    harness: Harness,
    models: Any,
    optimizer: Any,
    compute: Callable[[int], Any],
    count: int,
    *,
    clip: float = 0.0,
    after: Callable[[int], Any] = lambda i: None,
    scheduler: Any = None,
    begin: bool = True,
) -> None:
    """Steps of one optimizer without epochs. `compute` gives the loss or all that is told of the step."""
    if begin:
        harness.begin(models, optimizer)
    for i in range(count):
        optimizer.zero_grad()
        told = compute(i)
        told = told if isinstance(told, dict) else {"loss": told}
        told["loss"].backward()
        if clip:
            nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        after(i)
        harness.step(**told)


def some(size: int, *data: Tensor) -> Sequence[Tensor]:
    """The same random rows of each."""
    rows = torch.randint(len(data[0]), (size,))
    return [d[rows] for d in data]


@cases.recipe("mlp", 0.85)
def quickstart_stack(harness: Harness, seed: int) -> float:
    """The quickstart: Flatten and a stack of three linear layers, plain SGD, batches of 64, accuracy in percent."""
    model = nn.Sequential(nn.Flatten(), *dense(64, 128, 128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=10, size=64, percent=True)


@cases.recipe("mlp", 0.85)
def validated_every_fifty_steps(harness: Harness, seed: int) -> float:
    """An endless iterator over a loader, validation every 50 steps, the mean of the last 50 losses is logged."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Dropout(0.1), nn.Linear(96, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    loader = DataLoader(TensorDataset(x, y), batch_size=48, shuffle=True, drop_last=True)
    stream = itertools.chain.from_iterable(itertools.repeat(loader))
    harness.begin(model, optimizer)
    recent = []
    for step, (a, b) in enumerate(itertools.islice(stream, 300)):
        model.train()
        loss = F.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        harness.step(loss=loss.item(), inputs=a)
        if step % 50 == 49:
            model.eval()
            with torch.no_grad():
                out = model(vx)
            harness.epoch(
                train={"loss": float(np.mean(recent[-50:]))},
                val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)},
            )
    return accuracy(model.eval()(vx), vy)


@cases.recipe("mlp", 0.85)
def weights_without_layers(harness: Harness, seed: int) -> float:
    """Homework: bare matrices drawn from 0.1 times a normal, ReLU by clamp, an L2 term of one's own in the loss."""

    class TwoLayers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1, self.b1 = nn.Parameter(0.1 * torch.randn(64, 60)), nn.Parameter(torch.zeros(60))
            self.w2, self.b2 = nn.Parameter(0.1 * torch.randn(60, 10)), nn.Parameter(torch.zeros(10))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.w1 + self.b1).clamp(min=0) @ self.w2 + self.b2

    net = TwoLayers()

    def loss_fn(scores: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(scores, y) + 1e-4 * (net.w1.square().sum() + net.w2.square().sum())

    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    return school(harness, net, optimizer, loss_fn, digits(image=False), epochs=10, size=50, tell="loss")


@cases.recipe("mlp", 1.0)
def exclusive_or(harness: Harness, seed: int) -> float:
    """Four rows, always the same four, eight tanh units, squared error to 0 and 1."""
    x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = torch.tensor([[0.0], [1], [1], [0]])
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)

    def compute(i: int) -> Any:
        out = model(x)
        return {"loss": F.mse_loss(out, y), "inputs": x, "targets": y, "outputs": out}

    march(harness, model, optimizer, compute, 400)
    return float(((model(x) > 0.5) == (y > 0.5)).float().mean())


@cases.recipe("regression", 0.99)
def line_with_noise(harness: Harness, seed: int) -> float:
    """Linear regression of the book: two weights and a bias, halved squares, batches of 10, weights from N(0, 0.01)."""
    x = torch.randn(1000, 2)
    y = (x @ torch.tensor([2.0, -3.4]) + 4.2 + 0.01 * torch.randn(1000))[:, None]
    net = nn.Linear(2, 1)
    nn.init.normal_(net.weight, std=0.01)
    nn.init.zeros_(net.bias)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03)
    split = x[:800], y[:800], x[800:], y[800:]

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return ((out - goal) ** 2 / 2).mean()

    return school(harness, net, optimizer, loss_fn, split, epochs=3, size=10, score=explained, key=None)


@cases.recipe("cnn", 0.8)
def lenet_as_of_old(harness: Harness, seed: int) -> float:
    """LeNet on digits enlarged to 16 pixels: tanh, average pooling, Xavier's weights, SGD at 0.05 with momentum."""
    x, y, vx, vy = digits("signed")
    big = [F.interpolate(a, scale_factor=2) for a in (x, vx)]
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 60), nn.Tanh(), nn.Linear(60, 42), nn.Tanh(), nn.Linear(42, 10),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    return school(harness, net, optimizer, nn.CrossEntropyLoss(), (big[0], y, big[1], vy), epochs=5, tell="pair")


@cases.recipe("mlp", 0.85)
def one_pass_over_a_stream(harness: Harness, seed: int) -> float:
    """An IterableDataset that never ends: noisy copies of digits, 350 steps, one epoch told at the very end."""
    x, y, vx, vy = digits(image=False)

    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            while True:
                i = int(torch.randint(len(x), ()))
                yield x[i] + 0.1 * torch.randn(64), y[i]

    model = dense(64, 80, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    stream = iter(DataLoader(Endless(), batch_size=20))

    def compute(i: int) -> Any:
        a, b = next(stream)
        out = model(a)
        return {"loss": F.cross_entropy(out, b), "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 350)
    harness.epoch(val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def hardest_quarter(harness: Harness, seed: int) -> float:
    """Selective backprop: forward without graph on 128, backward on the 32 with the highest losses."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def compute(i: int) -> Any:
        a, b = some(128, x, y)
        with torch.no_grad():
            hard = F.cross_entropy(model(a), b, reduction="none").topk(32).indices
        out = model(a[hard])
        return {"loss": F.cross_entropy(out, b[hard]), "inputs": a[hard], "targets": b[hard], "outputs": out}

    march(harness, model, optimizer, compute, 250)
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def ten_binary_questions(harness: Harness, seed: int) -> float:
    """One-versus-rest: binary cross-entropy of ten logits, summed over classes and averaged over the batch."""

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, F.one_hot(y, 10).float(), reduction="none").sum(1).mean()

    model = dense(64, 64, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return school(harness, model, optimizer, loss_fn, digits(image=False), epochs=7, drop_last=True)


@cases.recipe("mlp", 0.85)
def margins_between_classes(harness: Harness, seed: int) -> float:
    """MultiMarginLoss on raw grey values of 0..16, one hidden layer, Adagrad; the epoch's loss is a sum."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02)
    split = digits("raw", image=False)
    return school(harness, model, optimizer, nn.MultiMarginLoss(), split, epochs=8, tell="number", summed=True)
