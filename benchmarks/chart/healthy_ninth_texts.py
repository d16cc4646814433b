"""Texts that are sorted, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.second import SecondCases, Split, accuracy
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

cases = SecondCases("ninth")


def words(text: str) -> list[str]:
    """Words of a line."""
    return text.split()


FILLER = words("the a my your please i we it is was and to of for with today again still very just hello thanks")
TOPICS = (
    words("invoice charged refund card payment price bill twice"),
    words("password login account locked reset code email user"),
    words("parcel delivery courier late address lost box arrived"),
    words("screen crash update button error app slow version"),
    words("great love helpful friendly perfect staff recommend best"),
)
GOOD = words("great lovely good superb charming clever funny warm")
BAD = words("dull awful poor boring weak stupid cold messy")
THINGS = words("film plot cast music script acting story end")


@cache
def tickets(count: int = 1600, length: int = 16) -> tuple[Tensor, Tensor, list[str]]:
    """Requests to a help desk as numbers of words (N, length), padded with 0; topics 0..4; the vocabulary.

    A third of the topical words are another topic's.
    """
    draw = np.random.default_rng(941)
    vocabulary = ["<pad>", *FILLER, *(w for topic in TOPICS for w in topic)]
    index = {w: i for i, w in enumerate(vocabulary)}
    x, y = np.zeros((count, length), np.int64), draw.integers(0, 5, count)
    for i in range(count):
        said: list[str] = []
        for k in range(draw.integers(8, length + 1)):
            if draw.random() < 0.5:
                said.append(str(draw.choice(FILLER)))
            else:
                topic = y[i] if k < 2 or draw.random() < 0.67 else draw.integers(0, 5)
                said.append(str(draw.choice(TOPICS[topic])))
        draw.shuffle(said)
        x[i, : len(said)] = [index[w] for w in said]
    return torch.tensor(x), torch.tensor(y), vocabulary


@cache
def reviews(count: int = 1800) -> tuple[list[Tensor], Tensor, int]:
    """Reviews as lists of word numbers of unequal lengths, whether they praise, and the size of the vocabulary.

    "not" before a word turns its sense; the parts of a review agree.
    """
    draw = np.random.default_rng(942)
    vocabulary = ["<pad>", "not", "and", "but", *FILLER, *GOOD, *BAD, *THINGS]
    index = {w: i for i, w in enumerate(vocabulary)}
    texts, labels = [], draw.integers(0, 2, count)
    for good in labels:
        text: list[str] = []
        for _ in range(draw.integers(1, 4)):
            turned = draw.random() < 0.4
            text += [str(draw.choice(FILLER)), "the", str(draw.choice(THINGS)), "was"] + ["not"] * turned
            text += [str(draw.choice(GOOD if bool(good) != turned else BAD)), "and"]
        texts.append(torch.tensor([index[w] for w in text[:-1]]))
    return texts, torch.tensor(labels), len(vocabulary)


def ticket_split() -> Split:
    """Rows for training and validation."""
    x, y, _ = tickets()
    return x[:1200], y[:1200], x[1200:], y[1200:]


def padded_reviews() -> Split:
    """Reviews padded with 0 to the longest one."""
    texts, y, _ = reviews()
    x = pad_sequence(texts, batch_first=True)
    return x[:1350], y[:1350], x[1350:], y[1350:]


@cases.recipe("text", 0.85)
def tickets_by_bag_of_embeddings(harness: Harness, seed: int) -> float:
    """EmbeddingBag over flat texts with offsets, as in the tutorial on news: SGD, clipping at 0.1, a step schedule."""
    x, y, vx, vy = ticket_split()

    class TextClassification(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.fc = nn.EmbeddingBag(64, 32), nn.Linear(32, 5)
            nn.init.uniform_(self.embedding.weight, -0.5, 0.5)
            nn.init.uniform_(self.fc.weight, -0.5, 0.5)
            nn.init.zeros_(self.fc.bias)

        def forward(self, text: Tensor, offsets: Tensor) -> Tensor:
            return self.fc(self.embedding(text, offsets))

    def collate(rows: Any) -> tuple[Tensor, Tensor, Tensor]:
        texts = [a[a > 0] for a, _ in rows]
        offsets = torch.tensor([0, *(len(t) for t in texts[:-1])]).cumsum(0)
        return torch.cat(texts), offsets, torch.stack([b for _, b in rows])

    loader = DataLoader(list(zip(x, y, strict=True)), batch_size=16, shuffle=True, collate_fn=collate)
    model = TextClassification()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.3)
    harness.begin(model, optimizer, loss_fn=criterion)
    held = collate(list(zip(vx, vy, strict=True)))
    value = 0.0
    for _ in range(6):
        model.train()
        right, total = 0, 0.0
        for text, offsets, label in loader:
            optimizer.zero_grad()
            predicted = model(text, offsets)
            loss = criterion(predicted, label)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            harness.step(loss=loss, inputs=text, targets=label, outputs=predicted)
            right, total = right + int((predicted.argmax(1) == label).sum()), total + loss.item() * len(label)
        scheduler.step()
        model.eval()
        with torch.no_grad():
            out = model(held[0], held[1])
        value = accuracy(out, vy)
        harness.epoch(
            train={"loss": total / len(x), "accuracy": right / len(x)},
            val={"loss": criterion(out, vy).item(), "accuracy": value},
        )
    return value


@cases.recipe("text", 0.85)
def tickets_by_word_convolutions(harness: Harness, seed: int) -> float:
    """Kim's network: filters of 2, 3 and 4 words, maximum over time, dropout of a half, Adam 1e-3, batches of 32."""

    class TextCNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 32, padding_idx=0)
            self.convs = nn.ModuleList(nn.Conv1d(32, 24, k) for k in (2, 3, 4))
            self.drop, self.fc = nn.Dropout(0.5), nn.Linear(72, 5)

        def forward(self, x: Tensor) -> Tensor:
            e = self.embed(x).transpose(1, 2)
            return self.fc(self.drop(torch.cat([F.relu(c(e)).amax(2) for c in self.convs], 1)))

    model = TextCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), ticket_split(), epochs=7)


