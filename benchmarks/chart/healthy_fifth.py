"""Ordinary work of many hands: loops of a fifth author, who had not read the rules, without any threshold.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, cut, dense, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset, TensorDataset

cases = SecondCases("fifth")


def evaluate(
    model: nn.Module, loss_fn: Callable[..., Tensor], loader: Any, metric: Callable[[Any, Any], float]
) -> tuple[float, float]:
    """Mean loss and the metric of all batches together, in eval mode."""
    model.eval()
    total, count, outs, goals = 0.0, 0, [], []
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            total, count = total + loss_fn(out, y).item() * len(x), count + len(x)
            outs.append(out)
            goals.append(y)
    return total / count, metric(torch.cat(outs), torch.cat(goals))


def course(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    loss_fn: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 6,
    size: int = 32,
    tell: str = "all",
    metric: Callable[[Any, Any], float] = accuracy,
    name: str | None = "accuracy",
    scheduler: Any = None,
    when: str = "epoch",
    clip: float = 0.0,
    augment: Callable[[Tensor], Tensor] | None = None,
    sampler: Any = None,
    drop_last: bool = False,
    train_metric: bool = False,
    sanity: bool = False,
    every: int = 1,
    cast: torch.dtype | None = None,
    judge: nn.Module | None = None,
    after: Callable[[], Any] = lambda: None,
    best: bool = False,
    zero: str = "before",
) -> float:
    """Train and validate with loaders. Returns the last score, or the best one of which the weights are restored.

    `tell`: what is told of a step: "all", "loss", "number", "inputs", "answers" (outputs and targets). `sanity`: one
    validation before the first step. `every`: epochs between validations. `when`: "epoch", "batch" or "plateau".
    """
    x, y, vx, vy = split
    loader = DataLoader(
        TensorDataset(x, y), batch_size=size, shuffle=sampler is None, sampler=sampler, drop_last=drop_last
    )  # fmt: skip
    val_loader = DataLoader(TensorDataset(vx, vy), batch_size=128)
    harness.begin(model, optimizer, loss_fn=loss_fn if tell == "all" else None)
    tested = judge or model
    if sanity:
        evaluate(tested, loss_fn, val_loader, metric)
    value, kept = 0.0, (-float("inf"), {})
    for epoch in range(epochs):
        model.train()
        total, right, seen = 0.0, 0.0, 0
        for inputs, targets in loader:
            inputs = augment(inputs) if augment else inputs
            if zero == "before":
                optimizer.zero_grad()
            with torch.autocast("cpu", dtype=cast) if cast else nullcontext():
                outputs = model(inputs)
                loss = loss_fn(outputs, targets)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if zero == "after":
                optimizer.zero_grad()
            after()
            if scheduler is not None and when == "batch":
                scheduler.step()
            total, seen = total + loss.item() * len(inputs), seen + len(inputs)
            if train_metric:
                right += metric(outputs.detach(), targets) * len(inputs)
            if tell == "all":
                harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
            elif tell == "inputs":
                harness.step(loss=loss, inputs=inputs)
            elif tell == "answers":
                harness.step(loss=loss, outputs=outputs, targets=targets)
            else:
                harness.step(loss=loss if tell == "loss" else loss.item())
        train = {"loss": total / seen} | ({name: right / seen} if train_metric and name else {})
        if epoch % every == every - 1 or epoch == epochs - 1:
            val_loss, value = evaluate(tested, loss_fn, val_loader, metric)
            harness.epoch(train=train, val={"loss": val_loss} | ({name: value} if name else {}))
            if value > kept[0]:
                kept = value, copy.deepcopy(model.state_dict()) if best else {}
        else:
            harness.epoch(train=train)
        if scheduler is not None and when != "batch":
            scheduler.step(*([val_loss] if when == "plateau" else []))
    if best:
        model.load_state_dict(kept[1])
        return evaluate(model, loss_fn, val_loader, metric)[1]
    return value


def pick(size: int, *data: Tensor) -> list[Tensor]:
    """The same random rows of each, without one twice."""
    rows = torch.randperm(len(data[0]))[:size]
    return [d[rows] for d in data]


@cache
def _fabrics(count: int, size: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(51)
    kind, (r, c) = draw.integers(0, 5, count), np.mgrid[:size, :size] / size
    f, p, q, turn = (draw.uniform(a, b, (count, 1, 1)) for a, b in ((2.2, 4.2), (0, 6.28), (0, 6.28), (0, 6.28)))
    across, down = np.sin(6.28 * f * r + p), np.sin(6.28 * f * c + q)
    slope = 2 * ((r - 0.5) * np.cos(turn) + (c - 0.5) * np.sin(turn))
    forms = [across, down, across * down * 1.4, np.sin(4.4 * f * (r + c) + p), slope]
    form = np.select([(kind == k)[:, None, None] for k in range(5)], forms)
    tint = draw.uniform(0.12, 0.3, (count, 3, 1, 1)) * draw.choice([-1, 1], (count, 3, 1, 1))
    images = draw.uniform(0.3, 0.7, (count, 3, 1, 1)) + tint * form[:, None]
    return (images + draw.normal(0, 0.06, images.shape)).clip(0, 1).astype(np.float32), kind, turn[:, 0, 0]


def fabrics(count: int = 800, size: int = 16) -> Split:
    """Colour images (N, 3, size, size) in 0..1 of five weaves: two ways of stripes, checks, slanted, plain."""
    return cut(*_fabrics(count, size)[:2])


def normal(split: Split) -> Split:
    """Images by mean and deviation of each channel of the training part."""
    x, y, vx, vy = split
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / std, y, (vx - mean) / std, vy


def flipped(x: Tensor) -> Tensor:
    """Each image mirrored with a chance of a half."""
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)


def moved(x: Tensor, reach: int = 2) -> Tensor:
    """Each batch padded by its own border and cropped at a random place."""
    h, w = x.shape[-2:]
    i, j = torch.randint(2 * reach + 1, (2,)).tolist()
    return F.pad(x, (reach,) * 4, mode="replicate")[..., i : i + h, j : j + w]


@cases.recipe("cnn", 0.85)
def the_basic_example(harness: Harness, seed: int) -> float:
    """The example of handwritten digits: two convolutions, two dropouts, log_softmax, Adadelta at 1, StepLR by 0.7."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 1, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(512, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
            x = F.relu(self.fc1(torch.flatten(self.dropout1(x), 1)))
            return F.log_softmax(self.fc2(self.dropout2(x)), dim=1)

    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    return course(
        harness, model, optimizer, F.nll_loss, digits("standard"), epochs=6, size=64, scheduler=scheduler
    )  # fmt: skip


