"""Waves and series, by a fifth author, without any threshold. See `healthy_fifth.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart import data
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course
from benchmarks.chart.second import (
    SecondCases,
    Split,
    cut,
    explained,
    gaits,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


@cache
def _tones(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(57)
    kind, t = draw.integers(0, 5, count), np.arange(length)[None]
    f, p = draw.uniform(0.12, 0.4, (count, 1)), draw.uniform(0, 6.28, (count, 1))
    rise = f * t * (0.5 + t / length)
    fall = f * t * (1.5 - t / length)
    beat = np.sin(f * t + p) * np.sin(t * draw.uniform(0.04, 0.06, (count, 1)))
    hits = np.sin(2 * f * t) * np.exp(-((t + draw.integers(0, 60, (count, 1))) % 64) / 8)
    forms = [np.sin(f * t + p), np.sin(rise + p), np.sin(fall + p), beat * 1.3, hits * 2]
    wave = np.select([(kind == k)[:, None] for k in range(5)], forms) * draw.uniform(0.4, 1.0, (count, 1))
    return (wave + draw.normal(0, 0.1, wave.shape))[:, None], kind


def tones(count: int = 700, length: int = 384) -> Split:
    """Sounds (N, 1, length): a plain tone, one that rises, one that falls, a beating one, hits."""
    return cut(*_tones(count, length))


@cache
def _load() -> np.ndarray:
    draw = np.random.default_rng(58)
    t = np.arange(2400)
    noise = np.zeros(2400)
    for i in range(1, 2400):
        noise[i] = 0.8 * noise[i - 1] + draw.normal(0, 0.1)
    day, week = np.sin(t / 24 * 6.28) + 0.4 * np.sin(t / 12 * 6.28), 0.4 * np.cos(t / 168 * 6.28)
    return 30 + 6 * (day + week + noise)


@cases.recipe("series", 0.7)
def load_of_the_next_hour(harness: Harness, seed: int) -> float:
    """Forecast by an LSTM: windows of 24 hours scaled to 0..1 by the training part, squared error, not shuffled."""
    load = torch.tensor(_load(), dtype=torch.float32)
    low, high = load[:1800].min(), load[:1800].max()
    scaled = (load - low) / (high - low)
    x, y = scaled[:-1].unfold(0, 24, 1)[..., None], scaled[24:][:, None]

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.lstm(x)[0][:, -1])

    model = Forecast()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    criterion = nn.MSELoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(6):
        model.train()
        losses = []
        for a, b in zip(x[:1776].split(32), y[:1776].split(32), strict=True):
            optimizer.zero_grad()
            out = model(a)
            loss = criterion(out, b)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(x[1800:])
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"loss": criterion(out, y[1800:]).item()})
    return explained(out, y[1800:])


@cases.recipe("series", 0.6)
def a_day_at_once_by_convolutions(harness: Harness, seed: int) -> float:
    """Two days in, the next 12 hours out, standardised, dilated convolutions with a residual, L1, one cycle."""
    load = torch.tensor(_load(), dtype=torch.float32)
    scaled = (load - load[:1800].mean()) / load[:1800].std()
    rows = scaled.unfold(0, 60, 3)
    x, y, at = rows[:, None, :48], rows[:, 48:], 580

    class Dilated(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.conv, self.d = nn.Conv1d(24, 24, 3, dilation=d), d

        def forward(self, x: Tensor) -> Tensor:
            return x + F.relu(self.conv(F.pad(x, (2 * self.d, 0))))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(1, 24, 1), *(Dilated(2**k) for k in range(5)))
            self.head = nn.Linear(24, 12)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x)[..., -1])

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 6e-3, epochs=10, steps_per_epoch=37)
    return course(
        harness, model, optimizer, nn.L1Loss(), (x[:at], y[:at], x[620:], y[620:]), epochs=10, size=16,
        metric=explained, name="r2", scheduler=scheduler, when="batch", tell="inputs",
    )  # fmt: skip


@cases.recipe("audio", 0.85)
def sounds_from_the_bare_wave(harness: Harness, seed: int) -> float:
    """M5: a first convolution of 40 samples with stride 4, batch norm, pools, log_softmax, decay 1e-4, StepLR."""
    model = nn.Sequential(
        nn.Conv1d(1, 16, 40, 4), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 24, 3), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(24, 32, 3), nn.BatchNorm1d(32), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten(),
        nn.Linear(64, 5), nn.LogSoftmax(1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    scheduler = lr_scheduler.StepLR(optimizer, 5, gamma=0.1)
    return course(
        harness, model, optimizer, F.nll_loss, tones(1200), epochs=9, size=64, scheduler=scheduler, tell="answers"
    )  # fmt: skip


@cases.recipe("audio", 0.85)
def spectra_in_decibels(harness: Harness, seed: int) -> float:
    """Log power of a short-time Fourier transform in the model, depthwise separable convolutions, SGD, cosine."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("window", torch.hann_window(48))
            layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
            for _ in range(2):
                layers += [nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
                layers += [nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
            self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((4, 3)), nn.Flatten(), nn.Linear(192, 5))

        def forward(self, wave: Tensor) -> Tensor:
            power = torch.stft(wave[:, 0], 48, 16, window=self.window, return_complex=True).abs().square()
            return self.net((10 * (power + 1e-3).log10() / 20)[:, None])

    model = Words()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), tones(), epochs=8, size=32, scheduler=scheduler)


@cases.recipe("series", 0.85)
def beats_by_a_residual_net(harness: Harness, seed: int) -> float:
    """Movements from three axes by a 1-d ResNet; series are scaled and jittered in training; AdamW."""

    class Block(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv1d(into, out, 5, 2, 2), nn.BatchNorm1d(out), nn.ReLU(), nn.Conv1d(out, out, 5, 1, 2),
                nn.BatchNorm1d(out),
            )  # fmt: skip
            self.short = nn.Conv1d(into, out, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.f(x) + self.short(x))

    x, y, vx, vy = gaits(900)
    model = nn.Sequential(Block(3, 16), Block(16, 32), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x.mT.contiguous(), y, vx.mT.contiguous(), vy), epochs=8,
        size=24, augment=lambda a: a * (0.9 + 0.2 * torch.rand(len(a), 1, 1)) + 0.05 * torch.randn_like(a),
    )  # fmt: skip


@cases.recipe("sequence", 0.85)
def forms_of_waves_by_the_last_state(harness: Harness, seed: int) -> float:
    """Four forms of waves by a GRU and its last state, batches of 40, RMSprop, gradients clipped by value at 1."""
    train, val = data.series(900, 256)

    class Forms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(2, 40, batch_first=True), nn.Linear(40, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[1][0])

    model: Any = Forms()
    for p in model.parameters():
        p.register_hook(lambda g: g.clamp(-1, 1))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=4e-3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (train.x, train.y, val.x, val.y), epochs=12, size=40
    )  # fmt: skip
