"""Loops of everyday work on one's own data, by an eleventh author, who had not read the rules, without any threshold.

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

cases = SecondCases("eleventh")

FONT = {
    "A": ".###. #...# ##### #...# #...#", "C": ".#### #.... #.... #.... .####", "E": "##### #.... ###.. #.... #####",
    "H": "#...# #...# ##### #...# #...#", "K": "#..#. #.#.. ##... #.#.. #..#.", "L": "#.... #.... #.... #.... #####",
    "N": "#...# ##..# #.#.# #..## #...#", "T": "##### ..#.. ..#.. ..#.. ..#..", "X": "#...# .#.#. ..#.. .#.#. #...#",
    "Z": "##### ...#. ..#.. .#... #####",
}  # fmt: skip
"""Ten letters of five by five points."""


def take(data: Any, rows: Any) -> Any:
    """Rows of a tensor, or of each tensor of a tuple or dictionary."""
    if isinstance(data, dict):
        return {key: value[rows] for key, value in data.items()}
    return tuple(d[rows] for d in data) if isinstance(data, tuple) else data[rows]


def apply(model: nn.Module, inputs: Any) -> Any:
    """The model on one tensor, a tuple of them, or named ones."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def tell(harness: Harness, told: str, loss: Tensor, inputs: Any, targets: Any, outputs: Any) -> None:
    """What this program tells of a step: "all", "loss", "number", "pair" (inputs and targets too) or "outputs"."""
    if told == "all":
        harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
    elif told == "pair":
        harness.step(loss=loss, inputs=inputs, targets=targets)
    elif told == "outputs":
        harness.step(loss=loss, outputs=outputs, targets=targets)
    else:
        harness.step(loss=loss if told == "loss" else loss.item())


@torch.no_grad()
def evaluate(model: nn.Module, x: Any, y: Any, criterion: Any, metric: Any) -> tuple[float, float]:
    """Loss and metric on held-out data in eval mode."""
    model.eval()
    outputs = apply(model, x)
    return float(criterion(outputs, y)), float(metric(outputs, y))


