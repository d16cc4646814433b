"""Forecasts, signals and sensors, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import block, evaluate, train
from benchmarks.chart.second import SecondCases, Split, accuracy, by_train, cut, dense, explained, gaits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


@cache
def _sales(days: int) -> np.ndarray:
    draw = np.random.default_rng(1160)
    t = np.arange(days)
    week = np.array([0.8, 0.85, 0.9, 1.0, 1.3, 1.6, 1.1])[t % 7]
    offer = (draw.random(days) < 0.12).astype(float)
    drift = np.zeros(days)
    for i in range(1, days):
        drift[i] = 0.9 * drift[i - 1] + draw.normal(0, 0.04)
    sold = 100 * week * (1 + 0.2 * np.sin(2 * np.pi * t / 180) + drift) * (1 + 0.5 * offer) + draw.normal(0, 4, days)
    turn = 2 * np.pi * t / 7
    return np.stack([sold, offer, np.sin(turn), np.cos(turn)], 1)


def sales(past: int = 28, ahead: int = 1, days: int = 1600) -> Split:
    """Windows (N, past, 4) of daily sales, offers and weekdays, and next sales (N, ahead); standardised by the past
    four fifths, the last fifth of time is held out.
    """
    data, at = _sales(days), days * 4 // 5
    data = (data - data[:at].mean(0)) / data[:at].std(0)
    starts = np.arange(days - past - ahead)
    x = torch.tensor(np.stack([data[s : s + past] for s in starts]), dtype=torch.float32)
    y = torch.tensor(np.stack([data[s + past : s + past + ahead, 0] for s in starts]), dtype=torch.float32)
    cut_at = at - past - ahead
    return x[:cut_at], y[:cut_at], x[at:], y[at:]


class Last(nn.Module):
    """A recurrent network whose last state tells the future."""

    def __init__(self, kind: type[nn.Module], columns: int, out: int, width: int = 32, **options: Any) -> None:
        super().__init__()
        self.rnn, self.head = kind(columns, width, batch_first=True, **options), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, out)."""
        return self.head(self.rnn(x)[0][:, -1])


