"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: texts and series.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

from functools import cache

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.data import VOCABULARY, text
from benchmarks.chart.healthy_tenth import rounds
from benchmarks.chart.second import SecondCases, Split, cut, explained, fit, gaits, token_accuracy, token_loss
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


def adam(model: nn.Module, lr: float = 1e-2) -> torch.optim.Adam:
    """Adam over the whole model."""
    return torch.optim.Adam(model.parameters(), lr=lr)


@cache
def lines() -> Split:
    """Lines of tokens and the same ones a token later."""
    train, val = text(500, 200, 16)
    return train.x, train.y, val.x, val.y


class Last(nn.Module):
    """A GRU over (N, T, features); the head reads the outputs of one step, or their mean."""

    def __init__(self, step: int | None, before: nn.Module | None = None, width: int = 3):
        super().__init__()
        self.before = before or nn.Identity()
        self.rnn, self.head, self.at = nn.GRU(width, 24, batch_first=True), nn.Linear(24, 4), step

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        out = self.rnn(self.before(x))[0]
        return self.head(out.mean(1) if self.at is None else out[:, self.at])


@cases.pair("gru", 0.7, accepts=["no-such-rule"])
def first_output_for_the_last(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head is given `out[:, 0]` and not `out[:, -1]`: the GRU has seen one step of thirty-two by then."""
    model = Last(0 if wrong else -1)
    return fit(harness, model, adam(model, 5e-3), F.cross_entropy, gaits(), epochs=14)


class Layered(nn.Module):
    """LayerNorm over the features, or over the time, of one series."""

    def __init__(self, over: int) -> None:
        super().__init__()
        self.norm, self.over = nn.LayerNorm(over), over

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 1)."""
        return self.norm(x) if self.over == 1 else self.norm(x.transpose(1, 2)).transpose(1, 2)


@cases.pair("gru", 0.7, accepts=["norm-over-wrong-axis", "signal-lost-in-depth"])
def layer_norm_over_one_feature(harness: Harness, seed: int, wrong: bool) -> float | None:
    """LayerNorm runs over the last axis, which has one feature: minus its own mean every number is 0."""
    x, y, vx, vy = gaits(500)
    model = Last(None, Layered(1 if wrong else 32), width=1)
    split = x[..., :1], y % 2, vx[..., :1], vy % 2
    return fit(harness, model, adam(model), F.cross_entropy, split, epochs=10)


class Attentive(nn.Module):
    """One encoder layer with sines for positions, which are added along axis `axis` of (N, T, width)."""

    def __init__(self, axis: int, vocabulary: int, mask: Tensor | None = None, pooled: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head, self.axis, self.mask, self.pooled = nn.Linear(32, pooled or vocabulary), axis, mask, pooled
        place = torch.arange(600)[:, None] / 10000 ** (torch.arange(0, 32, 2) / 32)
        self.register_buffer("sines", torch.cat([place.sin(), place.cos()], 1))

    def forward(self, x: Tensor) -> Tensor:
        """Classes of tokens, or of lines."""
        sines = self.sines[: x.shape[self.axis]]
        h = self.embed(x) + (sines[:, None] if self.axis == 0 else sines)
        h = self.layer(h, src_mask=self.mask)
        return self.head(h.mean(1) if self.pooled else h)


@cases.pair("text", 0.85, accepts=["token-order-ignored", "samples-mixed"])
def positions_along_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The positions' code is for (time, batch, width), the data come batch first: it numbers rows, not words."""
    draw = torch.Generator().manual_seed(81)
    x = torch.randint(3, 16, (800, 10), generator=draw)
    y = torch.randint(0, 2, (800,), generator=draw)
    for row, k in zip(x, y.tolist(), strict=True):
        early, late = torch.randperm(10, generator=draw)[:2].sort().values.tolist()
        row[early], row[late] = (1, 2) if k else (2, 1)
    model = Attentive(0 if wrong else 1, 16, pooled=2)
    return fit(harness, model, adam(model, 4e-3), F.cross_entropy, cut(x, y), epochs=12)


@cases.pair("text", 0.6, accepts=["future-visible", "future-leakage"])
def mask_upside_down(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The attention mask is `tril`, True where one may look, but True forbids here: each token sees only later ones."""
    x, y, vx, vy = lines()
    ones = torch.ones(16, 16, dtype=torch.bool)
    model = Attentive(1, VOCABULARY, mask=ones.tril(-1) if wrong else ones.triu(1))
    optimizer = adam(model, 4e-3)
    fit(harness, model, optimizer, token_loss, (x, y, vx, vy), score=token_accuracy, epochs=12)
    model.eval()
    with torch.no_grad():
        return token_accuracy(model(vx)[:, -1:], vy[:, -1:])


class Speaker(nn.Module):
    """Embedding, GRU, classes of tokens."""

    def __init__(self, vocabulary: int, width: int = 32) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(vocabulary, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """Classes of tokens."""
        return self.head(self.rnn(self.embed(x))[0])


@cases.pair("text", 0.6, accepts=["no-such-rule"])
def shifted_twice(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The data set shifts the labels and the loss shifts them again: each token learns to foretell the next but one."""
    model = Speaker(VOCABULARY)

    def loss_fn(out: Tensor, labels: Tensor) -> Tensor:
        return token_loss(out[:, :-1], labels[:, 1:]) if wrong else token_loss(out, labels)

    return fit(harness, model, adam(model), loss_fn, lines(), score=token_accuracy, epochs=12)


@cases.pair("text", 0.85, accepts=["targets-ignored"])
def answer_masked_for_the_prompt(harness: Harness, seed: int, wrong: bool) -> float | None:
    """In instruction tuning -100 stands on the answer and not on the prompt: only the question is ever trained."""
    draw = torch.Generator().manual_seed(82)
    facts = torch.randint(1, 30, (25, 4), generator=draw)
    key = torch.randint(0, 25, (600,), generator=draw)
    prompt = torch.cat([torch.randint(1, 30, (600, 5), generator=draw), key[:, None] + 30], 1)
    row = torch.cat([prompt, facts[key]], 1)
    x, y = row[:, :-1], row[:, 1:].clone()
    right = y.clone()
    right[:, :5] = -100
    y[:, 5:] = -100
    x, y, vx, _ = cut(x, y if wrong else right)
    model = Speaker(56)
    return fit(
        harness, model, adam(model), token_loss, (x, y, vx, cut(row, right)[3]), score=token_accuracy, epochs=8
    )  # fmt: skip


@cases.pair("tags", 0.75, accepts=["padding-as-target"])
def padding_among_the_targets(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Lines of 3 to 8 words are padded to 80 and the padding's tag 0 counts in the loss: it is nine tenths of it."""
    draw = torch.Generator().manual_seed(83)
    x = torch.zeros(400, 80, dtype=torch.long)
    for row in x:
        n = int(torch.randint(3, 9, (), generator=draw))
        row[:n] = torch.randint(1, 60, (n,), generator=draw)
    true = torch.where(x > 0, 1 + (x * 7 % 5), -100)
    y = true.clamp(min=0) if wrong else true
    x, y, vx, vy = cut(x, y)
    model = nn.Sequential(nn.Embedding(60, 24), nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)

    def score(out: Tensor, t: Tensor) -> float:
        return token_accuracy(out, torch.where(t > 0, t, -100))

    return fit(harness, model, optimizer, token_loss, (x, y, vx, vy), score=score, epochs=14, size=16)


@cases.pair("reviews", 0.85, accepts=["labels-carry-no-information"])
def verdict_cut_off(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Reviews are cut to their first 16 words, but the verdict stands in their last ones."""
    draw = torch.Generator().manual_seed(84)
    y = torch.randint(0, 2, (800,), generator=draw)
    x = torch.randint(20, 100, (800, 36), generator=draw)
    for row, k in zip(x, y.tolist(), strict=True):
        places = 22 + torch.randperm(14, generator=draw)[:3]
        row[places] = torch.randint(10 * k, 10 * k + 10, (3,), generator=draw)
    x = x[:, :16] if wrong else x[:, -16:]
    model = nn.Sequential(nn.EmbeddingBag(100, 16), nn.Linear(16, 2))
    return fit(harness, model, adam(model), F.cross_entropy, cut(x, y), epochs=8)


class Counter(nn.Module):
    """A plain RNN with ReLU over a long series."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(1, 32, nonlinearity="relu", batch_first=True), nn.Linear(32, 1)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(torch.eye(32) * 1.03)

    def forward(self, x: Tensor) -> Tensor:
        """One number per series."""
        return self.head(self.rnn(x)[0][:, -1])


@cases.pair("rnn", 0.5, accepts=["exploding-gradient"])
def recurrence_without_clipping(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A plain RNN over 40 steps is trained without clipping: the gradients explode and throw the weights away."""
    draw = torch.Generator().manual_seed(85)
    x = torch.randn(600, 40, 1, generator=draw)
    y = x.mean(1) * 40**0.5
    model = Counter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def clip() -> None:
        if not wrong:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)

    return fit(
        harness, model, optimizer, F.mse_loss, cut(x, y), score=explained, metric="r2", epochs=15, clip=clip
    )  # fmt: skip


@cases.pair("gru", 0.65, accepts=["samples-mixed", "labels-carry-no-information"])
def sorted_by_length_without_labels(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Each batch is sorted by length for packing, its labels are not: they belong to other lines."""
    draw = torch.Generator().manual_seed(86)
    length = torch.randint(6, 20, (700,), generator=draw)
    y = torch.randint(0, 2, (700,), generator=draw)
    x = torch.randn(700, 20, 2, generator=draw) + torch.where(y == 1, 0.5, -0.5)[:, None, None]
    x = x * (torch.arange(20) < length[:, None])[..., None]

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(2, 16, batch_first=True), nn.Linear(16, 2)

        def forward(self, rows: Tensor) -> Tensor:
            lengths, order = (rows[..., 0] != 0).sum(1).sort(descending=True)
            packed = nn.utils.rnn.pack_padded_sequence(rows[order], lengths, batch_first=True)
            out = self.head(self.rnn(packed)[1][-1])
            return out if wrong else out[order.argsort()]

    model = Packed()
    optimizer = adam(model)

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        out = model(inputs)
        loss = F.cross_entropy(out, targets)
        loss.backward()
        optimizer.step()
        return loss, out

    return rounds(harness, model, optimizer, cut(x, y), step, epochs=6)