def train(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    criterion: Callable[..., Tensor],
    split: Any,
    *,
    epochs: int = 6,
    size: int = 32,
    told: str = "all",
    scheduler: Any = None,
    when: str = "epoch",
    clip: float = 0.0,
    cast: torch.dtype | None = None,
    augment: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    after: Callable[[], Any] | None = None,
    metric: Callable[[Any, Any], float] = accuracy,
    name: str | None = "accuracy",
    judge: nn.Module | None = None,
    best: str = "",
    patience: int = 0,
    drop_last: bool = False,
    weights: Tensor | None = None,
    accumulate: int = 1,
    clear: str = "before",
    said: str = "both",
    val_criterion: Any = None,
) -> float:
    """Train for some epochs. Returns the last score, or that of the best epoch with `best` ("loss" or "metric").

    `when` the scheduler steps: "epoch", "batch" or "plateau". `clear`: gradients "before" the forward pass or right
    "after" the step. `said` of an epoch: "both", "val", "train" or "none". `weights`: of a weighted sampler.
    """
    x, y, vx, vy = split
    count = len(next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x)
    harness.begin(model, optimizer, loss_fn=criterion if told == "all" else None)
    top, kept, waited, value = -float("inf"), None, 0, 0.0
    for _ in range(epochs):
        model.train()
        order = torch.randperm(count) if weights is None else torch.multinomial(weights, count, replacement=True)
        batches = [b for b in order.split(size) if len(b) == size or not drop_last]
        batches = batches[: len(batches) // accumulate * accumulate]
        total, mean = 0.0, torch.zeros(())
        for number, rows in enumerate(batches, 1):
            inputs, targets = take(x, rows), take(y, rows)
            if augment is not None:
                inputs, targets = augment(inputs, targets)
            if clear == "before" and number % accumulate == (1 if accumulate > 1 else 0):
                optimizer.zero_grad()
            with torch.autocast("cpu", dtype=cast) if cast else nullcontext():
                outputs = apply(model, inputs)
                loss = criterion(outputs, targets)
            (loss / accumulate).backward()
            total, mean = total + loss.item(), mean + loss.detach() / accumulate
            if number % accumulate:
                continue
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if clear == "after":
                optimizer.zero_grad()
            if scheduler is not None and when == "batch":
                scheduler.step()
            if after is not None:
                after()
            if accumulate > 1:
                harness.step(loss=mean)
                mean = torch.zeros(())
            else:
                tell(harness, told, loss, inputs, targets, outputs)
        val_loss, value = evaluate(judge or model, vx, vy, val_criterion or criterion, metric)
        if scheduler is not None and when != "batch":
            scheduler.step(*([val_loss] if when == "plateau" else []))
        shown = {"loss": val_loss} | ({name: value} if name else {})
        if said != "none":
            harness.epoch(
                train={"loss": total / len(batches)} if said != "val" else None, val=shown if said != "train" else None
            )
        now = value if best == "metric" else -val_loss
        if now > top:
            top, waited = now, 0
            kept = copy.deepcopy((judge or model).state_dict())
        else:
            waited += 1
            if patience and waited >= patience:
                break
    if kept is not None and (best or patience):
        (judge or model).load_state_dict(kept)
        value = evaluate(judge or model, vx, vy, val_criterion or criterion, metric)[1]
    return value


def stamp(letter: str, scale: int = 1) -> np.ndarray:
    """A letter as an array of 0 and 1."""
    return np.kron(np.array([[c == "#" for c in row] for row in FONT[letter].split()], float), np.ones((scale, scale)))


@cache
def _letters(count: int, size: int, seed: int, names: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x, y = draw.normal(0.15, 0.1, (count, 1, size, size)), draw.integers(0, len(names), count)
    for i in range(count):
        form = stamp(names[y[i]], 2)
        r, c = draw.integers(0, size - 9, 2)
        x[i, 0, r : r + 10, c : c + 10] += form * draw.uniform(0.4, 0.8)
    return x.clip(0, 1).astype(np.float32), y


def letters(count: int = 1200, size: int = 14, seed: int = 1101, names: str = "ACEHKLNTXZ") -> Split:
    """Grey pictures (N, 1, size, size) of 0..1 of printed letters, which stand anywhere, and which one it is."""
    return cut(*_letters(count, size, seed, names))


@cache
def _leaves(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size] / size - 0.5
    x, kind = np.zeros((count, 3, size, size)), draw.integers(0, 4, count)
    ill = np.zeros((count, size, size), np.int64)
    for i in range(count):
        turn, a, b = draw.uniform(0, 3.14), draw.uniform(0.36, 0.46), draw.uniform(0.22, 0.3)
        u, v = rows * np.cos(turn) + cols * np.sin(turn), cols * np.cos(turn) - rows * np.sin(turn)
        leaf = (u / a) ** 2 + (v / b) ** 2 < 1
        x[i] = draw.uniform(0.3, 0.5, (3, 1, 1)) * np.array([1.1, 0.9, 0.7])[:, None, None]
        x[i][:, leaf] = (np.array([0.15, 0.55, 0.15]) * draw.uniform(0.8, 1.2))[:, None]
        if kind[i] == 1:  # Spots.
            for _ in range(4):
                p, q = draw.uniform(-0.25, 0.25), draw.uniform(-0.15, 0.15)
                ill[i] |= leaf & ((u - p) ** 2 + (v - q) ** 2 < 0.07**2)
            x[i][:, ill[i] == 1] = np.array([0.35, 0.2, 0.08])[:, None]
        elif kind[i] == 2:  # Rust along the vein.
            ill[i] = leaf & (abs(v) < 0.06)
            x[i][:, ill[i] == 1] = np.array([0.75, 0.4, 0.1])[:, None]
        elif kind[i] == 3:  # Mildew on one end.
            ill[i] = leaf & (u > draw.uniform(0.05, 0.2))
            x[i][:, ill[i] == 1] += 0.3
    x = x + draw.normal(0, 0.05, x.shape)
    return x.clip(0, 1).astype(np.float32), kind, ill


def leaves(count: int = 1000, size: int = 20, seed: int = 1102, what: str = "kinds") -> Split:
    """Colour pictures (N, 3, size, size) of 0..1 of leaves: sound, spots, rust, mildew; or masks of the ill parts."""
    x, kind, ill = _leaves(count, size, seed)
    return cut(x, kind if what == "kinds" else ill)


def standard(split: Split) -> Split:
    """Channels by mean and deviation of the training pictures."""
    x, y, vx, vy = split
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / std, y, (vx - mean) / std, vy


def block(into: int, out: int, stride: int = 1, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), act())


class LeNet(nn.Module):
    """Two convolutions of five points and three linear layers."""

    def __init__(self, channels: int = 1, side: int = 14, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5, padding=2), nn.Conv2d(6, 16, 5, padding=2)
        self.fc1, self.fc2 = nn.Linear(16 * (side // 4) ** 2, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


@cases.recipe("cnn", 0.85)
def letters_by_lenet(harness: Harness, seed: int) -> float:
    """LeNet on printed letters of one's own, Adam at 1e-3, batches of 16, validation after each epoch."""
    model = LeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), standard(letters(2000)), epochs=6, size=16)


@cases.recipe("cnn", 0.9)
def leaves_in_a_notebook(harness: Harness, seed: int) -> float:
    """Sick leaves: three blocks with batch norm, Adam at 1e-3, the weights of the best accuracy are loaded at last."""
    model = nn.Sequential(
        block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 48),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), leaves(), epochs=6, best="metric")


@cases.recipe("mlp", 0.85)
def digits_by_a_dropout_mlp(harness: Harness, seed: int) -> float:
    """Flat digits of 0..1, 128 and 64 units with dropout of 0.2, Adam, only the number of the loss is logged."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(harness, model, optimizer, F.cross_entropy, digits(), epochs=8, size=64, told="number")


@cases.recipe("mlp", 0.85)
def digits_as_log_probabilities(harness: Harness, seed: int) -> float:
    """log_softmax at the end and NLLLoss, SGD at 0.1 with momentum 0.5, the old MNIST example, tested by epochs."""
    model = nn.Sequential(nn.Flatten(), dense(64, 100, 10), nn.LogSoftmax(dim=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    return train(harness, model, optimizer, nn.NLLLoss(), digits("standard"), epochs=6, size=64, clear="after")


@cases.recipe("cnn", 0.85)
def letters_resumed_from_a_checkpoint(harness: Harness, seed: int) -> float:
    """A job is cut off after three epochs; a new one loads weights and Adam's state and goes on for four, watched."""
    split = standard(letters())
    first = LeNet()
    optimizer = torch.optim.Adam(first.parameters(), lr=1e-3)
    for _ in range(3):
        for rows in torch.randperm(len(split[0])).split(16):
            optimizer.zero_grad()
            F.cross_entropy(first(split[0][rows]), split[1][rows]).backward()
            optimizer.step()
    saved = copy.deepcopy({"model": first.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    model = LeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4, size=16)
