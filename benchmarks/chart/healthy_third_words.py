"""Words and sounds, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    cut,
    fit,
    prose,
    token_accuracy,
    token_loss,
    windows,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence

cases = SecondCases("third")


def spectrograms(count: int = 500) -> Split:
    """Log power (N, 1, 24, 20) of sounds of 5 kinds: rising, falling and steady tones, two tones, clicks."""
    draw = np.random.default_rng(17)
    kind, t = draw.integers(0, 5, count), np.arange(1000) / 1000
    start = draw.uniform(60, 160, count)
    sweep = np.choose(kind, [150.0, -50.0, 0.0, 0.0, 0.0])
    phase = 2 * np.pi * (start[:, None] * t + 0.5 * sweep[:, None] * t**2)
    sound = np.sin(phase) + (kind == 3)[:, None] * np.sin(2.5 * phase)
    clicks = (np.arange(1000)[None] % draw.integers(90, 160, count)[:, None]) < 4
    sound = np.where((kind == 4)[:, None], 3.0 * clicks, sound) + 0.5 * draw.normal(size=(count, 1000))
    wave = torch.tensor(sound, dtype=torch.float32)
    power = torch.stft(wave, 100, 50, window=torch.hann_window(100), return_complex=True).abs()[:, :24, :20]
    return cut((power + 1e-3).log()[:, None].numpy(), kind)


def names(count: int = 700) -> Split:
    """Made-up names of three languages, (N, 10) letters 1..12 with 0 after the end; languages differ in bigrams."""
    draw = np.random.default_rng(23)
    tables = draw.dirichlet(np.full(12, 0.35), (3, 12))
    kind, out = draw.integers(0, 3, count), np.zeros((count, 10), np.int64)
    for i in range(count):
        letter = draw.integers(12)
        for j in range(draw.integers(5, 11)):
            out[i, j] = letter + 1
            letter = draw.choice(12, p=tables[kind[i], letter])
    return cut(out, kind)


@cases.recipe("audio", 0.8)
def sounds_with_bands_masked(harness: Harness, seed: int) -> float:
    """Log spectrograms, SpecAugment (a band and a time blanked), conv net, class by average over time."""

    def mask(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x, f, t = x.clone(), int(torch.randint(20, ())), int(torch.randint(17, ()))
        x[:, :, f : f + 4] = 0
        x[..., t : t + 3] = 0
        return x, y

    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1),
        nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d((6, 2)), nn.Flatten(), nn.Linear(288, 5),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, spectrograms(), epochs=8, before=mask)


@cases.recipe("gru", 0.5)
def sounds_by_a_recurrent_net(harness: Harness, seed: int) -> float:
    """Frames of raw log power (about -4..4, not standardised) through a GRU; the mean of its states; clip 1."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(24, 32, batch_first=True), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x[:, 0].transpose(1, 2))[0].mean(1))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, spectrograms(), epochs=8, size=25,
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    )  # fmt: skip


@cases.recipe("lstm", 0.7)
def names_packed_by_length(harness: Harness, seed: int) -> float:
    """Packed sequences, an embedding with padding_idx whose row 0 never moves, the last state of an LSTM."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(13, 16, padding_idx=0), nn.LSTM(16, 32, batch_first=True)
            self.head = nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            packed = pack_padded_sequence(self.embed(x), (x > 0).sum(1).cpu(), batch_first=True, enforce_sorted=False)
            return self.head(self.rnn(packed)[1][0][-1])

    model = Net()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=0.01), F.cross_entropy, names(), epochs=8)


@cases.recipe("embedding", 0.75)
def bag_of_bigrams(harness: Harness, seed: int) -> float:
    """fastText: the mean of pair embeddings, SGD at 2 with a rate that falls linearly to 0; some rows are never hit."""
    x, y, vx, vy = names()

    def pairs(a: Tensor) -> Tensor:
        return torch.where((a[:, :-1] > 0) & (a[:, 1:] > 0), a[:, :-1] * 13 + a[:, 1:], 0)

    model = nn.Sequential(nn.EmbeddingBag(169, 12, padding_idx=0), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    falls = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 17 * 25)
    return fit(harness, model, optimizer, F.cross_entropy, (pairs(x), y, pairs(vx), vy), epochs=25, scheduler=falls,
               per="batch")  # fmt: skip


@cases.recipe("textcnn", 0.7)
def names_by_wide_filters(harness: Harness, seed: int) -> float:
    """Kim's network: filters of 2, 3 and 4 letters, maximum over time, dropout 0.5, Adadelta."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 16)
            self.convs = nn.ModuleList(nn.Conv1d(16, 24, k) for k in (2, 3, 4))
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(72, 3)

        def forward(self, x: Tensor) -> Tensor:
            e = self.embed(x).transpose(1, 2)
            return self.head(self.drop(torch.cat([F.relu(c(e)).amax(2) for c in self.convs], 1)))

    model = Net()
    return fit(harness, model, torch.optim.Adadelta(model.parameters()), F.cross_entropy, names(), epochs=14, size=50)


