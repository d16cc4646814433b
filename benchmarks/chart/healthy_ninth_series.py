"""Series in time, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import math
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.second import SecondCases, Split, dense, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


def power(hours: int = 1600) -> np.ndarray:
    """A town's use of power by the hour with days, weeks, weather and noise, in megawatts (hours, 2: use, warmth)."""
    draw = np.random.default_rng(951)
    t = np.arange(hours)
    warm = 12 + 6 * np.sin(2 * np.pi * (t / 24 - 0.3)) + np.convolve(draw.normal(0, 1, hours), np.ones(48) / 7, "same")
    day = 20 * np.sin(2 * np.pi * (t / 24 - 0.25)) + 8 * np.sin(4 * np.pi * t / 24)
    week = -12.0 * ((t // 24) % 7 >= 5)
    return np.stack([100 + day + week - 0.8 * (warm - 12) + draw.normal(0, 2, hours), warm], 1)


def windowed(past: int = 48, ahead: int = 1, columns: int = 2, share: float = 0.8) -> Split:
    """Windows (N, past, columns) of `power` and the `ahead` next uses (N, ahead); the last part of time is held out.

    Standardised by the part for training.
    """
    data = torch.tensor(power(), dtype=torch.float32)
    at = int(len(data) * share)
    data = (data - data[:at].mean(0)) / data[:at].std(0)

    def windows(part: Tensor) -> tuple[Tensor, Tensor]:
        pieces = part.unfold(0, past + ahead, 1).transpose(1, 2)
        return pieces[:, :past, :columns].contiguous(), pieces[:, past:, 0].contiguous()

    return (*windows(data[:at]), *windows(data[at:]))


class Forecaster(nn.Module):
    """A recurrent net whose last state says what comes next."""

    def __init__(self, kind: Any, columns: int, width: int, ahead: int, layers: int = 1, drop: float = 0.0) -> None:
        super().__init__()
        self.rnn = kind(columns, width, layers, batch_first=True, dropout=drop)
        self.fc = nn.Linear(width, ahead)

    def forward(self, x: Tensor) -> Tensor:
        """Values (N, ahead)."""
        return self.fc(self.rnn(x)[0][:, -1])


@cases.recipe("series", 0.8)
def next_hour_by_lstm(harness: Harness, seed: int) -> float:
    """One LSTM over 48 hours, MSE, Adam 5e-3, shuffled windows of batches of 64, validated on the later weeks."""
    model = Forecaster(nn.LSTM, 2, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), windowed(), epochs=6, size=64, metric=explained, name=None
    )


@cases.recipe("series", 0.75)
def next_twelve_hours_by_gru(harness: Harness, seed: int) -> float:
    """A two-layer GRU with dropout gives twelve hours at once; Adam, clipping at 1, StepLR, patience; R2."""
    model = Forecaster(nn.GRU, 1, 32, 12, 2, 0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), windowed(36, 12, 1), epochs=7, size=64, clip=1.0, patience=3,
        scheduler=scheduler, metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("series", 0.75)
def next_day_by_two_linear_layers(harness: Harness, seed: int) -> float:
    """A window of 72 hours, flattened, less its last value, through an MLP to 24 hours; L1 loss; AdamW."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(72, 96, 24)

        def forward(self, x: Tensor) -> Tensor:
            last = x[:, -1, :1]
            return self.net(x[..., 0] - last) + last

    model = Flat()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, nn.L1Loss(), windowed(72, 24, 1), epochs=8, size=32, metric=explained, name=None,
        told="pair",
    )  # fmt: skip


@cases.recipe("series", 0.8)
def next_hours_by_dilated_convolutions(harness: Harness, seed: int) -> float:
    """A TCN: causal convolutions with dilations of 1 to 8, weight decay, cosine, six hours ahead, Huber loss."""

    class Causal(nn.Module):
        def __init__(self, into: int, out: int, dilation: int) -> None:
            super().__init__()
            self.pad, self.conv = 2 * dilation, nn.Conv1d(into, out, 3, dilation=dilation)
            self.skip = nn.Conv1d(into, out, 1) if into != out else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.conv(F.pad(x, (self.pad, 0)))) + self.skip(x)

    class TCN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(Causal(2, 24, 1), Causal(24, 24, 2), Causal(24, 24, 4), Causal(24, 24, 8))
            self.fc = nn.Linear(24, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.net(x.transpose(1, 2))[..., -1])

    model = TCN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    return train_model(
        harness, model, optimizer, nn.HuberLoss(), windowed(36, 6), epochs=5, size=32, scheduler=scheduler,
        metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("series", 0.7)
def next_hours_by_a_transformer(harness: Harness, seed: int) -> float:
    """Attention over 36 hours with sine places and the last place read; Adam 1e-3 with the warm-up of the paper."""

    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            t, f = torch.arange(36.0)[:, None], torch.exp(torch.arange(0, 32, 2) * (-math.log(1e4) / 32))
            self.register_buffer("place", torch.stack([(t * f).sin(), (t * f).cos()], 2).flatten(1))
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
            self.embed, self.fc = nn.Linear(2, 32), nn.Linear(32, 6)
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.encoder(self.embed(x) + self.place)[:, -1])

    model = Series()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 32**-0.5 * 0.3 * min((i + 1) ** -0.5, (i + 1) * 60**-1.5)
    )
    return train_model(
        harness, model, optimizer, nn.MSELoss(), windowed(36, 6), epochs=6, size=32, scheduler=scheduler, when="batch",
        metric=explained, name=None, clip=1.0,
    )  # fmt: skip


@cases.recipe("series", 0.75)
def hours_one_after_the_other_with_teacher(harness: Harness, seed: int) -> float:
    """Seq2seq: an encoder's state starts a decoder cell of eight hours, which hears truth or itself by a coin."""
    x, y, vx, vy = windowed(36, 8)

    class Seq2Seq(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.cell, self.out = nn.GRU(2, 32, batch_first=True), nn.GRUCell(1, 32), nn.Linear(32, 1)

        def forward(self, x: Tensor, truth: Tensor | None = None) -> Tensor:
            h, last, said = self.encoder(x)[1][0], x[:, -1, :1], []
            for k in range(8):
                h = self.cell(last, h)
                said.append(last + self.out(h))
                last = truth[:, k : k + 1] if truth is not None and torch.rand(()) < 0.5 else said[-1]
            return torch.cat(said, 1)

    model = Seq2Seq()
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for _ in range(5):
        model.train()
        total, batches = 0.0, 0
        for rows in torch.randperm(len(x)).split(48):
            optimizer.zero_grad()
            out = model(x[rows], y[rows])
            loss = criterion(out, y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            total, batches = total + loss.item(), batches + 1
        model.eval()
        with torch.no_grad():
            out = model(vx)
        value = explained(out, vy)
        harness.epoch(train={"loss": total / batches}, val={"loss": criterion(out, vy).item()})
    return value
