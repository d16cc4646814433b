"""Words and orders, by a fifth author, without any threshold. See `healthy_fifth.py`."""

import math
from functools import cache

import numpy as np
import torch
from benchmarks.chart import data
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, pick
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    binary_accuracy,
    cut,
    prose,
    token_accuracy,
    token_loss,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


@cache
def _reviews(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(56)
    lines, liked = np.zeros((count, 16), np.int64), np.zeros(count)
    for i in range(count):
        mood, words = 0, []
        while len(words) < draw.integers(8, 15):
            if draw.random() < 0.4:
                good, negated = draw.random() < 0.5, draw.random() < 0.2
                words += ([2] if negated else []) + [int(draw.integers(3, 15) if good else draw.integers(15, 27))]
                mood += 1 if good != negated else -1
            else:
                words.append(int(draw.integers(27, 60)))
        if mood == 0:
            words.append(3)
            mood = 1
        lines[i, : len(words)], liked[i] = words, mood > 0
    return lines, liked


def reviews(count: int = 1200) -> Split:
    """Lines of 8 to 16 words of 1..59, 0 is padding; 2 turns the next word's mood; (N,): liked or not."""
    return cut(*_reviews(count))


def pieces(length: int) -> Split:
    """Pieces of the prose that do not overlap (N, length), and the same one letter later."""
    rows = prose()[0].unfold(0, length + 1, length + 1)
    return cut(rows[:, :-1], rows[:, 1:], share=0.85)


@cases.recipe("text", 0.7)
def bags_of_words_at_a_rate_of_five(harness: Harness, seed: int) -> float:
    """The tutorial of news: EmbeddingBag with offsets and a linear layer, SGD at 5, clipped at 0.1, StepLR by 0.1."""
    x, y, vx, vy = reviews()

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.fc = nn.EmbeddingBag(60, 32), nn.Linear(32, 2)
            for w in (self.embedding.weight, self.fc.weight):
                nn.init.uniform_(w, -0.5, 0.5)
            nn.init.zeros_(self.fc.bias)

        def forward(self, text: Tensor, offsets: Tensor) -> Tensor:
            return self.fc(self.embedding(text, offsets))

    def packed(lines: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (lines > 0).sum(1)
        return lines[lines > 0], torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])

    model = Bag()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    scheduler = lr_scheduler.StepLR(optimizer, 4, gamma=0.1)
    harness.begin(model, optimizer)
    for _ in range(6):
        model.train()
        for rows in torch.randperm(len(x)).split(16):
            text, offsets = packed(x[rows])
            optimizer.zero_grad()
            predicted = model(text, offsets)
            loss = criterion(predicted, y[rows].long())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            harness.step(loss=loss, targets=y[rows], outputs=predicted)
        scheduler.step()
        model.eval()
        with torch.no_grad():
            right = accuracy(model(*packed(vx)), vy.long())
        harness.epoch(val={"accuracy": right})
    return right


@cases.recipe("text", 0.85)
def moods_by_packed_lstm(harness: Harness, seed: int) -> float:
    """Sentiment: embedding with padding index, packed two-way LSTM, both last states, dropout, one logit, Adam 1e-3."""

    class Mood(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(60, 32, padding_idx=0)
            self.lstm = nn.LSTM(32, 32, batch_first=True, bidirectional=True)
            self.drop, self.fc = nn.Dropout(0.3), nn.Linear(64, 1)

        def forward(self, text: Tensor) -> Tensor:
            lengths = (text > 0).sum(1)
            packed = pack_padded_sequence(self.embed(text), lengths, batch_first=True, enforce_sorted=False)
            _, (hidden, _) = self.lstm(packed)
            return self.fc(self.drop(torch.cat([hidden[-2], hidden[-1]], 1))).squeeze(1)

    model = Mood()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), reviews(1800), epochs=7, size=32, metric=binary_accuracy,
        train_metric=True, best=True,
    )  # fmt: skip


