"""Texts: topics, tags, spans, answers; by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import train
from benchmarks.chart.second import SecondCases, Split, token_accuracy, token_loss
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


@cache
def _names(count: int) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(1150)
    parts = (
        (["ma", "ri", "lu", "gio", "pa", "ste"], ["na", "ria", "lla", "ra", "ta"]),
        (["ho", "ki", "ta", "ya", "su", "na"], ["to", "shi", "mo", "ko", "ro"]),
        (["bo", "ja", "wo", "sla", "mi", "ka"], ["vik", "ski", "slav", "nek", "cek"]),
        (["ber", "han", "wil", "fri", "ger", "lud"], ["mann", "helm", "rich", "wig", "hard"]),
    )
    y, rows = draw.integers(0, 4, count), []
    for k in y:
        begin, end = parts[k]
        other = parts[draw.integers(4)][0]
        last = draw.choice(["an", "o", "er", "a"]) if draw.random() < 0.3 else draw.choice(end)
        name = draw.choice(begin) + (draw.choice(other) if draw.random() < 0.5 else "") + last
        code = [draw.integers(1, 27) if draw.random() < 0.1 else ord(c) - 96 for c in name]
        rows.append(code + [0] * (12 - len(name)))
    return torch.tensor(rows), torch.tensor(y)


def names(count: int = 2000) -> Split:
    """Names (N, 12) of 26 letters, 0 is padding, and from which of four lands."""
    x, y = _names(count)
    at = count * 3 // 4
    return x[:at], y[:at], x[at:], y[at:]


@cache
def _mails(count: int, length: int, kinds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    usual = 1 / np.arange(1, 300) ** 0.9
    usual /= usual.sum()
    own = draw.permutation(np.arange(40, 300))[: 24 * kinds].reshape(kinds, 24)
    y, x = draw.integers(0, kinds, count), np.zeros((count, length), np.int64)
    for i in range(count):
        n = draw.integers(length // 2, length + 1)
        words = 1 + draw.choice(299, n, p=usual)
        told = draw.random(n) < 0.25
        words[told] = draw.choice(own[y[i]], int(told.sum()))
        x[i, :n] = words
    return x, y


def mails(count: int = 1400, length: int = 20, kinds: int = 4, seed: int = 1151) -> Split:
    """Numbers of 300 words (N, length), padded with 0 on the right, and topics."""
    x, y = (torch.tensor(a) for a in _mails(count, length, kinds, seed))
    at = count * 3 // 4
    return x[:at], y[:at], x[at:], y[at:]


class Recurrent(nn.Module):
    """Embedding, a recurrent layer, the mean over real words, dropout and a head."""

    def __init__(self, kind: type[nn.Module], words: int, out: int, dim: int = 32, width: int = 48, **options: Any):
        super().__init__()
        self.embedding = nn.Embedding(words, dim, padding_idx=0)
        self.rnn = kind(dim, width, batch_first=True, **options)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(width * (2 if options.get("bidirectional") else 1), out)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        h, real = self.rnn(self.embedding(x))[0], (x > 0).unsqueeze(2)
        return self.head(self.drop((h * real).sum(1) / real.sum(1).clamp(min=1)))


@cases.recipe("lstm", 0.8)
def lands_of_names_by_letters(harness: Harness, seed: int) -> float:
    """The tutorial on names: letters through an LSTM, Adam 5e-3, batches of 32, clipping at 1, four epochs."""
    model = Recurrent(nn.LSTM, 27, 4, 16, 48)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), names(), epochs=4, clip=1.0)


@cases.recipe("rnn", 0.75)
def lands_of_names_by_a_plain_rnn(harness: Harness, seed: int) -> float:
    """A tanh RNN with one-hot letters, SGD at 0.02 with momentum, clipping at 1; told by number of the loss."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.RNN(27, 64, batch_first=True), nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.rnn(F.one_hot(x, 27).float())[0]
            last = (x > 0).sum(1) - 1
            return self.out(h[torch.arange(len(x)), last])

    model = Plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), names(), epochs=6, size=16, clip=1.0, told="number")


