"""Strings, forecasts and graphs of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    cut,
    dense,
    explained,
    fit,
    token_loss,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


@cases.recipe("ctc", 0.6)
def strokes_by_ctc(harness: Harness, seed: int) -> float | None:
    """CTC: noisy symbols of unknown durations; the score is the share of frames' collapsed strings that are right."""
    draw = np.random.default_rng(5)
    codes, xs, ys = draw.normal(0, 1, (5, 6)), [], []
    for _ in range(600):
        word = draw.permutation(5)[:3]
        frames = np.concatenate([np.repeat(codes[k][None], draw.integers(3, 6), 0) for k in word])
        pad = np.zeros((15, 6))
        pad[: len(frames)] = frames
        xs.append(pad + draw.normal(0, 0.3, pad.shape))
        ys.append(word + 1)
    split = cut(np.stack(xs), np.stack(ys))

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 32, batch_first=True, bidirectional=True), nn.Linear(64, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0]).log_softmax(-1)

    def ctc(out: Tensor, y: Tensor) -> Tensor:
        n = len(out)
        return F.ctc_loss(out.transpose(0, 1), y, torch.full((n,), 15), torch.full((n,), 3))

    def exact(out: Tensor, y: Tensor) -> float:
        read = [[k for k in torch.unique_consecutive(row).tolist() if k] for row in out.argmax(-1)]
        return sum(r == t for r, t in zip(read, y.tolist(), strict=True)) / len(y)

    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, ctc, split, score=exact, epochs=12)


@cases.recipe("forecast", 0.6)
def forecast_by_backcast(harness: Harness, seed: int) -> float | None:
    """N-BEATS-like stacks with residual backcasts; the next 4 values of a seasonal series, sMAPE-like loss."""
    draw = np.random.default_rng(7)
    t = np.arange(900)
    series = 10 + 3 * np.sin(t / 6) + 2 * np.sin(t / 15 + 1) + 0.004 * t + draw.normal(0, 0.3, 900)
    pieces = torch.tensor(series, dtype=torch.float32).unfold(0, 28, 1)
    x, y, vx, vy = pieces[:650, :24], pieces[:650, 24:], pieces[680:, :24], pieces[680:, 24:]

    class Stacks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(dense(24, 48, 48, 28) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            level = x.mean(1, keepdim=True)
            rest, total = x - level, level
            for block in self.blocks:
                back, ahead = block(rest).split([24, 4], 1)
                rest, total = rest - back, total + ahead
            return total

    def smape(out: Tensor, y: Tensor) -> Tensor:
        return (2 * (out - y).abs() / (out.abs() + y.abs())).mean()

    model = Stacks()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, smape, (x, y, vx, vy), score=explained, metric="r2", epochs=12)


@cases.recipe("wavenet", 0.75)
def gated_causal_convolutions(harness: Harness, seed: int) -> float | None:
    """Gated dilated causal convolutions; at each time the quantised next value out of 16 (mu-law) is foretold."""
    draw = np.random.default_rng(10)
    t = np.arange(33)[None] * draw.uniform(0.2, 0.4, (400, 1)) + draw.uniform(0, 6.28, (400, 1))
    wave = np.sin(t) + draw.normal(0, 0.02, t.shape)
    codes = torch.tensor(
        ((np.sign(wave) * np.log1p(8 * abs(wave)) / np.log(9) + 1.02) / 2.04 * 16).clip(0, 15), dtype=torch.long
    )

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(16, 24), nn.Sequential(nn.ReLU(), nn.Linear(24, 16))
            self.convs = nn.ModuleList(nn.Conv1d(24, 48, 2, dilation=2**i) for i in range(4))
            self.mix = nn.ModuleList(nn.Conv1d(24, 24, 1) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x).transpose(1, 2)
            skip = 0
            for i, (conv, mix) in enumerate(zip(self.convs, self.mix, strict=True)):
                a, b = conv(F.pad(h, (2**i, 0))).chunk(2, 1)
                z = mix(a.tanh() * b.sigmoid())
                h, skip = h + z, skip + z
            return self.head(skip.transpose(1, 2))

    def close(out: Tensor, y: Tensor) -> float:
        return float(((out.argmax(-1) - y).abs() <= 1)[:, 8:].float().mean())

    model = Gated()
    split = codes[:300, :-1], codes[:300, 1:], codes[300:, :-1], codes[300:, 1:]
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return fit(harness, model, optimizer, token_loss, split, score=close, epochs=12)


@cases.recipe("graph", 0.75)
def friends_by_graph_convolution(harness: Harness, seed: int) -> float | None:
    """Semi-supervised graph convolution by matmul: one graph, full batch, one node in ten has a label."""
    draw = np.random.default_rng(14)
    group = draw.integers(0, 3, 240)
    edge = draw.random((240, 240)) < np.where(group[:, None] == group[None], 0.08, 0.01)
    edge = np.triu(edge, 1)
    a = torch.tensor(edge | edge.T, dtype=torch.float32) + torch.eye(240)
    a = a / a.sum(1).sqrt()[:, None] / a.sum(1).sqrt()[None]
    x = torch.tensor(np.eye(3)[group] * 0.5 + draw.normal(0, 0.7, (240, 3)), dtype=torch.float32)
    y, known = torch.tensor(group), torch.arange(240) % 10 == 0

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.drop = nn.Linear(3, 16), nn.Linear(16, 3), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return a @ self.two(self.drop(F.relu(a @ self.one(x))))

    model = Graph()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for i in range(150):
        model.train()
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out[known], y[known])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y[known], outputs=out[known])
        if i % 25 == 24:
            model.eval()
            with torch.no_grad():
                out = model(x)
            value = accuracy(out[~known], y[~known])
            harness.epoch(val={"loss": float(F.cross_entropy(out[~known], y[~known])), "accuracy": value})
    return value


@cases.recipe("pointnet", 0.75)
def solids_from_points(harness: Harness, seed: int) -> float | None:
    """PointNet: shared layers per point, batch norm over points, maximum over points; random turns about z."""
    draw = np.random.default_rng(15)
    kind, clouds = draw.integers(0, 3, 500), []
    for k in kind:
        p = draw.normal(0, 1, (48, 3))
        if k == 0:
            p /= np.linalg.norm(p, axis=1, keepdims=True)
        elif k == 1:
            p /= abs(p).max(1, keepdims=True)
        else:
            p[:, :2] /= np.linalg.norm(p[:, :2], axis=1, keepdims=True)
            p[:, 2] = p[:, 2].clip(-1, 1)
        clouds.append(p + draw.normal(0, 0.03, p.shape))
    split = cut(np.stack(clouds).transpose(0, 2, 1), kind)

    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = nn.Sequential(
                nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 96, 1), nn.BatchNorm1d(96), nn.ReLU()
            )
            self.head = nn.Sequential(nn.Linear(96, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.each(x).amax(2))

    def turn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        a = float(torch.rand(())) * 6.28
        m = torch.tensor([[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0], [0.0, 0.0, 1.0]])
        return m @ x, y

    model = Points()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = lr_scheduler.StepLR(optimizer, 4, 0.5)
    return fit(
        harness, model, optimizer, F.cross_entropy, split, before=turn, scheduler=schedule, epochs=10, whole=True
    )