@cases.recipe("text", 0.7)
def moods_by_a_masked_transformer(harness: Harness, seed: int) -> float:
    """An encoder with a mask over padding, embeddings times sqrt(d), mean of the real words, AdamW, inverse root."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(60, 32, padding_idx=0), nn.Embedding(16, 32)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.out = nn.Linear(32, 2)

        def forward(self, text: Tensor) -> Tensor:
            mask = text == 0
            h = self.embed(text) * math.sqrt(32) + self.place(torch.arange(text.shape[1]))
            h = self.encoder(h, src_key_padding_mask=mask).masked_fill(mask[..., None], 0.0)
            return self.out(h.sum(1) / (~mask).sum(1, keepdim=True))

    x, y, vx, vy = reviews(3000)
    model = Encoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 40, (40 / (i + 1)) ** 0.5))
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y.long(), vx, vy.long()), epochs=5, size=32,
        scheduler=scheduler, when="batch", clip=1.0,
    )  # fmt: skip


@cases.recipe("text", 0.95)
def names_begin_and_go_on(harness: Harness, seed: int) -> float:
    """Entities by begin, inside, outside: a two-way GRU, rare tags, padding is -100, batches of like length."""
    # Titles (1..3) come before a name; a name's words are 4..29, which occur elsewhere, too.
    draw = np.random.default_rng(59)
    lines, tags = [], []
    for _ in range(700):
        words, marks = [], []
        while len(words) < draw.integers(6, 14):
            if draw.random() < 0.15:
                size = int(draw.integers(1, 4))
                words += [int(draw.integers(1, 4)), *draw.integers(4, 30, size).tolist()]
                marks += [0, 1, *[2] * (size - 1)]
            else:
                words.append(int(draw.integers(4, 60)))
                marks.append(0)
            if marks[-1]:
                words.append(int(draw.integers(30, 60)))
                marks.append(0)
        lines.append(torch.tensor(words))
        tags.append(torch.tensor(marks))
    by_length = sorted(range(550), key=lambda i: len(lines[i]))
    batches = [by_length[i : i + 25] for i in range(0, 550, 25)]

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(60, 24, padding_idx=0)
            self.rnn, self.out = nn.GRU(24, 24, batch_first=True, bidirectional=True), nn.Linear(48, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(self.embed(x))[0])

    def gather(rows: list[int]) -> tuple[Tensor, Tensor]:
        return pad_sequence([lines[i] for i in rows], True), pad_sequence([tags[i] for i in rows], True, -100)

    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    vx, vy = gather(list(range(550, 700)))
    harness.begin(model, optimizer, loss_fn=token_loss)
    for _ in range(8):
        model.train()
        losses = []
        for k in torch.randperm(len(batches)).tolist():
            a, b = gather(batches[k])
            out = model(a)
            loss = token_loss(out, b)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        right = token_accuracy(out, vy)
        harness.epoch(
            train={"loss": float(np.mean(losses))}, val={"loss": token_loss(out, vy).item(), "accuracy": right}
        )
    return right


@cases.recipe("text", 0.6)
def the_next_token_by_a_small_gpt(harness: Harness, seed: int) -> float:
    """A GPT as from the lecture: random lines of tokens, AdamW 3e-3, evaluated every 60 steps on both parts."""
    train, val = data.text(1600, 300)
    x, y, vx, vy, size = train.x, train.y, val.x, val.y, data.VOCABULARY

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(48), nn.LayerNorm(48)
            self.qkv, self.proj = nn.Linear(48, 144, bias=False), nn.Linear(48, 48)
            self.mlp = nn.Sequential(nn.Linear(48, 192), nn.ReLU(), nn.Linear(192, 48))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.n1(x)).unflatten(2, (3, 4, 12)).permute(2, 0, 3, 1, 4)
            x = x + self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            return x + self.mlp(self.n2(x))

    class Gpt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tok, self.pos = nn.Embedding(size, 48), nn.Embedding(32, 48)
            self.blocks = nn.Sequential(Block(), Block())
            self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, size)

        def forward(self, idx: Tensor) -> Tensor:
            return self.head(self.norm(self.blocks(self.tok(idx) + self.pos(torch.arange(idx.shape[1])))))

    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for i in range(300):
        if i % 60 == 59:
            model.eval()
            with torch.no_grad():
                means = [token_loss(model(a), b).item() for a, b in (pick(64, x, y), (vx, vy))]
            harness.epoch(train={"loss": means[0]}, val={"loss": means[1]})
            model.train()
        a, b = pick(16, x, y)
        logits = model(a)
        loss = token_loss(logits, b)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=a, targets=b, outputs=logits)
    model.eval()
    with torch.no_grad():
        return token_accuracy(model(vx), vy)


@cases.recipe("sequence", 0.85)
def dates_are_rewritten(harness: Harness, seed: int) -> float:
    """'7 mar 94' to '94-03-07': GRU encoder, attention by Bahdanau, forced half of the time, clipped, scored freely."""
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    letters = "^ -0123456789" + "".join(sorted(set("".join(months))))
    draw = np.random.default_rng(60)

    def encode(s: str, size: int) -> list[int]:
        return [letters.index(c) for c in s.ljust(size)]

    parts = [draw.integers(low, high, 1500).tolist() for low, high in ((1, 29), (0, 12), (10, 100))]
    whole = list(zip(*parts, strict=True))
    source = torch.tensor([encode(f"{d} {months[m]} {y}", 10) for d, m, y in whole])
    goal = torch.tensor([encode(f"{y}-{m + 1:02d}-{d:02d}", 8) for d, m, y in whole])

    class Rewrite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(len(letters), 24)
            self.enc, self.dec = nn.GRU(24, 48, batch_first=True, bidirectional=True), nn.GRUCell(24 + 96, 48)
            self.a, self.b, self.v = nn.Linear(96, 48), nn.Linear(48, 48), nn.Linear(48, 1)
            self.start, self.out = nn.Linear(96, 48), nn.Linear(48 + 96, len(letters))

        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            memory, last = self.enc(self.embed(x))
            h, token, outs = self.start(last.transpose(0, 1).flatten(1)).tanh(), torch.zeros(len(x)).long(), []
            keys = self.a(memory)
            for i in range(8):
                weight = self.v((keys + self.b(h)[:, None]).tanh()).softmax(1)
                seen = (weight * memory).sum(1)
                h = self.dec(torch.cat([self.embed(token), seen], 1), h)
                outs.append(self.out(torch.cat([h, seen], 1)))
                token = y[:, i] if y is not None and torch.rand(()) < 0.5 else outs[-1].argmax(1)
            return torch.stack(outs, 1)

    model = Rewrite()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    harness.begin(model, optimizer)
    for _ in range(130):
        a, b = pick(48, source[:1200], goal[:1200])
        out = model(a, b)
        loss = token_loss(out, b)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
    with torch.no_grad():
        return token_accuracy(model(source[1200:]), goal[1200:])


@cases.recipe("sequence", 0.35)
def what_is_bought_next(harness: Harness, seed: int) -> float:
    """Sessions of 40 goods: a causal transformer, one random wrong item per right one (SASRec), hits at 5."""
    draw = np.random.default_rng(62)
    table = np.stack([draw.permutation(np.arange(1, 41))[:4] for _ in range(41)])
    lines = np.zeros((800, 13), np.int64)
    lines[:, 0] = draw.integers(1, 41, 800)
    for t in range(1, 13):
        chosen = table[lines[:, t - 1], draw.choice(4, 800, p=[0.55, 0.25, 0.15, 0.05])]
        lines[:, t] = np.where(draw.random(800) < 0.1, draw.integers(1, 41, 800), chosen)
    rows = torch.tensor(lines)

    class Sas(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items, self.place = nn.Embedding(41, 32, padding_idx=0), nn.Embedding(12, 32)
            layer = nn.TransformerEncoderLayer(32, 2, 64, 0.1, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(32)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.norm(self.encoder(self.items(x) + self.place.weight[: x.shape[1]], mask, is_causal=True))

    model = Sas()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    harness.begin(model, optimizer)
    for _ in range(350):
        model.train()
        (a,) = pick(48, rows[:650])
        h, right, wrong = model(a[:, :-1]), a[:, 1:], torch.randint(1, 41, (48, 12))
        up, down = ((h * model.items(i)).sum(2) for i in (right, wrong))
        loss = -(F.logsigmoid(up) + F.logsigmoid(-down)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss.item())
    model.eval()
    with torch.no_grad():
        scores = model(rows[650:, :-1])[:, -1] @ model.items.weight.T
    return float((scores[:, 1:].topk(5).indices + 1 == rows[650:, -1:]).any(1).float().mean())


@cases.recipe("text", 0.25)
def the_prose_by_stacked_lstm(harness: Harness, seed: int) -> float:
    """Letters by two LSTM layers with dropout between, perplexity is logged, SGD at 8 with clipping at 0.25."""
    x, y, vx, vy = pieces(24)
    _, size = prose()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.drop = nn.Embedding(size, 48), nn.Dropout(0.1)
            self.rnn, self.decoder = nn.LSTM(48, 64, 2, dropout=0.1, batch_first=True), nn.Linear(64, size)
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, ids: Tensor) -> Tensor:
            return self.decoder(self.drop(self.rnn(self.drop(self.encoder(ids)))[0]))

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=8.0)
    harness.begin(model, optimizer)
    for _ in range(8):
        model.train()
        total, seen = 0.0, 0
        for rows in torch.randperm(len(x)).split(16):
            model.zero_grad()
            loss = token_loss(model(x[rows]), y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
            total, seen = total + loss.item(), seen + 1
            harness.step(loss=loss)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        held = token_loss(out, vy).item()
        harness.epoch(train={"loss": total / seen}, val={"loss": held, "perplexity": math.exp(held)})
    return token_accuracy(out, vy)
