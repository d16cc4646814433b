"""Letters foretold, sequences into others, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

from functools import cache
from pydoc_data.topics import topics

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import evaluate, train
from benchmarks.chart.second import SecondCases, Split, token_accuracy, token_loss
from torch import Tensor, nn

cases = SecondCases("eleventh")
LETTERS = " abcdefghijklmnopqrstuvwxyz.,()'"


@cache
def manual(length: int = 28, size: int = 120_000) -> Split:
    """Pieces (N, length) of the manual of Python, real English, and the same one letter later; each tenth block of
    2000 letters is held out.
    """
    text = " ".join(" ".join(topics[key].lower().split()) for key in sorted(topics))
    codes = torch.tensor([LETTERS.index(c) for c in text if c in LETTERS][:size])
    blocks = [block.unfold(0, length + 1, length) for block in codes.split(2000) if len(block) > length]
    fit = torch.cat([b for i, b in enumerate(blocks) if i % 10])
    held = torch.cat(blocks[::10])
    return fit[:, :-1], fit[:, 1:], held[:, :-1], held[:, 1:]


@cases.recipe("lstm", 0.3)
def manual_by_a_two_layer_lstm(harness: Harness, seed: int) -> float:
    """Letters of a real manual by two LSTM layers with dropout and tied weights, AdamW 4e-3, clipping at 0.5."""
    size = len(LETTERS)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(size, 64)
            self.lstm, self.drop = nn.LSTM(64, 64, 2, dropout=0.1, batch_first=True), nn.Dropout(0.1)
            self.head = nn.Linear(64, size)
            nn.init.normal_(self.embedding.weight, std=0.1)
            self.head.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.lstm(self.embedding(x))[0]))

    model = Tied()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return train(
        harness, model, optimizer, token_loss, manual(), epochs=3, size=32, clip=0.5, metric=token_accuracy,
        name="accuracy", said="both",
    )  # fmt: skip


@cases.recipe("gpt", 0.25)
def manual_by_a_small_gpt(harness: Harness, seed: int) -> float:
    """Causal attention over 28 letters, weight decay for matrices only, 200 random batches, perplexity each 50."""
    size = len(LETTERS)

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.places = nn.Embedding(size, 64), nn.Parameter(torch.randn(28, 64) * 0.02)
            layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, 2, nn.LayerNorm(64), enable_nested_tensor=False)
            self.head = nn.Linear(64, size, bias=False)
            nn.init.normal_(self.letters.weight, std=0.02)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(28))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(self.letters(x) + self.places, mask=self.mask, is_causal=True))

    x, y, vx, vy = manual()
    model = Gpt()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
    harness.begin(model, optimizer)
    value, recent = 0.0, []
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min((step + 1) / 20, 1.0) * (0.1 + 0.9 * (1 + np.cos(np.pi * step / 200)) / 2)
        model.train()
        rows = torch.randint(0, len(x), (32,))
        logits = model(x[rows])
        loss = token_loss(logits, y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=logits)
        if step % 50 == 49:
            val_loss, value = evaluate(model, vx, vy, token_loss, token_accuracy)
            harness.epoch(train={"loss": float(np.mean(recent[-50:]))}, val={"loss": val_loss})
    return value


class Translator(nn.Module):
    """An encoder's GRU state starts a decoder's GRU with dot attention and teacher forcing."""

    def __init__(self, words: int, out: int, dim: int = 64) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(words, dim), nn.Embedding(out, dim)
        self.encoder, self.decoder = nn.GRU(dim, dim, batch_first=True), nn.GRU(dim, dim, batch_first=True)
        self.head = nn.Linear(2 * dim, out)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (N, T, out) of each next token."""
        memory, state = self.encoder(self.source(source))
        h, _ = self.decoder(self.target(target), state)
        weights = (h @ memory.transpose(1, 2) / 8).softmax(2)
        return self.head(torch.cat([h, weights @ memory], 2))


@cases.recipe("seq2seq", 0.85)
def dates_to_iso(harness: Harness, seed: int) -> float:
    """Dates written as day, month's name and year to digits by attention; Adam 4e-3; a tuple of inputs; clip at 1."""
    draw = np.random.default_rng(1157)
    d, m, y = draw.integers(1, 29, 1600), draw.integers(1, 13, 1600), draw.integers(0, 100, 1600)
    source = np.stack([20 + d // 10, 20 + d % 10, m, 20 + y // 10, 20 + y % 10], 1)
    other = np.stack([m, 20 + d // 10, 20 + d % 10, 20 + y // 10, 20 + y % 10], 1)
    a = torch.tensor(np.where((draw.random(1600) < 0.5)[:, None], source, other))
    b = torch.tensor(np.stack([np.full(1600, 10), y // 10, y % 10, m // 10, m % 10, d // 10, d % 10], 1))
    model = Translator(30, 11)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = (a[:1200], b[:1200, :-1]), b[:1200, 1:], (a[1200:], b[1200:, :-1]), b[1200:, 1:]
    return train(harness, model, optimizer, token_loss, split, epochs=10, clip=1.0, metric=token_accuracy)


@cases.recipe("seq2seq", 0.6)
def sums_of_two_numbers(harness: Harness, seed: int) -> float:
    """ "27+58" to "085" from the last digit on, learnt by an LSTM reader and writer; Adam 5e-3, plateau, told pairs."""
    draw = np.random.default_rng(1158)
    a, b = draw.integers(0, 100, (2, 3000))
    x = np.stack([a % 10, a // 10, np.full(3000, 10), b % 10, b // 10], 1)
    s = a + b
    y = torch.tensor(np.stack([s % 10, s // 10 % 10, s // 100], 1))

    class Adder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(11, 24)
            self.reader, self.writer = nn.LSTM(24, 96, batch_first=True), nn.LSTM(96, 96, batch_first=True)
            self.head = nn.Linear(96, 10)

        def forward(self, x: Tensor) -> Tensor:
            state = self.reader(self.embedding(x))[0][:, -1:]
            return self.head(self.writer(state.expand(-1, 3, -1))[0])

    model, data = Adder(), torch.tensor(x)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return train(
        harness, model, optimizer, token_loss, (data[:2400], y[:2400], data[2400:], y[2400:]), epochs=14, size=64,
        scheduler=scheduler, when="plateau", metric=token_accuracy, told="pair", clip=1.0,
    )  # fmt: skip