@cases.recipe("cnn", 0.75)
def the_classifier_of_the_tutorial(harness: Harness, seed: int) -> float:
    """Two 5 x 5 convolutions and three linear layers, momentum, colours of -1..1, running loss printed, tested once."""
    x, y, vx, vy = fabrics(size=20)
    x, vx = x * 2 - 1, vx * 2 - 1
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 60), nn.ReLU(), nn.Linear(60, 42), nn.ReLU(), nn.Linear(42, 5),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)
    harness.begin(net, optimizer, loss_fn=criterion)
    for _ in range(6):
        running = []
        for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True):
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
    with torch.no_grad():
        return accuracy(net(vx), vy)


@cases.recipe("mlp", 0.85)
def a_dataset_of_ones_own(harness: Harness, seed: int) -> float:
    """A Dataset with transforms in __getitem__ and a collate function; only the loss's number is told, no epochs."""
    x, y, vx, vy = digits("raw", image=False)

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {"image": x[i] / 16.0, "label": int(y[i])}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {
            "image": torch.stack([r["image"] for r in rows]),
            "label": torch.tensor([r["label"] for r in rows]),
        }

    model = dense(64, 100, 50, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    for _ in range(8):
        for batch in DataLoader(Rows(), batch_size=32, shuffle=True, collate_fn=collate):
            loss = F.cross_entropy(model(batch["image"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item())
    return accuracy(model(vx / 16.0), vy)


@cases.recipe("mlp", 0.85)
def lightning_like(harness: Harness, seed: int) -> float:
    """A module with training_step and configure_optimizers, a sanity validation first, AdamW, GELU, clipping at 1."""

    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), *dense(64, 96, 96, 10, act=nn.GELU))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    lit = Lit()
    return course(
        harness, lit, lit.configure_optimizers(), F.cross_entropy, digits("signed"),
        epochs=7, size=32, clip=1.0, sanity=True, train_metric=True, tell="loss",
    )  # fmt: skip


@cases.recipe("mlp", 0.85)
def loss_and_logits_come_together(harness: Harness, seed: int) -> float:
    """The model takes labels and returns a dict of loss and logits, AdamW, linear warm-up and decay by step, no val."""
    x, y, vx, vy = digits("standard", image=False)

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128), nn.GELU(), nn.Dropout(0.1))
            self.classifier = nn.Linear(128, 10)

        def forward(self, pixels: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
            logits = self.classifier(self.body(pixels))
            return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}

    model = WithLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    steps = 200
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(i / 20, (steps - i) / (steps - 20)))
    harness.begin(model, optimizer)
    for i in range(steps):
        model.train()
        a, b = pick(32, x, y)
        out = model(a, labels=b)
        out["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        harness.step(loss=out["loss"], inputs=a, targets=b, outputs=out["logits"])
        if i % 67 == 66:
            model.eval()
            with torch.no_grad():
                held = model(vx, labels=vy)
            harness.epoch(val={"loss": held["loss"].item(), "accuracy": accuracy(held["logits"], vy)})
    return accuracy(model.eval()(vx)["logits"], vy)
