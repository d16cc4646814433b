"""Everyday loops of people who train on their own data, by a ninth author, who had not read the rules, without any
threshold.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, cancer, dense, diabetes, digits, explained
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("ninth")

Told = str
"""What the harness hears of a step: "all", "loss", "number" (a float), "pair" (inputs and targets too) or "outputs"."""


def tell(harness: Harness, told: Told, loss: Tensor, inputs: Any, targets: Any, outputs: Any) -> None:
    """Tell the harness of a step what this program tells."""
    if told == "all":
        harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
    elif told == "pair":
        harness.step(loss=loss, inputs=inputs, targets=targets)
    elif told == "outputs":
        harness.step(loss=loss, targets=targets, outputs=outputs)
    else:
        harness.step(loss=loss if told == "loss" else loss.item())


@torch.no_grad()
def evaluate(model: nn.Module, x: Tensor, y: Tensor, criterion: Any, metric: Any, size: int = 256) -> tuple[float, Any]:
    """Loss and metric over held-out data in eval mode, batch by batch."""
    model.eval()
    outputs = torch.cat([model(part) for part in x.split(size)])
    return float(criterion(outputs, y)), metric(outputs, y)


def train_model(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    criterion: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 6,
    size: int = 32,
    told: Told = "all",
    scheduler: Any = None,
    when: str = "epoch",
    clip: float = 0.0,
    accumulate: int = 1,
    cast: torch.dtype | None = None,
    change: Callable[[Tensor, Tensor], tuple[Tensor, Any]] | None = None,
    after: Callable[[], Any] | None = None,
    metric: Callable[[Tensor, Tensor], float] = accuracy,
    name: str | None = "accuracy",
    train_metric: bool = False,
    judge: nn.Module | None = None,
    val_criterion: Callable[..., Tensor] | None = None,
    keep_best: bool = False,
    patience: int = 0,
    drop_last: bool = False,
    sampler: Any = None,
) -> float:
    """Train and validate by epochs, as most do. Returns the last score, or the best one's with `keep_best`.

    `when` the scheduler steps: "epoch", "batch" or "plateau" (with the validation loss). `change` augments a batch.
    `judge` is validated in the model's place. `patience`: epochs without a better validation loss before it stops.
    """
    x, y, vx, vy = split
    loader = DataLoader(
        TensorDataset(x, y), batch_size=size, shuffle=sampler is None, sampler=sampler, drop_last=drop_last
    )
    harness.begin(model, optimizer, loss_fn=criterion if told == "all" else None)
    best_loss, best_state, waited, value = float("inf"), copy.deepcopy(model.state_dict()), 0, 0.0
    for _ in range(epochs):
        model.train()
        total, seen, right, parts = 0.0, 0, 0.0, 0
        optimizer.zero_grad()
        mean = torch.zeros(())
        for inputs, targets in loader:
            if change is not None:
                inputs, targets = change(inputs, targets)
            with torch.autocast("cpu", dtype=cast) if cast else nullcontext():
                outputs = model(inputs)
                loss = criterion(outputs, targets)
            (loss / accumulate).backward()
            mean = mean + loss.detach() / accumulate
            total, seen = total + loss.item() * len(inputs), seen + len(inputs)
            if train_metric:
                right += metric(outputs.detach(), targets) * len(inputs)
            parts += 1
            if parts % accumulate:
                continue
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if accumulate == 1:
                tell(harness, told, loss, inputs, targets, outputs)
            else:
                harness.step(loss=mean)
                mean = torch.zeros(())
            optimizer.zero_grad()
            if after is not None:
                after()
            if scheduler is not None and when == "batch":
                scheduler.step()
        val_loss, value = evaluate(judge or model, vx, vy, val_criterion or criterion, metric)
        if scheduler is not None and when != "batch":
            scheduler.step(*([val_loss] if when == "plateau" else []))
        shown = {name: value} if name else {}
        own = {name: right / seen} if name and train_metric else {}
        harness.epoch(train={"loss": total / seen} | own, val={"loss": val_loss} | shown)
        if val_loss < best_loss:
            best_loss, best_state, waited = val_loss, copy.deepcopy((judge or model).state_dict()), 0
        else:
            waited += 1
            if patience and waited >= patience:
                break
    if keep_best or patience:
        (judge or model).load_state_dict(best_state)
        value = evaluate(judge or model, vx, vy, val_criterion or criterion, metric)[1]
    return value


def batch_of(size: int, *data: Tensor) -> list[Tensor]:
    """The same random rows of each."""
    rows = torch.randint(len(data[0]), (size,))
    return [d[rows] for d in data]


def auc(outputs: Tensor, targets: Tensor) -> float:
    """Area under the ROC curve of one logit per row."""
    return float(roc_auc_score(targets.flatten().numpy(), outputs.flatten().numpy()))


def f1(outputs: Tensor, targets: Tensor) -> float:
    """F1 of the positive class, one logit per row or two classes."""
    said = outputs.argmax(1) == 1 if outputs.dim() == 2 and outputs.shape[1] == 2 else outputs.flatten() > 0
    real = targets.flatten() > 0.5
    return float(2 * (said & real).sum() / (said.sum() + real.sum()).clamp(min=1))


def as_column(split: Split) -> Split:
    """Classes 0 and 1 as floats (N, 1), for binary cross-entropy."""
    x, y, vx, vy = split
    return x, y.float()[:, None], vx, vy.float()[:, None]


class Net(nn.Module):
    """The network with conv1, conv2, fc1 and fc2 of countless tutorials, on images of `side` pixels."""

    def __init__(
        self, channels: int = 1, side: int = 8, classes: int = 10, width: int = 16, drop: float = 0.25
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.dropout = nn.Dropout(drop)
        self.fc1 = nn.Linear(2 * width * (side // 4) ** 2, 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout(F.relu(self.fc1(x.flatten(1))))
        return self.fc2(x)


@cases.recipe("cnn", 0.9)
def digits_with_train_and_test_functions(harness: Harness, seed: int) -> float:
    """The MNIST example: Adadelta at 1.0, StepLR with 0.7, batches of 64, tested after each epoch."""
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
    return train_model(
        harness, model, optimizer, F.cross_entropy, digits("standard"), epochs=8, size=64, scheduler=scheduler
    )


@cases.recipe("mlp", 0.88)
def homework_mlp_with_history(harness: Harness, seed: int) -> float:
    """Homework: three linear layers, Adam at 1e-3, lists of losses and accuracies of both sets for a plot."""
    x, y, vx, vy = digits(image=False)
    model = dense(64, 128, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    history: dict[str, list[float]] = {"loss": [], "acc": [], "val_loss": [], "val_acc": []}
    harness.begin(model, optimizer, loss_fn=loss_fn)
    for _ in range(9):
        model.train()
        losses, right = [], 0
        for rows in torch.randperm(len(x)).split(32):
            logits = model(x[rows])
            loss = loss_fn(logits, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=x[rows], targets=y[rows], outputs=logits)
            losses.append(loss.item())
            right += int((logits.argmax(1) == y[rows]).sum())
        history["loss"].append(float(np.mean(losses)))
        history["acc"].append(right / len(x))
        val_loss, val_acc = evaluate(model, vx, vy, loss_fn, accuracy)
        history["val_loss"].append(val_loss)
        history["val_acc"].append(val_acc)
        harness.epoch(
            train={"loss": history["loss"][-1], "accuracy": history["acc"][-1]},
            val={"loss": val_loss, "accuracy": val_acc},
        )
    return history["val_acc"][-1]


@cases.recipe("mlp", 0.93)
def tumours_one_logit_and_early_stopping(harness: Harness, seed: int) -> float:
    """Tumours: one logit, dropout, weight decay, stops after four epochs without a better loss, best one is loaded."""
    model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-3)
    x, y, vx, vy = as_column(cancer())
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, y, vx, vy), epochs=20, size=32, patience=4,
        metric=lambda out, goal: float(((out > 0) == (goal > 0.5)).float().mean()),
    )  # fmt: skip


@cases.recipe("mlp", 0.3)
def progression_of_diabetes(harness: Harness, seed: int) -> float:
    """Regression on 331 patients: 16 units, MSE, Adam with weight decay, batches of 16, the loss only is logged."""
    model = dense(10, 16, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-2)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), diabetes(), epochs=8, size=16, told="loss", metric=explained, name="r2"
    )


@cases.recipe("cnn", 0.9)
def digits_logged_every_ten_batches(harness: Harness, seed: int) -> float:
    """The sixty-minute style: SGD 0.02 with momentum 0.9, a running loss printed every ten batches."""
    x, y, vx, vy = digits("signed")
    model = Net(drop=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
    harness.begin(model, optimizer)
    printed = []
    for _ in range(5):
        running = 0.0
        for i, (inputs, labels) in enumerate(loader):
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
            running += loss.item()
            if i % 10 == 9:
                printed.append(running / 10)
                running = 0.0
    return evaluate(model, vx, vy, criterion, accuracy)[1]


@cases.recipe("mlp", 0.9)
def resumed_after_the_night(harness: Harness, seed: int) -> float:
    """Checkpoint of model, optimizer and scheduler after four epochs; a new program loads it and goes on for four."""
    x, y, vx, vy = digits("standard", image=False)
    criterion = nn.CrossEntropyLoss()

    def build() -> tuple[nn.Module, Any, Any]:
        model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)

    def epoch(model: nn.Module, optimizer: Any, watched: bool) -> float:
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(32):
            loss = criterion(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            if watched:
                harness.step(loss=loss, inputs=x[rows], targets=y[rows])
        return total / len(x)

    first, optimizer, scheduler = build()
    for _ in range(4):
        epoch(first, optimizer, False)
        scheduler.step()
    saved = copy.deepcopy(
        {"model": first.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    )
    model, optimizer, scheduler = build()
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for _ in range(4):
        train_loss = epoch(model, optimizer, True)
        scheduler.step()
        val_loss, value = evaluate(model, vx, vy, criterion, accuracy)
        harness.epoch(train={"loss": train_loss}, val={"loss": val_loss, "accuracy": value})
    return value