@cases.recipe("lstm", 0.4)
def sales_of_tomorrow(harness: Harness, seed: int) -> float:
    """One LSTM over four weeks, MSE, Adam 3e-3, batches of 32, validated on later days, R2."""
    model = Last(nn.LSTM, 4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train(harness, model, optimizer, nn.MSELoss(), sales(), epochs=7, metric=explained, name="r2", clip=1.0)


@cases.recipe("gru", 0.3)
def sales_of_a_week(harness: Harness, seed: int) -> float:
    """Two GRU layers give seven days, L1 loss, AdamW, plateau, early stopping with patience 3, only losses told."""
    model = Last(nn.GRU, 4, 7, 32, num_layers=2, dropout=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train(
        harness, model, optimizer, nn.L1Loss(), sales(ahead=7), epochs=9, scheduler=scheduler, when="plateau",
        patience=3, metric=explained, name=None, told="loss",
    )  # fmt: skip


@cases.recipe("linear", 0.3)
def sales_by_a_linear_layer(harness: Harness, seed: int) -> float:
    """DLinear: a moving mean and the rest, each through one linear layer of time; Adam 3e-3, cosine; MSE."""

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trend, self.season = nn.Linear(28, 7), nn.Linear(28, 7)

        def forward(self, x: Tensor) -> Tensor:
            s = x[:, None, :, 0]
            mean = F.avg_pool1d(F.pad(s, (3, 3), mode="replicate"), 7, 1)
            return (self.trend(mean) + self.season(s - mean)).squeeze(1)

    model = Parts()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return train(
        harness, model, optimizer, nn.MSELoss(), sales(ahead=7), epochs=8, scheduler=scheduler, metric=explained,
        name="r2", told="pair",
    )  # fmt: skip


@cases.recipe("transformer", 0.3)
def sales_by_patches(harness: Harness, seed: int) -> float:
    """Weeks are tokens, each window is normalised by itself, an encoder of two layers; AdamW, one-cycle."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.places = nn.Linear(7, 32), nn.Parameter(torch.randn(4, 32) * 0.02)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(128, 7)

        def forward(self, x: Tensor) -> Tensor:
            s = x[..., 0]
            mean, std = s.mean(1, keepdim=True), s.std(1, keepdim=True)
            h = self.encoder(self.embed(((s - mean) / std).unfold(1, 7, 7)) + self.places)
            return self.head(h.flatten(1)) * std + mean

    model = Patches()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=39 * 7)
    return train(
        harness, model, optimizer, nn.MSELoss(), sales(ahead=7), epochs=7, scheduler=scheduler, when="batch",
        metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("nbeats", 0.3)
def sales_by_blocks_of_residuals(harness: Harness, seed: int) -> float:
    """N-BEATS: three blocks tell parts of past and future, what they tell of the past is taken away; Adam, MAE."""

    class Block(nn.Module):
        def __init__(self, last: bool) -> None:
            super().__init__()
            self.net, self.front = dense(28, 64, 64), nn.Linear(64, 7)
            self.back = None if last else nn.Linear(64, 28)

        def forward(self, x: Tensor) -> tuple[Tensor | float, Tensor]:
            h = F.relu(self.net(x))
            return self.back(h) if self.back is not None else 0.0, self.front(h)

    class Beats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block(i == 2) for i in range(3))

        def forward(self, x: Tensor) -> Tensor:
            rest, out = x[..., 0], torch.zeros(len(x), 7)
            for part in self.blocks:
                back, front = part(rest)
                rest, out = rest - back, out + front
            return out

    model = Beats()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(harness, model, optimizer, nn.L1Loss(), sales(ahead=7), epochs=6, metric=explained, name="mae_r2")


@cases.recipe("lstm", 0.3)
def sales_as_a_distribution(harness: Harness, seed: int) -> float:
    """DeepAR-like: mean and deviation by softplus, the Gaussian likelihood at each day, Adam 2e-3, clipping at 10."""

    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 32, batch_first=True), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.head(self.rnn(x)[0])
            return out[..., 0], F.softplus(out[..., 1]) + 0.05

    x, _, vx, _ = sales()
    model = Gaussian()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, lambda o, t: F.gaussian_nll_loss(o[0], t, o[1].square()),
        (x[:, :-1], x[:, 1:, 0], vx[:, :-1], vx[:, 1:, 0]), epochs=7, clip=10.0, name="r2",
        metric=lambda o, t: explained(o[0].flatten(), t.flatten()),
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def gaits_by_a_residual_network(harness: Harness, seed: int) -> float:
    """Movements by one-dimensional residual convolutions, batch norm, a cosine per epoch, jitter; Adam 2e-3."""

    class Res(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(into, out, 5, padding=2), nn.Conv1d(out, out, 3, padding=1)
            self.n, self.m, self.way = nn.BatchNorm1d(out), nn.BatchNorm1d(out), nn.Conv1d(into, out, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.m(self.b(F.relu(self.n(self.a(x))))) + self.way(x))

    x, y, vx, vy = gaits(1000)
    model = nn.Sequential(
        Res(3, 24), nn.MaxPool1d(2), Res(24, 32), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x.transpose(1, 2), y, vx.transpose(1, 2), vy), epochs=7,
        scheduler=scheduler, augment=lambda a, b: (a + 0.05 * torch.randn_like(a), b),
    )  # fmt: skip


@cache
def _beats(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1161)
    t, y = np.arange(length)[None], draw.choice(3, count, p=[0.6, 0.25, 0.15])
    gap = draw.uniform(20, 26, count)[:, None]
    x = np.zeros((count, length))
    for k in range(5):
        late = np.where((y == 1)[:, None], draw.normal(0, 4, (count, 1)), draw.normal(0, 0.5, (count, 1)))
        at = 8 + k * gap + late
        x += np.exp(-((t - at) ** 2) / 2) + 0.25 * np.exp(-((t - at - 8) ** 2) / 10) * (1 - 2 * (y == 2)[:, None])
    return (x + draw.normal(0, 0.08, x.shape))[:, None].astype(np.float32), y


@cases.recipe("cnn", 0.75)
def rhythms_of_hearts(harness: Harness, seed: int) -> float:
    """Three rhythms, unequally many: dilated convolutions, class weights, AdamW, best macro recall is kept."""
    x, y, vx, vy = cut(*_beats(1200, 96))
    model = nn.Sequential(
        nn.Conv1d(1, 16, 7, padding=3), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 24, 5, padding=4, dilation=2), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(24, 32, 5, padding=8, dilation=4), nn.BatchNorm1d(32), nn.ReLU(), nn.AdaptiveMaxPool1d(4),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 3),
    )  # fmt: skip
    weights = len(y) / (3 * y.bincount().float())

    def recall(o: Tensor, t: Tensor) -> float:
        return float(np.mean([accuracy(o[t == k], t[t == k]) for k in range(3)]))

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(weight=weights), (x, y, vx, vy), epochs=6, metric=recall,
        name="recall", best="metric",
    )  # fmt: skip


@cache
def _calls(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1162)
    t, y = np.arange(length)[None] / length, draw.integers(0, 5, count)
    low, phase = draw.uniform(25, 35, (count, 1)), draw.uniform(0, 6.28, (count, 1))
    kinds = np.stack([
        np.sin(6.28 * low * t + phase), np.sin(6.28 * (low * t + 30 * t**2) + phase),
        np.sin(6.28 * low * t + phase) * (np.sin(6.28 * 5 * t) > 0), np.sin(6.28 * low * t + 3 * np.sin(6.28 * 4 * t)),
        np.sin(6.28 * low * t + phase) + np.sin(6.28 * 2.5 * low * t),
    ])  # fmt: skip
    wave = kinds[y, np.arange(count)] * draw.uniform(0.4, 1, (count, 1)) + draw.normal(0, 0.35, (count, length))
    return wave.astype(np.float32), y


def spectra(wave: Tensor) -> Tensor:
    """Logarithmic spectrograms (N, 1, 24, T) of waves."""
    power = torch.stft(wave, 64, 32, window=torch.hann_window(64), return_complex=True).abs()[:, :24]
    return (power.square() + 1e-3).log()[:, None] / 3


@cases.recipe("cnn", 0.8)
def calls_of_birds_from_spectra(harness: Harness, seed: int) -> float:
    """Five calls as log spectrograms through a CNN with batch norm, gain and masks of time, AdamW 2e-3 with StepLR."""
    x, y, vx, vy = cut(*_calls(1000, 512))
    x, vx = spectra(x), spectra(vx)

    def mask(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a, at = a + 0.2 * torch.randn(len(a), 1, 1, 1), int(torch.randint(0, 14, ()))
        a[..., at : at + 2] = a.mean()
        return a, b

    model = nn.Sequential(
        block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 32), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.4)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=7, scheduler=scheduler, augment=mask
    )


@cases.recipe("cnn", 0.7)
def calls_from_the_raw_wave(harness: Harness, seed: int) -> float:
    """Raw waves (N, 1, 512): a wide first convolution with stride 8, three more, Adam 2e-3, batches of 16, bfloat16."""
    x, y, vx, vy = cut(*_calls(1400, 512))

    def unit(into: int, out: int, wide: int, stride: int) -> nn.Sequential:
        conv = nn.Conv1d(into, out, wide, stride, wide // 2)
        return nn.Sequential(conv, nn.BatchNorm1d(out), nn.ReLU())

    model = nn.Sequential(
        unit(1, 32, 33, 8), unit(32, 32, 3, 1), nn.MaxPool1d(2), unit(32, 48, 3, 1), nn.MaxPool1d(2),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(192, 5),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x[:, None], y, vx[:, None], vy), epochs=5, size=16,
        cast=torch.bfloat16, told="outputs",
    )  # fmt: skip


@cases.recipe("autoencoder", 0.85)
def odd_windows_by_reconstruction(harness: Harness, seed: int) -> float:
    """Anomalies: a convolutional autoencoder learns sound beats only; errors of odd ones are larger; Adam 3e-3."""
    x, y = (torch.as_tensor(a) for a in _beats(1200, 96))
    x = x[:, 0, :48, None]
    sound, odd = x[y == 0], x[y == 2]
    fit, held = sound[:500], sound[500:]

    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Sequential(nn.Conv1d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv1d(16, 8, 5, 2, 2), nn.ReLU())
            self.code, self.open = nn.Linear(96, 8), nn.Linear(8, 96)
            self.up = nn.Sequential(nn.ConvTranspose1d(8, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose1d(16, 1, 4, 2, 1))

        def forward(self, x: Tensor) -> Tensor:
            h = self.code(self.down(x.transpose(1, 2)).flatten(1))
            return self.up(self.open(h).view(-1, 8, 12)).transpose(1, 2)

    model = Auto()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    train(
        harness, model, optimizer, nn.MSELoss(), (fit, fit, held, held), epochs=14, size=32, name=None,
        metric=lambda o, t: explained(o.flatten(1), t.flatten(1)),
    )  # fmt: skip
    with torch.no_grad():
        errors = torch.cat([(model(part) - part).square().mean((1, 2)) for part in (held, odd)])
    return float(roc_auc_score([0] * len(held) + [1] * len(odd), errors.numpy()))


@cases.recipe("mlp", 0.6)
def forces_of_a_motor(harness: Harness, seed: int) -> float:
    """Torque and heat of a motor from seven sensors' last five values, flattened; MSE, SGD with momentum, 300 steps."""
    draw = np.random.default_rng(1163)
    base = np.cumsum(draw.normal(0, 1, (1500, 3)), 0) * 0.05
    sensors = np.tanh(base @ draw.normal(0, 0.8, (3, 7))) + draw.normal(0, 0.05, (1500, 7))
    target = np.stack([np.tanh(base[:, 0] * 0.5) * base[:, 1] * 0.3, np.tanh(base).sum(1)], 1)
    x = np.stack([sensors[i : i + 5].ravel() for i in range(1495)])
    y = target[4:1499]
    x, y, vx, vy = by_train(cut(x, (y - y.mean(0)) / y.std(0)))
    model = dense(35, 64, 32, 2, act=nn.Tanh)
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for step in range(1, 301):
        rows = torch.randint(0, len(x), (64,))
        out = model(x[rows])
        loss = criterion(out, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        if step % 60 == 0:
            val_loss, value = evaluate(model, vx, vy, criterion, explained)
            model.train()
            harness.epoch(train={"loss": loss.item()}, val={"loss": val_loss, "r2": value})
    return value