@cases.recipe("gru", 0.75)
def mails_by_a_two_way_gru(harness: Harness, seed: int) -> float:
    """Topics of mails: a two-way GRU with masked means and dropout, AdamW 3e-3, the best epoch by accuracy."""
    model = Recurrent(nn.GRU, 300, 4, bidirectional=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), mails(3200), epochs=4, best="metric")


@cases.recipe("bow", 0.75)
def mails_as_bags_of_words(harness: Harness, seed: int) -> float:
    """Counts of words times inverse frequencies, one linear layer, Adam 5e-3 with decay, batches of 64."""
    x, y, vx, vy = mails(2000, seed=1152)
    a, b = (F.one_hot(part, 300).sum(1)[:, 1:].float() for part in (x, vx))
    idf = torch.log(len(a) / (1 + (a > 0).sum(0)))
    model = nn.Linear(299, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-3)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), (a * idf / 5, y, b * idf / 5, vy), epochs=8, size=64,
        told="outputs",
    )  # fmt: skip


@cases.recipe("cnn", 0.75)
def spam_by_convolutions(harness: Harness, seed: int) -> float:
    """Spam or not: filters of 3 words with a global maximum, one logit (N,), BCE, RMSprop 1e-3, batches of 50."""

    class Filters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.conv = nn.Embedding(300, 32), nn.Conv1d(32, 48, 3, padding=1)
            self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(48, 1))

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(self.embedding(x).transpose(1, 2)))
            return self.head(h.amax(2)).squeeze(1)

    x, y, vx, vy = mails(1800, 24, 2, 1153)
    model = Filters()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, y.float(), vx, vy.float()), epochs=6, size=50,
        metric=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()), best="loss",
    )  # fmt: skip


class Encoder(nn.Module):
    """Words and places, the library's encoder with a padding mask; one vector per word."""

    def __init__(self, words: int, dim: int = 48, layers: int = 2, length: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, dim, padding_idx=0), nn.Embedding(length, dim)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, dim)."""
        h = self.words(x) + self.places(torch.arange(x.shape[1]))
        return self.norm(self.layers(h, src_key_padding_mask=x == 0))


class Reader(nn.Module):
    """An encoder with a head on each word, or on the mean of the words."""

    def __init__(self, words: int, out: int, each: bool = True, **options: Any) -> None:
        super().__init__()
        self.encoder, self.each = Encoder(words, **options), each
        self.head = nn.Linear(self.encoder.norm.normalized_shape[0], out)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits."""
        h = self.encoder(input_ids)
        return self.head(h if self.each else (h * (input_ids > 0)[..., None]).sum(1) / (input_ids > 0).sum(1, True))


@cases.recipe("transformer", 0.75)
def mails_fine_tuned_like_bert(harness: Harness, seed: int) -> float:
    """{"input_ids"} and labels as in the library's trainer: AdamW 1e-3, linear warm-up and decay, clipping at 1."""
    x, y, vx, vy = mails(3200, seed=1154)
    model, steps = Reader(300, 4, each=False), 3 * 150
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 35, max(0.0, 1 - s / steps)))
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), ({"input_ids": x}, y, {"input_ids": vx}, vy), epochs=3,
        size=16, scheduler=scheduler, when="batch", clip=1.0,
    )  # fmt: skip


@cache
def sentences(count: int = 1200, length: int = 14) -> Split:
    """Words (N, length) of 60 and parts of speech (N, length) by word and neighbour; -100 where there is padding."""
    draw = np.random.default_rng(1155)
    follow = np.array([[0, 3, 4, 0, 1], [1, 0, 3, 2, 1], [3, 1, 0, 1, 2], [0, 4, 1, 0, 1], [2, 2, 2, 1, 0]], float)
    follow = (follow + 0.05) / (follow + 0.05).sum(1, keepdims=True)
    x, y = np.zeros((count, length), np.int64), np.full((count, length), -100)
    for i in range(count):
        tag = draw.integers(5)
        for j in range(draw.integers(8, length + 1)):
            y[i, j] = tag
            low = 1 + 10 * tag
            x[i, j] = draw.integers(51, 59) if draw.random() < 0.25 else draw.integers(low, low + 10)
            tag = draw.choice(5, p=follow[tag])
    at = count * 3 // 4
    a, b = torch.tensor(x), torch.tensor(y)
    return a[:at], b[:at], a[at:], b[at:]


