"""Words, by a seventh author, without any threshold. See `healthy_seventh.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import iterate, pick, study
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    dense,
    token_accuracy,
    token_loss,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


class Rotary(nn.Module):
    """Causal attention with turned queries and keys, then a gated layer; norms by the root of the mean square."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        rate = 100 ** -(torch.arange(0, width // heads, 2) / (width // heads))
        angle = torch.arange(length)[:, None] * rate
        self.register_buffer("turn", torch.polar(torch.ones_like(angle), angle), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Two residual parts."""
        n, t, w = x.shape
        q, k, v = self.qkv(self.n1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (
            torch.view_as_real(torch.view_as_complex(a.reshape(*a.shape[:-1], -1, 2)) * self.turn[:t]).flatten(3)
            for a in (q, k)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, w))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


@cache
def _stories() -> str:
    draw = np.random.default_rng(720)
    who = ["fox", "bird", "king", "child", "river", "old man", "farmer"]
    like = ["small", "red", "quiet", "brave", "late", "happy", "tired"]
    does = ["sees", "follows", "forgets", "finds", "calls", "paints", "carries"]
    where = ["in the garden", "near the sea", "after dinner", "under a tree", "again"]

    def one(words: list[str]) -> str:
        return words[int(draw.integers(len(words)))]

    lines = []
    for _ in range(1400):
        subject = f"the {one(like)} {one(who)}" if draw.random() < 0.5 else f"a {one(who)}"
        line = f"{subject} {one(does)} the {one(who)}"
        lines.append(line + (f" {one(where)}. " if draw.random() < 0.6 else ". "))
    return "".join(lines)


LETTERS = 28
"""Of the stories' alphabet."""


def stories(length: int) -> Split:
    """Pieces of made-up sentences (N, length) and the same one character later."""
    alphabet = " .abcdefghijklmnopqrstuvwxyz"
    text = torch.tensor([alphabet.index(c) for c in _stories()])
    pieces = text.unfold(0, length + 1, 11)
    at = int(len(pieces) * 0.9)
    return pieces[:at, :-1], pieces[:at, 1:], pieces[at + 3 :, :-1], pieces[at + 3 :, 1:]


@cases.recipe("language", 0.6)
def llama_on_a_page(harness: Harness, seed: int) -> float:
    """RMS norms, rotary positions, gated layers; two micro-batches a step, betas of 0.9 and 0.95, decay of 0.1."""
    x, y, vx, vy = stories(32)
    model = nn.Sequential(
        nn.Embedding(LETTERS, 48), Rotary(48, 4, 32), Rotary(48, 4, 32), nn.RMSNorm(48),
        nn.Linear(48, LETTERS, bias=False),
    )  # fmt: skip
    nn.init.normal_(model[0].weight, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, 20)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 220, 4e-4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [20])
    harness.begin(model, optimizer)
    for i in range(240):
        total = 0.0
        for _ in range(2):
            a, b = pick(12, x, y)
            loss = token_loss(model(a), b) / 2
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        harness.step(loss=total)
        if i % 80 == 79:
            with torch.no_grad():
                harness.epoch(train={"loss": total}, val={"loss": token_loss(model(vx[:64]), vy[:64]).item()})
    with torch.no_grad():
        return token_accuracy(model(vx[:128]), vy[:128])


