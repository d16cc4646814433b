"""Texts: sentiment, tags, models of language, translations, by a sixth author, without any threshold.

See `healthy_sixth.py`.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.data import text as lines
from benchmarks.chart.healthy_sixth import course, iterate, pick, reviews
from benchmarks.chart.second import SecondCases, accuracy, token_accuracy, token_loss
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


@cases.recipe("text", 0.85)
def bag_of_words(harness: Harness, seed: int) -> float:
    """The tutorial's EmbeddingBag and one linear layer, here with padding left out; SGD at 2, clip 0.1, StepLR."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.EmbeddingBag(64, 32, padding_idx=0)
            self.fc = nn.Linear(32, 2)
            nn.init.uniform_(self.embedding.weight, -0.5, 0.5)
            nn.init.uniform_(self.fc.weight, -0.5, 0.5)
            nn.init.zeros_(self.fc.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.embedding(x))

    model = Bag()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), reviews(), epochs=8, size=16, scheduler=scheduler, clip=0.1,
        tell="it",
    )  # fmt: skip


@cases.recipe("rnn", 0.85)
def sentiment_by_lstm(harness: Harness, seed: int) -> float:
    """Embedding, one LSTM over packed words, last hidden state, dropout, one logit; Adam at 5e-3."""

    class Sentiment(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(64, 32, padding_idx=0)
            self.lstm, self.fc, self.drop = nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 1), nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            lengths = (x > 0).sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                self.drop(self.embedding(x)), lengths, batch_first=True, enforce_sorted=False
            )
            return self.fc(self.drop(self.lstm(packed)[1][0][-1])).squeeze(1)

    x, y, vx, vy = reviews(2200)
    model = Sentiment()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def right(out: Tensor, goal: Tensor) -> float:
        return float(((out > 0) == (goal > 0.5)).float().mean())

    split = (x, y.float(), vx, vy.float())
    return course(harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=8, score=right)


@cases.recipe("cnn", 0.85)
def sentences_by_three_widths(harness: Harness, seed: int) -> float:
    """Kim's network: filters of 2, 3 and 4 words, here their mean, dropout of a half; Adadelta at 1."""

    class Kim(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(64, 24)
            self.convs = nn.ModuleList(nn.Conv1d(24, 24, k, padding=k - 1) for k in (2, 3, 4))
            self.drop, self.fc = nn.Dropout(0.5), nn.Linear(72, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.embedding(x).transpose(1, 2)
            return self.fc(self.drop(torch.cat([F.relu(conv(h)).mean(2) for conv in self.convs], 1)))

    model = Kim()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), reviews(2200), epochs=10, size=50, report="val")


@cases.recipe("transformer", 0.85)
def small_bert_for_sentences(harness: Harness, seed: int) -> float:
    """A class token, learned places, padding masked, post-norm as in BERT; AdamW 2e-3, linear warm-up and decay."""

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word, self.place = nn.Embedding(66, 32, padding_idx=0), nn.Embedding(17, 32)
            layer = nn.TransformerEncoderLayer(32, 2, 64, 0.2, "gelu", batch_first=True)
            self.norm = nn.LayerNorm(32)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.pool, self.head = nn.Linear(32, 32), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([torch.full((len(x), 1), 65), x], 1)
            h = self.norm(self.word(x) + self.place.weight)
            return self.head(self.pool(self.body(h, src_key_padding_mask=x == 0)[:, 0]).tanh())

    model = Bert()
    plain = [p for p in model.parameters() if p.ndim < 2]
    rest = [p for p in model.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW([{"params": rest, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}], 2e-3)
    total = 6 * 50
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 40, max(0.0, (total - s) / (total - 40)))
    )
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), reviews(2100), epochs=6, scheduler=scheduler, each_step=True,
        clip=1.0,
    )  # fmt: skip


class Block(nn.Module):
    """Pre-norm causal attention and a feed-forward part, as in GPT-2."""

    def __init__(self, width: int, heads: int, drop: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(drop))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        n, t, c = x.shape
        q, k, v = (a.view(n, t, self.heads, -1).transpose(1, 2) for a in self.qkv(self.ln1(x)).chunk(3, 2))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, c)
        x = x + self.proj(h)
        return x + self.mlp(self.ln2(x))