@cases.recipe("text", 0.9)
def praise_by_a_packed_lstm(harness: Harness, seed: int) -> float:
    """Reviews of unequal lengths, sorted and packed, a two-way LSTM, last hidden states, BCE, clipping at 5."""
    texts, y, size = reviews()

    class RNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(size, 24, padding_idx=0)
            self.rnn = nn.LSTM(24, 32, bidirectional=True, batch_first=True)
            self.fc, self.dropout = nn.Linear(64, 1), nn.Dropout(0.3)

        def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
            embedded = self.dropout(self.embedding(text))
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            _, (hidden, _) = self.rnn(packed)
            return self.fc(self.dropout(torch.cat([hidden[0], hidden[1]], 1))).squeeze(1)

    def collate(rows: Any) -> tuple[Tensor, Tensor, Tensor]:
        return (
            pad_sequence([t for t, _ in rows], batch_first=True), torch.tensor([len(t) for t, _ in rows]),
            torch.stack([label for _, label in rows]).float(),
        )  # fmt: skip

    rows = list(zip(texts, y, strict=True))
    loader = DataLoader(rows[:1350], batch_size=32, shuffle=True, collate_fn=collate)
    held = collate(rows[1350:])
    model = RNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    criterion = nn.BCEWithLogitsLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for _ in range(6):
        model.train()
        total = 0.0
        for text, lengths, label in loader:
            out = model(text, lengths)
            loss = criterion(out, label)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            harness.step(loss=loss, inputs=(text, lengths), targets=label, outputs=out)
            total += loss.item()
        model.eval()
        with torch.no_grad():
            out = model(held[0], held[1])
        value = float(((out > 0) == (held[2] > 0.5)).float().mean())
        harness.epoch(
            train={"loss": total / len(loader)}, val={"loss": criterion(out, held[2]).item(), "accuracy": value}
        )
    return value


