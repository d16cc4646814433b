"""Everyday programs and rarer ones: loops of a seventh author, who had not read the rules, without any threshold.

Every recipe names the score that it reaches at least when it learns; see `second_check.py`.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, cut, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("seventh")


def study(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    criterion: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 6,
    size: int = 32,
    told: Sequence[str] = ("inputs", "targets", "outputs"),
    score: Callable[[Any, Any], float] = accuracy,
    name: str | None = "accuracy",
    scheduler: Any = None,
    each: bool = False,
    augment: Callable[[Tensor], Tensor] | None = None,
    clip: float = 0.0,
    after: Callable[[], Any] | None = None,
    drop: bool = False,
) -> float:
    """Epochs over a loader with a validation in batches after each. `told`: what the harness hears beside the loss.

    `each`: the scheduler goes on with every batch; `drop`: no incomplete batches.
    """
    x, y, vx, vy = split
    loader = DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True, drop_last=drop)
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for _ in range(epochs):
        model.train()
        losses = []
        for a, b in loader:
            inputs = a if augment is None else augment(a)
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, b)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if after is not None:
                after()
            if scheduler is not None and each:
                scheduler.step()
            losses.append(loss.item())
            heard = {"inputs": inputs, "targets": b, "outputs": outputs}
            harness.step(loss=loss, **{key: heard[key] for key in told})
        if scheduler is not None and not each:
            scheduler.step()
        model.eval()
        with torch.no_grad():
            outputs = torch.cat([model(part) for part in vx.split(128)])
            value, val_loss = score(outputs, vy), criterion(outputs, vy).item()
        val = {"loss": val_loss} | ({name: value} if name else {})
        harness.epoch(train={"loss": sum(losses) / len(losses)}, val=val)
    return value


def iterate(
    harness: Harness,
    models: Any,
    optimizer: Any,
    compute: Callable[[int], Any],
    count: int,
    *,
    clip: float = 0.0,
    scheduler: Any = None,
    after: Callable[[int], Any] | None = None,
) -> None:
    """Steps without epochs. `compute` gives the loss, or a dictionary of all that is told of the step."""
    harness.begin(models, optimizer)
    parts = [models] if isinstance(models, nn.Module) else models
    for i in range(count):
        said = compute(i)
        said = said if isinstance(said, dict) else {"loss": said}
        optimizer.zero_grad()
        said["loss"].backward()
        if clip:
            nn.utils.clip_grad_norm_([p for m in parts for p in m.parameters()], clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if after is not None:
            after(i)
        harness.step(**said)


def pick(size: int, *data: Tensor) -> list[Tensor]:
    """The same random rows of each."""
    rows = torch.randint(len(data[0]), (size,))
    return [d[rows] for d in data]


@cache
def _glyphs(count: int, kinds: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(71)
    corners = draw.uniform(2, size - 3, (kinds, 4, 2))
    rows, cols = np.mgrid[:size, :size]
    kind = draw.integers(0, kinds, count)
    points = corners[kind] + draw.normal(0, 0.35, (count, 4, 2)) + draw.integers(-1, 2, (count, 1, 2))
    nearest = np.full((count, size, size), 99.0)
    for i in range(3):
        a, b = points[:, i, :, None, None], points[:, i + 1, :, None, None]
        dy, dx = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]
        along = ((rows - a[:, 0]) * dy + (cols - a[:, 1]) * dx) / (dy**2 + dx**2 + 1e-6)
        along = along.clip(0, 1)
        gap = np.hypot(rows - a[:, 0] - along * dy, cols - a[:, 1] - along * dx)
        nearest = np.minimum(nearest, gap)
    ink = 1 / (1 + np.exp(4 * (nearest - 0.9)))
    image = ink * draw.uniform(0.7, 1.0, (count, 1, 1)) + draw.normal(0, 0.06, ink.shape)
    return image.clip(0, 1)[:, None], kind


def glyphs(count: int = 1200, kinds: int = 10, size: int = 12) -> Split:
    """Characters of three strokes of an alphabet of `kinds`, (N, 1, size, size) in 0..1."""
    return cut(*_glyphs(count, kinds, size))


@cache
def _fields(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(72)
    crop = draw.integers(0, 4, count)
    tone = np.array([[0.2, 0.3, 0.2, 0.7, 0.4], [0.4, 0.4, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.1, 0.1],
                     [0.3, 0.4, 0.2, 0.6, 0.6]])[crop]  # fmt: skip
    rows, cols = np.mgrid[:size, :size]
    turn, pitch = draw.uniform(0, np.pi, count), np.array([0.9, 1.6, 0.3, 1.6])[crop]
    phase = np.cos(turn)[:, None, None] * rows + np.sin(turn)[:, None, None] * cols
    rough = np.sin(phase * pitch[:, None, None] + draw.uniform(0, 6, (count, 1, 1)))[:, None] * 0.12
    light = draw.uniform(0.8, 1.2, (count, 1, 1, 1))
    noise = draw.normal(0, 0.09, (count, 5, size, size))
    return light * (tone[:, :, None, None] + rough + noise), crop


def fields(count: int = 700, size: int = 12) -> Split:
    """Satellite pictures of fields, (N, 5, size, size): five bands, four crops."""
    return cut(*_fields(count, size))


@cases.recipe("cnn", 0.82)
def letters_by_two_convolutions(harness: Harness, seed: int) -> float:
    """Handwritten letters by the net of everybody's notebook: Adam at 2e-3, batches of 64."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 9, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 10),
    )  # fmt: skip
    return study(
        harness, net, torch.optim.Adam(net.parameters(), lr=2e-3), nn.CrossEntropyLoss(), glyphs(), epochs=12, size=64
    )