@cases.recipe("language", 0.6)
def attention_without_softmax(harness: Harness, seed: int) -> float:
    """Linear attention: elu plus one as feature map, a short causal convolution before it, two layers."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near = nn.Conv1d(48, 48, 3, padding=2, groups=48)
            self.norm, self.qkv, self.out = nn.LayerNorm(48), nn.Linear(48, 144), nn.Linear(48, 48)
            self.ff = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48))

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x).transpose(1, 2)
            h = self.near(h)[..., : x.shape[1]].transpose(1, 2)
            q, k, v = self.qkv(h).unflatten(2, (3, 4, 12)).unbind(2)
            q, k = F.elu(q) + 1, F.elu(k) + 1
            weight = torch.einsum("bthd,bshd->bhts", q, k).tril()
            mixed = torch.einsum("bhts,bshd->bthd", weight / (weight.sum(3, keepdim=True) + 1e-6), v)
            x = x + self.out(mixed.flatten(2))
            return x + self.ff(x)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(LETTERS, 48), nn.Embedding(24, 48)
            self.body, self.head = nn.Sequential(Linear(), Linear(), nn.LayerNorm(48)), nn.Linear(48, LETTERS)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.tokens(x) + self.places.weight[: x.shape[1]]))

    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = stories(24)
    return study(
        harness, model, optimizer, token_loss, split, epochs=2, size=32, score=token_accuracy, name="accuracy", clip=1.0
    )


def documents(count: int = 1000, length: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Token lines that hold one named span: a marker of the kind asked for, then 1 to 4 tokens; begins and ends."""
    draw = np.random.default_rng(721)
    lines, begins, ends = draw.integers(10, 30, (count, length)), np.zeros(count, int), np.zeros(count, int)
    for i in range(count):
        asked, other = draw.permutation(4)[:2] + 2
        place, wrong = (1 + draw.integers(0, 2), 11) if draw.random() < 0.5 else (11, 1 + draw.integers(0, 2))
        lines[i, 0] = asked
        for start, kind in ((place, asked), (wrong, other)):
            size = int(draw.integers(1, 5))
            lines[i, start], lines[i, start + size + 1] = kind, 1
            if kind == asked:
                begins[i], ends[i] = start + 1, start + size
    return torch.tensor(lines), torch.tensor(begins), torch.tensor(ends)


@cases.recipe("reading", 0.8)
def answers_begin_and_end(harness: Harness, seed: int) -> float:
    """Span extraction: a bidirectional GRU, two pointers, the mean of two cross-entropies; exact matches count."""
    x, begin, end = documents()
    embed, gru, head = nn.Embedding(30, 32), nn.GRU(64, 48, batch_first=True, bidirectional=True), nn.Linear(96, 2)
    model = nn.ModuleDict({"embed": embed, "gru": gru, "head": head})
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

    def read(a: Tensor) -> Tensor:
        e = embed(a)
        return head(gru(torch.cat([e, e[:, :1].expand_as(e)], 2))[0])

    def compute(i: int) -> Any:
        a, b, c = pick(40, x[:800], begin[:800], end[:800])
        out = read(a)
        loss = (F.cross_entropy(out[..., 0], b) + F.cross_entropy(out[..., 1], c)) / 2
        return {"loss": loss, "inputs": a, "targets": torch.stack([b, c], 1), "outputs": out}

    iterate(harness, model, optimizer, compute, 220, clip=5.0)
    with torch.no_grad():
        out = read(x[800:])
    right = (out[..., 0].argmax(1) == begin[800:]) & (out[..., 1].argmax(1) == end[800:])
    return float(right.float().mean())


@cases.recipe("pairs", 0.8)
def does_the_second_follow(harness: Harness, seed: int) -> float:
    """Premise and hypothesis: each attends to the other, compared and summed; three answers, loss and inputs told."""
    draw = np.random.default_rng(722)
    n = 1500
    first = np.stack([draw.permutation(16)[:8] for _ in range(n)]) + 1
    kind = draw.integers(0, 3, n)
    second = np.zeros((n, 4), np.int64)
    for i in range(n):
        inside, outside = first[i], np.setdiff1d(np.arange(1, 17), first[i])
        second[i] = draw.permutation(outside if kind[i] == 2 else inside)[:4]
        if kind[i] == 1:
            second[i, :2] = draw.permutation(outside)[:2]
    a_all, b_all, y_all = torch.tensor(first), torch.tensor(second), torch.tensor(kind)

    class Decomposable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(17, 32)
            self.attend, self.compare = dense(32, 32, 32), dense(64, 48, 48)
            self.answer = dense(96, 48, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            a, b = self.embed(a), self.embed(b)
            e = self.attend(a) @ self.attend(b).transpose(1, 2) / 32**0.5
            left = self.compare(torch.cat([a, e.softmax(2) @ b], 2)).relu().mean(1)
            right = self.compare(torch.cat([b, e.softmax(1).transpose(1, 2) @ a], 2)).relu().mean(1)
            return self.answer(torch.cat([left, right], 1))

    model = Decomposable()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        a, b, y = pick(48, a_all[:1200], b_all[:1200], y_all[:1200])
        return {"loss": F.cross_entropy(model(a, b), y), "inputs": (a, b)}

    iterate(harness, model, optimizer, compute, 350)
    return accuracy(model(a_all[1200:], b_all[1200:]), y_all[1200:])
