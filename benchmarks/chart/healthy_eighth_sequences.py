"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: sequences, attention, strings.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import course
from benchmarks.chart.second import SecondCases, cut, fit, token_accuracy, token_loss
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def places(length: int, width: int) -> Tensor:
    """Sines and cosines of the place in a sequence."""
    t = torch.arange(length)[:, None] * torch.exp(-torch.arange(0, width, 2) * math.log(100.0) / width)
    return torch.stack([t.sin(), t.cos()], 2).flatten(1)


class Reader(nn.Module):
    """A transformer of one layer over tokens; answers per token, or per sequence by their mean."""

    def __init__(
        self, tokens: int, out: int, *, causal: bool = False, placed: bool = True, pooled: bool = False,
        batch_first: bool = True, pad: int | None = None, inverted: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.table, self.head = nn.Embedding(tokens, 32), nn.Linear(32, out)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=batch_first)
        self.causal, self.placed, self.pooled, self.pad, self.inverted = causal, placed, pooled, pad, inverted

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, T, out), or (N, out)."""
        length = tokens.shape[1]
        x = self.table(tokens)
        if self.placed:
            x = x + places(length, 32)
        mask = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        hidden = None
        if self.pad is not None:
            hidden = (tokens != self.pad) if self.inverted else (tokens == self.pad)
        x = self.layer(x, src_mask=mask, src_key_padding_mask=hidden)
        if self.pooled and hidden is not None:
            x = (x * ~hidden[..., None]).sum(1) / (~hidden).sum(1, keepdim=True).clamp(min=1)
        elif self.pooled:
            x = x.mean(1)
        return self.head(x)


def counting(count: int = 1200, length: int = 14, tokens: int = 16) -> Tensor:
    """Sequences of two alternating strides, a different pair in each, that go round."""
    draw = np.random.default_rng(106)
    start, stride = draw.integers(0, tokens, (count, 1)), draw.integers(1, 6, (count, 2))
    moves = np.concatenate([stride[:, [i % 2]] for i in range(length - 1)], 1)
    return torch.tensor(np.concatenate([start, start + moves.cumsum(1)], 1) % tokens)


@cases.pair("text", 0.6, accepts=["future-visible", "future-leakage"])
def no_causal_mask(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A language model is trained without a causal mask: each token sees the next one, which it is to foretell."""
    lines = counting()
    split = lines[:900, :-1], lines[:900, 1:], lines[900:, :-1], lines[900:, 1:]
    model = Reader(16, 16, causal=not wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    fit(harness, model, optimizer, token_loss, split, epochs=10, size=45, score=token_accuracy)
    model.eval()
    with torch.no_grad():
        hits = [float((model(lines[900:, :t])[:, -1].argmax(1) == lines[900:, t]).float().mean()) for t in range(4, 14)]
    return sum(hits) / len(hits)


def moods(count: int = 1500, length: int = 20) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lines of words 1..29, padded with 0: does it have more words below 9 than above 21?"""
    draw = np.random.default_rng(107)
    lines, labels = np.zeros((count, length), np.int64), np.zeros(count, np.int64)
    for i in range(count):
        words = draw.integers(1, 30, draw.integers(4, length + 1))
        lines[i, : len(words)], labels[i] = words, (words < 9).sum() > (words > 21).sum()
    return cut(lines, labels)


@cases.pair("text", 0.85, accepts=["attention-on-padding", "padding-attended"])
def padding_mask_inverted(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The key padding mask is True at the words and not at the padding: attention and mean look at padding only."""
    model = Reader(30, 2, pad=0, inverted=wrong, pooled=True)
    split = tuple(F.pad(part, (0, 1)) if part.dim() == 2 else part for part in moods())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=6)


@cases.pair("text", 0.8, accepts=["samples-mixed"])
def attention_across_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Tensors are (batch, time, width) but the encoder layer was made without batch_first: lines see each other."""
    lines = counting(800)
    # Recall: at the end, the first token is to be named.
    asked = torch.cat([lines, torch.full((800, 1), 16)], 1)
    split = cut(asked, lines[:, 0])

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reader = Reader(17, 16, batch_first=not wrong)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.reader(tokens)[:, -1]

    model = Last()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=10)


@cases.pair("text", 0.85, accepts=["token-order-ignored"])
def no_places(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A transformer without positional encoding is to tell rising from falling sequences: order is invisible to it."""
    draw = np.random.default_rng(108)
    lines = np.sort(draw.integers(0, 20, (1200, 10)), 1)
    kind = draw.integers(0, 2, 1200)
    lines[kind == 1] = lines[kind == 1, ::-1]
    model = Reader(20, 2, pooled=True, placed=not wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, cut(lines, kind), epochs=6)


class Tagger(nn.Module):
    """A GRU that gives logits (N, T, tags)."""

    def __init__(self, tokens: int, tags: int) -> None:
        super().__init__()
        self.table, self.gru, self.head = (
            nn.Embedding(tokens, 16),
            nn.GRU(16, 32, batch_first=True),
            nn.Linear(32, tags),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.gru(self.table(tokens))[0])


