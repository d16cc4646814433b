"""Names in sentences and numbers in pictures, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.healthy_ninth_texts import Encoder
from benchmarks.chart.second import SecondCases, Split, cut, token_accuracy, token_loss
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


def marked(count: int = 1400, length: int = 14) -> Split:
    """Sentences (N, length) with names and places behind words that announce them; tags 0 (none), 1, 2; -100: padding.

    The same words serve as names and places, so that the words before decide.
    """
    draw = np.random.default_rng(943)
    x, y = np.zeros((count, length), np.int64), np.full((count, length), -100)
    for i in range(count):
        k, n = 0, int(draw.integers(8, length + 1))
        while k < n:
            kind = draw.random()
            if kind < 0.3 and k + 3 <= n:
                tag = int(draw.integers(1, 3))
                x[i, k], y[i, k] = draw.integers(1, 4) + 3 * (tag - 1), 0
                x[i, k + 1 : k + 3], y[i, k + 1 : k + 3] = draw.integers(40, 60, 2), tag
                k += 3
            else:
                x[i, k], y[i, k] = draw.integers(7, 60 if kind > 0.9 else 40), 0
                k += 1
    return cut(x, y)


@cases.recipe("tags", 0.93)
def names_and_places_by_bilstm(harness: Harness, seed: int) -> float:
    """Named entities: a two-way LSTM, padding of -100 is ignored, Adam 5e-3, batches of 32, token accuracy."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(60, 24, padding_idx=0)
            self.lstm = nn.LSTM(24, 24, batch_first=True, bidirectional=True)
            self.drop, self.tag = nn.Dropout(0.2), nn.Linear(48, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.tag(self.drop(self.lstm(self.embed(x))[0]))

    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return train_model(harness, model, optimizer, token_loss, marked(), epochs=6, metric=token_accuracy)


@cases.recipe("tags", 0.9)
def names_and_places_by_an_encoder(harness: Harness, seed: int) -> float:
    """The same tags by an encoder with a linear head, AdamW, bfloat16, weights for the rarer tags, one-cycle."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = Encoder(60, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x))

    weights = torch.tensor([0.6, 1.4, 1.4])

    def criterion(out: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(out.flatten(0, 1).float(), goal.flatten(), weight=weights)

    model = Tagger()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=33 * 7)
    return train_model(
        harness, model, optimizer, criterion, marked(), epochs=7, metric=token_accuracy, scheduler=scheduler,
        when="batch", cast=torch.bfloat16,
    )  # fmt: skip


@cases.recipe("ocr", 0.8)
def written_numbers_by_ctc(harness: Harness, seed: int) -> float:
    """Text lines: pictures of three to five glyphs, convolutions, a GRU over columns, CTC, AdamW, greedy decoding."""
    draw = np.random.default_rng(944)
    glyphs = (draw.uniform(0, 1, (8, 8, 6)) > 0.5).astype(np.float32)
    count = 900
    lengths = draw.integers(3, 6, count)
    labels = draw.integers(1, 9, (count, 5))
    images = draw.normal(0.1, 0.1, (count, 1, 8, 44))
    for i in range(count):
        at = int(draw.integers(0, 4))
        for k in range(lengths[i]):
            images[i, 0, :, at : at + 6] += glyphs[labels[i, k] - 1] * draw.uniform(0.6, 1.0)
            at += int(draw.integers(7, 9))
    x, y, n = torch.tensor(images, dtype=torch.float32), torch.tensor(labels), torch.tensor(lengths)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d((2, 1)),
            )  # fmt: skip
            self.rnn, self.fc = nn.GRU(64, 32, bidirectional=True, batch_first=True), nn.Linear(64, 9)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.cnn(x).flatten(1, 2).transpose(1, 2)
            return self.fc(self.rnn(maps)[0]).log_softmax(2)

    def read(out: Tensor) -> list[list[int]]:
        return [[int(v) for v in row.unique_consecutive() if v > 0] for row in out.argmax(2)]

    model = Reader()
    ctc = nn.CTCLoss(zero_infinity=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    at, value = 720, 0.0
    harness.begin(model, optimizer)

    def loss_of(out: Tensor, rows: Any) -> Tensor:
        return ctc(out.transpose(0, 1), y[rows], torch.full((len(out),), out.shape[1]), n[rows])

    for _ in range(9):
        model.train()
        total, batches = 0.0, 0
        for rows in torch.randperm(at).split(24):
            out = model(x[rows])
            loss = loss_of(out, rows)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            total, batches = total + loss.item(), batches + 1
        model.eval()
        with torch.no_grad():
            out = model(x[at:])
        right = [said == y[i, : n[i]].tolist() for i, said in enumerate(read(out), start=at)]
        value = float(np.mean(right))
        harness.epoch(
            train={"loss": total / batches}, val={"loss": float(loss_of(out, slice(at, None))), "accuracy": value}
        )
    return value