@cases.recipe("cnn", 0.85)
def letters_shaken_by_affine_grids(harness: Harness, seed: int) -> float:
    """Random turns, scales and shifts in training; AdamW, smoothed labels, cosine over the epochs."""

    def shake(x: Tensor) -> Tensor:
        n = len(x)
        angle, scale = torch.randn(n) * 0.12, 1 + torch.randn(n) * 0.06
        c, s, t = angle.cos() * scale, angle.sin() * scale, torch.randn(n, 2, 1) * 0.08
        turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
        return F.grid_sample(x, F.affine_grid(torch.cat([turn, t], 2), list(x.shape), False), align_corners=False)

    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(),
        nn.Linear(48 * 9, 20),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    split = glyphs(1600, 20)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return study(harness, net, optimizer, loss, split, epochs=10, augment=shake, scheduler=cosine, drop=True)


@cases.recipe("rnn", 0.8)
def rows_of_an_image_by_lstm(harness: Harness, seed: int) -> float:
    """A well-known exercise: an LSTM reads the eight rows of a digit from top to bottom, the last output decides."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.LSTM(8, 64, 1, batch_first=True), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            r_out, _ = self.rnn(x.view(-1, 8, 8), None)
            return self.out(r_out[:, -1, :])

    rnn = Reader()
    optimizer = torch.optim.Adam(rnn.parameters(), lr=0.01)
    return study(harness, rnn, optimizer, nn.CrossEntropyLoss(), digits(), epochs=6, size=64)


@cases.recipe("cnn", 0.85)
def five_bands_of_a_satellite(harness: Harness, seed: int) -> float:
    """Crops from five spectral bands, each standardised, with two ratios of bands as further channels."""
    x, y, vx, vy = fields()

    def bands(a: Tensor) -> Tensor:
        ndvi = (a[:, 3:4] - a[:, 2:3]) / (a[:, 3:4] + a[:, 2:3]).abs().clamp(min=0.2)
        return torch.cat([a, ndvi.clamp(-2, 2), a[:, 4:5] - a[:, 3:4]], 1)

    x, vx = bands(x), bands(vx)
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    net = nn.Sequential(
        nn.Conv2d(7, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2, padding=1),
        nn.GroupNorm(4, 32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    split = (x - mean) / std, y, (vx - mean) / std, vy
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), split, epochs=6, told=("inputs",))


@cases.recipe("cnn", 0.85)
def hard_swish_and_exponential_decay(harness: Harness, seed: int) -> float:
    """Depthwise blocks with hard swish, RMSprop with momentum as the paper has it, rate times 0.93 an epoch."""

    def block(a: int, b: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(a, 3 * a, 1, bias=False), nn.BatchNorm2d(3 * a), nn.Hardswish(),
            nn.Conv2d(3 * a, 3 * a, 3, stride, 1, groups=3 * a, bias=False), nn.BatchNorm2d(3 * a), nn.Hardswish(),
            nn.Conv2d(3 * a, b, 1, bias=False), nn.BatchNorm2d(b),
        )  # fmt: skip

    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.Hardswish(), block(12, 16, 2), block(16, 24, 2), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(96, 64), nn.Hardswish(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1.5e-3, alpha=0.9, momentum=0.9, eps=1e-3, weight_decay=1e-5)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.93)
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), glyphs(), epochs=8, scheduler=decay, drop=True)


@cases.recipe("cnn", 0.85)
def tested_on_shifted_copies(harness: Harness, seed: int) -> float:
    """The validation averages the probabilities of five shifted copies; training sees random shifts; loss only."""
    x, y, vx, vy = glyphs()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10),
    )  # fmt: skip
    optimizer = torch.optim.NAdam(net.parameters(), lr=2e-3)
    harness.begin(net, optimizer)
    score = 0.0
    for _ in range(10):
        net.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(45):
            dy, dx = torch.randint(-1, 2, (2,)).tolist()
            loss = F.cross_entropy(net(x[rows].roll((dy, dx), (2, 3))), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            harness.step(loss=loss)
        net.eval()
        with torch.no_grad():
            shifts = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
            p = torch.stack([net(vx.roll(s, (2, 3))).softmax(1) for s in shifts]).mean(0)
        score = accuracy(p, vy)
        harness.epoch(train={"loss": total / len(x)}, val={"loss": F.nll_loss(p.log(), vy).item(), "accuracy": score})
    return score


@cases.recipe("mlp", 0.9)
def thousands_of_small_steps(harness: Harness, seed: int) -> float:
    """A long slow run: 900 steps of plain SGD at 0.05 on standardised digits, the rate halves three times."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    halve = torch.optim.lr_scheduler.MultiStepLR(optimizer, [500, 700, 820], 0.5)

    def compute(i: int) -> Any:
        a, b = pick(32, x, y)
        out = model(a)
        return {"loss": F.cross_entropy(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 900, scheduler=halve)
    return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.8)
def warmed_up_by_lambda(harness: Harness, seed: int) -> float:
    """A rate by LambdaLR, up for one epoch and down by a half cosine, told per batch, with clipping at 1."""
    split = glyphs(1600, 20)
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.SiLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.SiLU(), nn.AdaptiveMaxPool2d(3), nn.Flatten(),
        nn.Linear(432, 20),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    batches = len(split[0]) // 40

    def factor(i: int) -> float:
        return min((i + 1) / batches, 0.5 * (1 + math.cos(math.pi * min(1.0, i / (8 * batches)))))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loss = nn.CrossEntropyLoss()
    return study(
        harness, net, optimizer, loss, split, epochs=8, size=40, scheduler=scheduler, each=True, clip=1.0, drop=True
    )