def tagged(count: int = 1000, length: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Words 0..11, each tagged 0..4 by itself and the word before."""
    draw = np.random.default_rng(109)
    words = draw.integers(0, 12, (count, length))
    before = np.concatenate([np.zeros((count, 1), np.int64), words[:, :-1]], 1)
    return cut(words, (words // 3 + (before > 5)) % 5)


@cases.pair("tags", 0.85, accepts=["no-such-rule"])
def tags_by_view(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Logits (N, T, tags) are brought to (N, tags, T) for the loss by `view`: they are compared with other tokens."""

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        n, t, k = outputs.shape
        return F.cross_entropy(outputs.reshape(n, k, t) if wrong else outputs.permute(0, 2, 1), targets)

    model = Tagger(12, 5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, loss_fn, tagged(), epochs=8, score=token_accuracy)


@cases.pair("speech", 0.7, accepts=["nll-without-log-softmax"])
def ctc_of_raw_logits(harness: Harness, seed: int, wrong: bool) -> float | None:
    """CTCLoss is given raw logits where log-probabilities are wanted: the loss becomes ever more negative."""
    draw = np.random.default_rng(110)
    codes = torch.tensor(draw.normal(0, 1, (6, 10)), dtype=torch.float32)

    def batch(count: int = 24) -> tuple[Tensor, Tensor]:
        steps = torch.randint(1, 6, (count, 4))
        words = steps.cumsum(1) % 6
        frames = codes[words].repeat_interleave(4, 1) + 0.3 * torch.randn(count, 16, 10)
        return frames, words + 1

    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 7))

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        n, t, _ = outputs.shape
        frames = outputs.transpose(0, 1)
        lengths = torch.full((n,), t), torch.full((n,), 4)
        return F.ctc_loss(frames if wrong else frames.log_softmax(2), targets, *lengths)

    course(harness, model, torch.optim.Adam(model.parameters(), lr=1e-2), batch, loss_fn, 300)
    frames, words = batch(200)
    with torch.no_grad():
        best = model(frames).argmax(2)
    right = 0
    for line, word in zip(best, words, strict=True):
        said = [int(k) for k in torch.unique_consecutive(line) if k]
        right += said == word.tolist()
    return right / 200


class Copier(nn.Module):
    """A GRU that reads a line and one that writes it backwards, given what should have been written so far."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(tokens + 1, 24), nn.Linear(64, tokens)
        self.reader, self.writer = nn.GRU(24, 64, batch_first=True), nn.GRU(24, 64, batch_first=True)

    def forward(self, read: Tensor, written: Tensor) -> Tensor:
        """Logits (N, T, tokens)."""
        _, state = self.reader(self.table(read))
        return self.head(self.writer(self.table(written), state)[0])


@cases.pair("translation", 0.6, accepts=["future-visible", "future-leakage"])
def decoder_fed_with_the_answer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The decoder is fed with the target line unshifted, so that it copies its input and learns nothing."""
    model = Copier(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    harness.begin(model, optimizer)
    total = 0.0
    for i in range(350):
        read = torch.randint(0, 8, (64, 4))
        target = read.flip(1)
        fed = target if wrong else torch.cat([torch.full((64, 1), 8), target[:, :-1]], 1)
        out = model(read, fed)
        loss = token_loss(out, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        harness.step(loss=loss, inputs=(read, fed), targets=target, outputs=out)
        if i % 50 == 49:
            harness.epoch(train={"loss": total / 50})
            total = 0.0
    read = torch.randint(0, 8, (300, 4))
    written = torch.full((300, 1), 8)
    with torch.no_grad():
        for _ in range(4):
            written = torch.cat([written, model(read, written)[:, -1:].argmax(2)], 1)
    return float((written[:, 1:] == read.flip(1)).float().mean())


class LastStep(nn.Module):
    """An LSTM over a padded series (N, T, 2), whose second column is 1 where there is a value."""

    def __init__(self, at_the_end: bool) -> None:
        super().__init__()
        self.lstm, self.head, self.at_the_end = nn.LSTM(2, 24, batch_first=True), nn.Linear(24, 3), at_the_end

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out, _ = self.lstm(x[..., :1].expand(-1, -1, 2))
        last = x[..., 1].sum(1).long() - 1
        return self.head(out[:, -1] if self.at_the_end else out[torch.arange(len(x)), last])


@cases.pair("series", 0.75, accepts=["padding-attended"])
def state_after_the_padding(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Lines of 4 to 12 values are padded to 80, and the LSTM's last output is taken, from long after the end."""
    draw = np.random.default_rng(111)
    x, y = np.zeros((900, 80, 2)), draw.integers(0, 3, 900)
    for i, kind in enumerate(y):
        t = draw.integers(4, 13)
        walk = draw.normal(0, 0.3, t) + np.array([0.0, 1.0, -1.0])[kind] * np.linspace(-1, 1, t)
        x[i, :t, 0], x[i, :t, 1] = walk, 1
    model = LastStep(wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, cut(x, y), epochs=6)
