"""Sequences of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    fit,
    gaits,
    prose,
    token_accuracy,
    token_loss,
    windows,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


@cases.recipe("gru", 0.75)
def movements_by_two_way_gru(harness: Harness, seed: int) -> float | None:
    """Bidirectional GRU, maximum over time, orthogonal weights, Adam at 5e-3, no clipping."""

    class TwoWay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 24, bidirectional=True, batch_first=True), nn.Linear(48, 4)
            for name, p in self.rnn.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(p)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0].amax(1))

    model = TwoWay()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), F.cross_entropy, gaits(), epochs=7)


@cases.recipe("cnn1d", 0.75)
def movements_by_strided_convolutions(harness: Harness, seed: int) -> float | None:
    """One-dimensional convolutions with stride, batch norm, time masking, cosine by epoch to 0."""
    model = nn.Sequential(
        nn.Conv1d(3, 24, 5, 2, 2), nn.BatchNorm1d(24), nn.ReLU(), nn.Conv1d(24, 48, 5, 2, 2), nn.BatchNorm1d(48),
        nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip
    x, y, vx, vy = gaits()

    def mask(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, at = a.clone(), int(torch.randint(0, 28, ()))
        a[:, :, at : at + 4] = 0
        return a, t

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    split = x.transpose(1, 2), y, vx.transpose(1, 2), vy
    return fit(harness, model, optimizer, F.cross_entropy, split, before=mask, scheduler=schedule, epochs=10)


class Rms(nn.Module):
    """Root mean square norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width)."""
        return x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * self.scale


class Modern(nn.Module):
    """Causal attention with rotary places and one key head, gated feed-forward, RMS norms."""

    def __init__(self, width: int = 48, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm1, self.norm2 = Rms(width), Rms(width)
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = (nn.Linear(*s, bias=False) for s in ((width, 96), (width, 96), (96, width)))

    def rotate(self, x: Tensor) -> Tensor:
        """(N, h, T, size) turned by place."""
        half = self.size // 2
        angle = torch.arange(x.shape[2])[:, None] * 100.0 ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        n, t, _ = x.shape
        h = self.norm1(x)
        q = self.rotate(self.q(h).view(n, t, self.heads, -1).transpose(1, 2))
        k, v = self.kv(h).view(n, t, 1, 2 * self.size).transpose(1, 2).chunk(2, -1)
        k, v = (a.expand(-1, self.heads, -1, -1) for a in (self.rotate(k), v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, -1)
        x = x + self.out(mixed)
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


@cases.recipe("gpt", 0.25)
def prose_with_tied_embedding(harness: Harness, seed: int) -> float | None:
    """Characters of English by a small modern transformer, embedding and head tied, z-loss, warm-up and cosine."""
    _, letters = prose()

    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.blocks, self.norm = nn.Embedding(letters, 48), nn.Sequential(Modern(), Modern()), Rms(48)
            self.head = nn.Linear(48, letters, bias=False)
            nn.init.normal_(self.embed.weight, std=0.05)
            self.head.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.blocks(self.embed(x))))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return token_loss(out, y) + 1e-4 * out.logsumexp(-1).square().mean()

    model = Writer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, weight_decay=0.1, betas=(0.9, 0.95))
    steps = 6 * 30
    schedule = lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1.0, (i + 1) / 15) * (0.55 + 0.45 * math.cos(math.pi * min(1, i / steps)))
    )
    return fit(
        harness, model, optimizer, loss, windows(), score=token_accuracy, scheduler=schedule, per="batch", epochs=5,
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    )  # fmt: skip


@cases.recipe("lstm", 0.25)
def prose_in_one_long_stream(harness: Harness, seed: int) -> float | None:
    """Truncated backpropagation: the LSTM's state is carried from piece to piece, detached; no shuffling."""
    text, letters = prose()
    lanes = text[: len(text) // 16 * 16].view(16, -1)
    embed, rnn, head = nn.Embedding(letters, 24), nn.LSTM(24, 64, batch_first=True), nn.Linear(64, letters)
    model = nn.ModuleDict({"embed": embed, "rnn": rnn, "head": head})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    harness.begin(model, optimizer)
    hits = []
    for _ in range(4):
        state = None
        for at in range(0, lanes.shape[1] - 21, 20):
            x, y = lanes[:, at : at + 20], lanes[:, at + 1 : at + 21]
            if state is not None:
                state = tuple(s.detach() for s in state)
            h, state = rnn(embed(x), state)
            out = head(h)
            loss = token_loss(out, y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            hits.append(token_accuracy(out.detach(), y))
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
    return float(np.mean(hits[-20:]))


def reversals(count: int = 900, length: int = 6) -> tuple[Tensor, Tensor]:
    """Sequences of 8 symbols (3..10) and the same backwards; 1 begins, 2 ends, 0 fills up."""
    draw = np.random.default_rng(3)
    x, y = np.zeros((count, length), np.int64), np.zeros((count, length + 1), np.int64)
    for i in range(count):
        n = draw.integers(4, length + 1)
        x[i, :n] = draw.integers(3, 11, n)
        y[i, :n], y[i, n] = x[i, :n][::-1], 2
    first = np.sort(np.unique(x, axis=0, return_index=True)[1])  # No line stands there twice.
    return torch.tensor(x[first]), torch.tensor(y[first])


@cases.recipe("seq2seq", 0.75)
def turned_round_with_attention(harness: Harness, seed: int) -> float | None:
    """Encoder and decoder GRU with attention, teacher forcing; padding is left out of loss and attention."""

    class Turner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 24, padding_idx=0)
            self.encoder, self.decoder = nn.GRU(24, 48, batch_first=True), nn.GRU(24, 48, batch_first=True)
            self.head = nn.Linear(96, 11)

        def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
            x, before = pair
            memory, state = self.encoder(self.embed(x))
            h, _ = self.decoder(self.embed(before), state)
            score = (h @ memory.transpose(1, 2) / 48**0.5).masked_fill((x == 0)[:, None], -1e9)
            return self.head(torch.cat([h, score.softmax(-1) @ memory], -1))

    x, y = reversals()
    model = Turner()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    loss_fn = nn.CrossEntropyLoss(ignore_index=0)
    harness.begin(model, optimizer, loss_fn=loss_fn)
    first = torch.ones(len(x), 1, dtype=torch.long)
    before = torch.cat([first, y[:, :-1]], 1)
    for _ in range(12):
        model.train()
        for rows in torch.randperm(700).split(32):
            out = model((x[rows], before[rows]))
            loss = loss_fn(out.flatten(0, 1), y[rows].flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out, y_val = model((x[700:], before[700:])), y[700:]
            val = token_accuracy(out, torch.where(y_val == 0, -1, y_val))
        harness.epoch(val={"loss": float(loss_fn(out.flatten(0, 1), y_val.flatten())), "accuracy": val})
    return val
