"""Signals and sounds, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import auc, train_model
from benchmarks.chart.second import SecondCases, Split, cut, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


def beats(count: int = 1400, length: int = 64) -> Split:
    """Single heart beats (N, 1, length), standardised: sound (0), early and wide (1), with an inverted T (2)."""
    draw = np.random.default_rng(952)
    t = np.linspace(0, 1, length)[None]
    y = draw.choice(3, count, p=[0.6, 0.2, 0.2])
    shift = draw.normal(0, 0.03, (count, 1))

    def bump(at: Any, width: Any) -> Any:
        return np.exp(-((t - at - shift) ** 2) / (2 * width**2))

    k = y[:, None]
    p = 0.2 * bump(0.25, 0.03) * (k != 1)
    qrs = bump(0.45, np.where(k == 1, 0.05, 0.018) * draw.uniform(0.8, 1.2, (count, 1)))
    tail = np.where(k == 2, -0.25, 0.3) * draw.uniform(0.6, 1.2, (count, 1)) * bump(0.72, 0.06)
    x = (p + qrs + tail) * draw.uniform(0.7, 1.3, (count, 1)) + draw.normal(0, 0.07, (count, length))
    x = x + 0.2 * np.sin(2 * np.pi * (t * 0.5 + draw.uniform(0, 1, (count, 1))))
    return cut((x - x.mean(1, keepdims=True))[:, None] / 0.3, y)


def steps_and_rests(count: int = 1200, length: int = 48) -> Split:
    """Acceleration (N, length, 3) while one rests (0), walks (1), runs (2) or climbs stairs (3)."""
    draw = np.random.default_rng(956)
    y, t = draw.integers(0, 4, count), np.arange(length)[None]
    rate = np.array([0.0, 0.45, 0.75, 0.38])[y][:, None] * draw.uniform(0.88, 1.12, (count, 1))
    high = np.array([0.0, 0.8, 1.6, 1.0])[y][:, None] * draw.uniform(0.7, 1.3, (count, 1))
    phase = rate * t + draw.uniform(0, 6.28, (count, 1))
    up = high * (np.sin(phase) + np.array([0, 0.2, 0.3, 0.7])[y][:, None] * np.sin(2 * phase))
    x = np.stack([up, 0.5 * high * np.cos(phase), 0.3 * high * np.sin(phase / 2)], -1)
    x = x + draw.normal(0, 0.3, (count, 1, 3)) + draw.normal(0, 0.25, (count, length, 3))
    return cut(x, y)


@cases.recipe("signal", 0.88)
def heart_beats_by_convolutions(harness: Harness, seed: int) -> float:
    """1D convolutions with batch norm and pooling, Adam 1e-3, batches of 32, balanced class weights, five epochs."""
    x, y, vx, vy = beats()
    counts = y.bincount().float()
    model = nn.Sequential(
        nn.Conv1d(1, 16, 7, padding=3), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 5, padding=2), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(128, 3),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss(weight=counts.sum() / (3 * counts))
    return train_model(harness, model, optimizer, criterion, (x, y, vx, vy), epochs=5, train_metric=True)


@cases.recipe("signal", 0.85)
def movements_by_lstm_and_scaling(harness: Harness, seed: int) -> float:
    """Movements from three axes: jitter and scaling, a convolution, a two-layer LSTM, AdamW, plateau, best kept."""

    class Moves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop = nn.Conv1d(3, 32, 5, padding=2), nn.Dropout(0.2)
            self.lstm = nn.LSTM(32, 32, 2, batch_first=True, dropout=0.1)
            self.fc = nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
            return self.fc(self.drop(self.lstm(h)[0].mean(1)))

    def jitter(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * (1 + 0.1 * torch.randn(len(x), 1, 1)) + 0.05 * torch.randn_like(x), y

    model = Moves()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), steps_and_rests(), epochs=9, change=jitter, when="plateau",
        scheduler=scheduler, keep_best=True, clip=1.0,
    )  # fmt: skip


@cases.recipe("signal", 0.8)
def machines_that_will_fail(harness: Harness, seed: int) -> float:
    """Vibration of machines, one in eight about to fail: a convolution, a GRU, a logit with pos_weight; AUC."""
    draw = np.random.default_rng(953)
    bad, t = (draw.random(1500) < 0.125).astype(np.float32), np.arange(40)[None]
    rate, phase = draw.uniform(0.4, 0.7, (1500, 1)), draw.uniform(0, 6.28, (1500, 1))
    grows = 1.0 * bad[:, None] * (t / 40) * np.sin(3 * rate * t + phase)
    x = np.sin(rate * t + phase) + grows + draw.normal(0, 0.2, (1500, 40))
    x, y, vx, vy = cut(x[..., None], bad[:, None])

    class Vibration(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gru = nn.Conv1d(1, 16, 5, padding=2), nn.GRU(16, 24, batch_first=True)
            self.fc = nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = F.max_pool1d(F.relu(self.conv(x.transpose(1, 2))), 2)
            return self.fc(self.gru(h.transpose(1, 2))[1][-1])

    model = Vibration()
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, criterion, (x, y, vx, vy), epochs=7, size=32, metric=auc, name="auc", clip=1.0
    )


@cases.recipe("signal", 0.6)
def hours_of_life_that_remain(harness: Harness, seed: int) -> float:
    """Remaining life from windows of five sensors: convolutions then an LSTM, targets capped, MSE, Adam."""
    draw = np.random.default_rng(954)
    worn, pace = draw.uniform(0, 1, 1300), draw.uniform(0.7, 1.3, 1300)
    t = np.arange(24)[None, :, None]
    state = worn[:, None, None] + pace[:, None, None] * t / 100
    gain = np.array([1.0, -0.8, 0.5, 1.5, 0.0])
    x = gain * state**2 + draw.normal(0, 0.25, (1300, 24, 5))
    left = ((1.3 - state[:, -1, 0]) / pace).clip(0, 1.0)

    class Life(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lstm = nn.Conv1d(5, 24, 5), nn.LSTM(24, 24, batch_first=True)
            self.head = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 1))

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
            return self.head(self.lstm(h)[1][0][-1])

    model = Life()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), cut(x, left[:, None]), epochs=7, size=32, metric=explained, name=None,
        told="outputs",
    )  # fmt: skip


@cases.recipe("sound", 0.85)
def commands_by_spectrograms(harness: Harness, seed: int) -> float:
    """Four spoken-like commands: chirps and tones in noise, log spectrograms, a CNN, SpecAugment's bands, AdamW."""
    draw = np.random.default_rng(955)
    y, t = draw.integers(0, 4, 900), np.arange(1024)[None] / 1024
    low, high = draw.uniform(40, 70, (900, 1)), draw.uniform(120, 160, (900, 1))
    rise = low + (high - low) * t / 2
    fall = high - (high - low) * t / 2
    both = np.where(t < 0.5, low, high)
    turn = np.where(t < 0.5, high, low)
    rate = np.stack([rise, fall, both, turn])[y, np.arange(900)]
    wave = np.sin(2 * np.pi * rate * t) * (np.abs(t - 0.5) < 0.4) + draw.normal(0, 0.4, (900, 1024))
    waves = torch.tensor(wave, dtype=torch.float32)
    window = torch.hann_window(64)
    power = torch.stft(waves, 64, 32, window=window, return_complex=True).abs().square()
    features = power[:, :24].add(1e-3).log()
    x, y, vx, vy = cut(((features - features.mean()) / features.std())[:, None].numpy(), y)

    def hide(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone()
        f, c = int(torch.randint(0, 21, ())), int(torch.randint(0, 29, ()))
        x[:, :, f : f + 3] = 0
        x[..., c : c + 4] = 0
        return x, y

    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24 * 6 * 8, 4),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6, size=24, change=hide)