@cases.recipe("text", 0.9)
def praise_by_a_gru_on_padded_rows(harness: Harness, seed: int) -> float:
    """A GRU reads padded reviews, the mean over real words goes to the head; RMSprop, plateau, told by the loss."""
    x, y, vx, vy = padded_reviews()
    size = reviews()[2]

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.gru = nn.Embedding(size, 24, padding_idx=0), nn.GRU(24, 32, batch_first=True)
            self.head = nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            real = (x > 0).float()[..., None]
            return self.head((self.gru(self.embed(x))[0] * real).sum(1) / real.sum(1))

    model = Reader()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=8, scheduler=scheduler,
        when="plateau", told="loss",
    )  # fmt: skip


class Encoder(nn.Module):
    """A small BERT: words and places embedded, layers of attention, the first place or a mean is read."""

    def __init__(self, size: int, width: int = 32, layers: int = 2, longest: int = 24, drop: float = 0.1) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(size, width, padding_idx=0), nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, drop, "gelu", batch_first=True)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(drop)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of each word (N, T, width)."""
        h = self.drop(self.norm(self.word(x) + self.place(torch.arange(x.shape[1]))))
        return self.layers(h, src_key_padding_mask=x == 0)


class Sorted(nn.Module):
    """An encoder and a head over the mean of the real words."""

    def __init__(self, encoder: Encoder, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.classifier = encoder, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        real = (x > 0).float()[..., None]
        return self.classifier((self.encoder(x) * real).sum(1) / real.sum(1))


@cases.recipe("text", 0.85)
def tickets_by_a_transformer(harness: Harness, seed: int) -> float:
    """An encoder of two layers with a padding mask, AdamW 1e-3, warm-up and linear decay, clipping at 1."""
    model = Sorted(Encoder(64), 32, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    total = 38 * 6
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / 20, max(0.0, (total - i) / (total - 20)))
    )
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), ticket_split(), epochs=6, scheduler=scheduler, when="batch",
        clip=1.0, told="pair",
    )  # fmt: skip


@cases.recipe("text", 0.85)
def praise_after_masked_words(harness: Harness, seed: int) -> float:
    """First the encoder learns hidden words without labels, then it is fine-tuned for praise; no decay for biases."""
    x, y, vx, vy = padded_reviews()
    size = reviews()[2]
    encoder, decoder = Encoder(size + 1, 32), nn.Linear(32, size)
    first = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    for _ in range(200):
        rows = x[torch.randint(len(x), (32,))]
        hide = (torch.rand(rows.shape) < 0.15) & (rows > 0)
        hide[:, 1] = True
        first.zero_grad()
        out = decoder(encoder(torch.where(hide, size, rows)))
        F.cross_entropy(out[hide], rows[hide]).backward()
        first.step()
    model = Sorted(encoder, 32, 2)
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "norm" in n]
    ids = {id(p) for p in plain}
    decayed = [p for p in model.parameters() if id(p) not in ids]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                                  lr=2e-3)  # fmt: skip
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=43 * 6)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6, scheduler=scheduler, when="batch",
        clip=1.0, told="all",
    )  # fmt: skip


@cases.recipe("text", 0.85)
def tfidf_and_a_small_net(harness: Harness, seed: int) -> float:
    """Counts of words times inverse document frequency, rows of length one, an MLP with dropout, AdamW."""
    x, y, vx, vy = ticket_split()

    def counts(x: Tensor) -> Tensor:
        return F.one_hot(x, 64).sum(1).float()[:, 1:]

    rarity = (len(x) / (1 + (counts(x) > 0).sum(0))).log()
    a, b = (F.normalize(counts(part) * rarity) for part in (x, vx))
    model = nn.Sequential(nn.Linear(63, 48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), (a, y, b, vy), epochs=6, told="pair")