@cases.recipe("lstm", 0.7)
def parts_of_speech(harness: Harness, seed: int) -> float:
    """A two-way LSTM tags words, some of which need their neighbours; -100 is left out; Adam 3e-3, StepLR."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(60, 32, padding_idx=0)
            self.lstm = nn.LSTM(32, 32, bidirectional=True, batch_first=True)
            self.head = nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(self.embedding(x))[0])

    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.3)
    return train(
        harness, model, optimizer, token_loss, sentences(), epochs=6, size=24, scheduler=scheduler,
        metric=token_accuracy,
    )  # fmt: skip


@cases.recipe("transformer", 0.7)
def parts_of_speech_by_attention(harness: Harness, seed: int) -> float:
    """The same tags by an encoder of two layers in bfloat16, AdamW 2e-3, cosine; four batches of 8 per step."""
    model = Reader(60, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 * 28)
    return train(
        harness, model, optimizer, token_loss, sentences(), epochs=6, size=8, scheduler=scheduler, when="batch",
        accumulate=4, cast=torch.bfloat16, metric=token_accuracy,
    )  # fmt: skip


@cases.recipe("transformer", 0.6)
def spans_of_answers(harness: Harness, seed: int) -> float:
    """Extractive answers: a question word points at a span; logits of begin and end (N, T, 2), mean of two losses."""
    draw = np.random.default_rng(1156)
    x, y = draw.integers(20, 60, (2000, 16)), np.zeros((2000, 2), np.int64)
    for i in range(2000):
        keys, at = draw.permutation(np.arange(1, 7))[:3], np.sort(draw.choice([3, 5, 7, 9, 11, 13], 3, replace=False))
        asked = draw.integers(3)
        x[i, 0], x[i, 1], x[i, at] = keys[asked], 7, keys
        y[i] = at[asked] + 1, at[asked] + draw.integers(1, 3)
        x[i, y[i, 1]] = draw.integers(8, 12)  # The last word of an answer says so.
    a, b = torch.tensor(x), torch.tensor(y)

    def criterion(o: Tensor, t: Tensor) -> Tensor:
        return (F.cross_entropy(o[..., 0], t[:, 0]) + F.cross_entropy(o[..., 1], t[:, 1])) / 2

    model = Reader(60, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=8 * 47)
    return train(
        harness, model, optimizer, criterion, (a[:1500], b[:1500], a[1500:], b[1500:]), epochs=8, scheduler=scheduler,
        when="batch", clip=1.0, name="exact", metric=lambda o, t: float((o.argmax(1) == t).all(1).float().mean()),
    )  # fmt: skip


@cases.recipe("gru", 0.7)
def pairs_that_mean_the_same(harness: Harness, seed: int) -> float:
    """Are two mails on one topic? A shared GRU, |a-b| and a*b to one logit; pairs are drawn anew; Adam 2e-3."""
    x, y, vx, vy = mails(3600, 16, 2, 1159)

    def pairs(x: Tensor, y: Tensor) -> tuple[Any, Tensor]:
        other = torch.randperm(len(x))
        return (x, x[other]), (y == y[other]).float()

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reader, self.head = Recurrent(nn.GRU, 300, 32), nn.Linear(64, 1)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            p, q = self.reader(a), self.reader(b)
            return self.head(torch.cat([(p - q).abs(), p * q], 1)).squeeze(1)

    model = Same()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    return train(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, y, *pairs(vx, vy)), epochs=4, augment=pairs,
        best="loss", metric=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()),
    )  # fmt: skip