class Gpt(nn.Module):
    """A small GPT."""

    def __init__(self, words: int, length: int, width: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(layers)))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.apply(self._init)
        for name, p in self.named_parameters():
            if name.endswith("proj.weight"):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers))

    def _init(self, part: nn.Module) -> None:
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, T, words)."""
        return self.head(self.ln(self.blocks(self.wte(x) + self.wpe.weight[: x.shape[1]])))


def sentences(count: int = 2000, length: int = 33) -> Tensor:
    """Letters 0..26 (0 is a space) of a stream of plain sentences of a small grammar, cut in pieces (N, length)."""
    draw = np.random.default_rng(74)
    who = ["the cat", "the dog", "a bird", "my sister", "our teacher", "an old man", "the children", "nobody"]
    does = ["sees", "likes", "follows", "finds", "paints", "remembers", "hears"]
    what = ["a house", "the river", "some bread", "a red ball", "the train", "two trees", "music"]
    when = ["today", "at night", "in the garden", "every day", "again"]
    text = ""
    while len(text) < count * length:
        text += " ".join(draw.choice(part) for part in (who, does, what, when)) + " "
    codes = torch.tensor([0 if c == " " else ord(c) - 96 for c in text[: count * length]])
    return codes.view(count, length)


@cases.recipe("lm", 0.6)
def gpt_from_a_lecture(harness: Harness, seed: int) -> float:
    """Letters of sentences: weights from N(0, 0.02), betas 0.9 and 0.95, decay 0.1 on matrices, cosine, clip 1."""
    rows = sentences()
    x, y, vx, vy = rows[:1700, :-1], rows[:1700, 1:], rows[1700:, :-1], rows[1700:, 1:]
    model = Gpt(27, 32)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=4e-3, betas=(0.9, 0.95))
    total = 260

    def rate(s: int) -> float:
        return (s + 1) / 20 if s < 20 else 0.1 + 0.45 * (1 + math.cos(math.pi * (s - 20) / (total - 20)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(16, x, y)
        out = model(a)
        return {"loss": token_loss(out, b), "inputs": a, "targets": b, "outputs": out}

    def check(i: int) -> None:
        if i % 65 == 64:
            model.eval()
            with torch.no_grad():
                losses = []
                for _ in range(3):
                    a, b = pick(32, vx, vy)
                    losses.append(token_loss(model(a), b).item())
            harness.epoch(val={"loss": sum(losses) / 3})
            model.train()

    iterate(harness, model, optimizer, compute, total, clip=1.0, scheduler=scheduler, after=check)
    with torch.no_grad():
        return token_accuracy(model.eval()(vx), vy)


@cases.recipe("lm", 0.7)
def tied_lstm_of_lines(harness: Harness, seed: int) -> float:
    """A language model of 20 tokens: LSTM, dropout on both sides, embedding tied to the head, perplexity is logged."""
    train, val = lines(900, 200)

    class Lm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.drop = nn.Embedding(20, 48), nn.LSTM(48, 48, batch_first=True), nn.Dropout(0.1)
            self.head = nn.Linear(48, 20)
            self.head.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(self.rnn(self.drop(self.embed(x)))[0]))

    model = Lm()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = (train.x, train.y, val.x, val.y)
    return course(
        harness, model, optimizer, token_loss, split, epochs=12, size=32, score=token_accuracy, clip=0.5, tell="it"
    )


@cases.recipe("transformer", 0.9)
def dates_are_rewritten(harness: Harness, seed: int) -> float:
    """nn.Transformer translates day-month-year digits into year-month-day; teacher forcing, shifted targets."""

    def make(count: int) -> tuple[Tensor, Tensor]:
        day, month, year = torch.randint(1, 29, (count,)), torch.randint(1, 13, (count,)), torch.randint(100, (count,))
        parts = [torch.stack([p // 10, p % 10], 1) + 2 for p in (day, month, year)]
        start = torch.ones(count, 1, dtype=torch.long)
        return torch.cat(parts, 1), torch.cat([start, *parts[::-1]], 1)

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.src, self.dst = nn.Embedding(12, 32), nn.Embedding(12, 32)
            self.place = nn.Parameter(0.02 * torch.randn(6, 32))
            self.body = nn.Transformer(32, 4, 1, 1, 64, 0.0, batch_first=True)
            self.head = nn.Linear(32, 12)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(6))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            h = self.body(self.src(a) + self.place, self.dst(b) + self.place, tgt_mask=self.mask, tgt_is_causal=True)
            return self.head(h)

    (x, y), (vx, vy) = make(2000), make(300)
    model = Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(32, x, y)
        out = model(a, b[:, :-1])
        return {"loss": token_loss(out, b[:, 1:]), "inputs": a, "targets": b[:, 1:], "outputs": out}

    iterate(harness, model, optimizer, compute, 350)
    with torch.no_grad():
        return token_accuracy(model.eval()(vx, vy[:, :-1]), vy[:, 1:])


@cases.recipe("text", 0.85)
def names_in_sentences(harness: Harness, seed: int) -> float:
    """Tagging: words after a title are names; embeddings, a two-way GRU, cross-entropy with padding ignored."""
    x, _, vx, _ = reviews(1600)

    def tags(a: Tensor) -> Tensor:
        titled = F.pad(a[:, :-1], (1, 0)) >= 52
        return torch.where(a == 0, -100, torch.where(titled & (a < 44), 1, torch.where(titled, 2, 0)))

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(64, 24, padding_idx=0)
            self.rnn, self.head = nn.GRU(24, 24, batch_first=True, bidirectional=True), nn.Linear(48, 3)

        def forward(self, a: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(a))[0])

    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return course(
        harness, model, optimizer, token_loss, (x, tags(x), vx, tags(vx)), epochs=5, size=32, score=token_accuracy
    )


@cases.recipe("text", 0.75)
def averaged_words_in_two_towers(harness: Harness, seed: int) -> float:
    """Question and answer share rare words: two towers of averaged embeddings, a dot product, softmax in the batch."""
    topics = torch.randint(2, 62, (40, 6))

    def talk(count: int) -> tuple[Tensor, Tensor]:
        kind = torch.randint(40, (count,))
        draw = [topics[kind].gather(1, torch.rand(count, 6).argsort(1)[:, :4]) for _ in range(2)]
        return draw[0], draw[1]

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.top = nn.Embedding(64, 32), nn.Linear(32, 32)

        def forward(self, a: Tensor) -> Tensor:
            return F.normalize(self.top(self.words(a).mean(1)))

    towers = nn.ModuleList([Tower(), Tower()])
    optimizer = torch.optim.Adam(towers.parameters(), lr=5e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = talk(32)
        out = towers[0](a) @ towers[1](b).T / 0.1
        return {"loss": F.cross_entropy(out, torch.arange(32)), "outputs": out}

    iterate(harness, towers, optimizer, compute, 300)
    a = torch.stack([t[torch.randperm(6)[:4]] for t in topics])
    b = torch.stack([t[torch.randperm(6)[:4]] for t in topics])
    with torch.no_grad():
        return accuracy(towers[0](a) @ towers[1](b).T, torch.arange(40))