@cases.recipe("bert", 0.3)
def hidden_letters(harness: Harness, seed: int) -> float:
    """Masked language modelling of English: 20 % hidden, the rest of the targets -100; a two-way convolution."""
    text, size = prose()
    pieces = text.unfold(0, 24, 6)
    train, held = pieces[:-100], pieces[-100:]

    def hide(a: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.rand(a.shape) < 0.2
        return torch.where(hidden, size, a), torch.where(hidden, a, -100)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(size + 1, 48)
            self.a, self.b = nn.Conv1d(48, 96, 5, padding=2), nn.Conv1d(96, 48, 5, padding=2)
            self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, size)

        def forward(self, x: Tensor) -> Tensor:
            e = self.embed(x).transpose(1, 2)
            return self.head(self.norm((e + self.b(F.gelu(self.a(e)))).transpose(1, 2)))

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)

    def compute(i: int) -> dict[str, Tensor]:
        inputs, targets = hide(train[rows(train, 24)])
        out = model(inputs)
        return {"loss": token_loss(out, targets), "inputs": inputs, "targets": targets, "outputs": out}

    iterate(harness, model, optimizer, compute, 250)
    inputs, targets = hide(held)
    return token_accuracy(model(inputs), targets)


@cases.recipe("bigram", 0.32)
def table_of_letter_pairs(harness: Harness, seed: int) -> float:
    """The simplest language model: one table of logits, one-hot by hand, huge rate of 50, full batch."""
    text, size = prose()
    x, y = text[:5000], text[1:5001]
    model = nn.Linear(size, size, bias=False)
    nn.init.normal_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=50.0)
    hot = F.one_hot(x, size).float()

    def compute(i: int) -> Tensor:
        p = model(hot).exp()
        p = p / p.sum(1, keepdim=True)
        return -p[torch.arange(len(y)), y].log().mean() + 0.01 * (model.weight**2).mean()

    iterate(harness, model, optimizer, compute, 60)
    return accuracy(model(F.one_hot(text[6000:8000], size).float()), text[6001:8001])


@cases.recipe("lstm", 0.28)
def dropped_recurrent_weights(harness: Harness, seed: int) -> float:
    """A language model by LSTM with dropout on its inputs and outputs, Adam at 8e-3 with clip 0.25."""
    _, size = prose()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(size, 32), nn.LSTM(32, 64, batch_first=True)
            self.drop, self.head = nn.Dropout(0.2), nn.Linear(64, size)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.rnn(self.drop(self.embed(x)))[0]))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return fit(
        harness, model, optimizer, token_loss, windows(stride=6), epochs=5, score=token_accuracy,
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.25),
    )  # fmt: skip


@cases.recipe("transformer", 0.9)
def sorts_numbers(harness: Harness, seed: int) -> float:
    """A two-layer encoder gives each of 8 places the symbol that stands there once sorted; Noam's schedule."""
    generator = torch.Generator().manual_seed(8)
    x = torch.randint(10, (900, 8), generator=generator)
    y = x.sort(1).values

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(10, 32), nn.Parameter(0.02 * torch.randn(8, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.embed(x) + self.place))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    noam = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 0.5 * 32**-0.5 * min((i + 1) ** -0.5, (i + 1) * 80**-1.5)
    )
    split = x[:750], y[:750], x[750:], y[750:]
    return fit(harness, model, optimizer, token_loss, split, epochs=14, size=32, score=token_accuracy, scheduler=noam,
               per="batch")  # fmt: skip
