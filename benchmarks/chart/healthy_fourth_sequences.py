"""Letters, series and frames in time, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import (
    SecondCases,
    explained,
    gaits,
    prose,
    token_accuracy,
    token_loss,
    windows,
)
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cache
def load_of_a_grid(length: int = 900) -> Tensor:
    """An hourly load of about 300 to 900 with days, weeks and noise, (length,)."""
    draw, t = np.random.default_rng(51), np.arange(length)
    wave = 600 + 150 * np.sin(t * 2 * np.pi / 24) + 60 * np.sin(t * 4 * np.pi / 24) + 50 * np.sin(t * 2 * np.pi / 168)
    return torch.tensor(wave + draw.normal(0, 15, length), dtype=torch.float32)


def pasts(size: int, ahead: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows of the load in hundreds and the values after; the last fifth is held out."""
    w = (load_of_a_grid() / 100).unfold(0, size + ahead, 3)
    at = len(w) * 4 // 5
    return w[:at, :size], w[:at, size:], w[at:, :size], w[at:, size:]


@cases.recipe("rnn", 0.65)
def surnames_one_at_a_time(harness: Harness, seed: int) -> float:
    """The tutorial's recurrent cell by hand: input and state joined, tanh, one word per step, NLLLoss, SGD at 0.03."""
    draw = np.random.default_rng(52)
    chains = draw.dirichlet(np.full(10, 0.25), (3, 10))

    def word(kind: int) -> list[int]:
        letters = [int(draw.integers(10))]
        for _ in range(int(draw.integers(5, 10))):
            letters.append(int(draw.choice(10, p=chains[kind, letters[-1]])))
        return letters

    words = [(word(k), k) for k in draw.integers(0, 3, 500).tolist()]

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.i2h, self.i2o = nn.Linear(10 + 48, 48), nn.Linear(48, 3)

        def forward(self, letters: list[int]) -> Tensor:
            h = torch.zeros(1, 48)
            for letter in F.one_hot(torch.tensor(letters), 10).float():
                h = torch.tanh(self.i2h(torch.cat([letter[None], h], 1)))
            return self.i2o(h).log_softmax(1)

    rnn, criterion = Cell(), nn.NLLLoss()
    optimizer = torch.optim.SGD(rnn.parameters(), lr=0.03)

    def compute(i: int) -> Tensor:
        letters, kind = words[int(torch.randint(400, ()))]
        return criterion(rnn(letters), torch.tensor([kind]))

    march(harness, rnn, optimizer, compute, 1300, clip=5.0)
    with torch.no_grad():
        return sum(int(rnn(letters).argmax()) == kind for letters, kind in words[400:]) / 100


@cases.recipe("lstm", 0.8)
def numbers_are_added(harness: Harness, seed: int) -> float:
    """The adding problem at length 12: two marked values are summed by an LSTM; new sequences in each step."""
    lstm, head = nn.LSTM(2, 32, batch_first=True), nn.Linear(32, 1)
    model = nn.ModuleList([lstm, head])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def make(n: int) -> tuple[Tensor, Tensor]:
        values, marks = torch.rand(n, 12), torch.zeros(n, 12)
        marks[torch.arange(n), torch.randint(0, 6, (n,))] = 1
        marks[torch.arange(n), torch.randint(6, 12, (n,))] = 1
        return torch.stack([values, marks], 2), (values * marks).sum(1, keepdim=True)

    def compute(i: int) -> Any:
        x, y = make(64)
        out = head(lstm(x)[0][:, -1])
        return {"loss": F.mse_loss(out, y), "inputs": x, "targets": y, "outputs": out}

    march(harness, model, optimizer, compute, 400, clip=1.0)
    x, y = make(400)
    return explained(head(lstm(x)[0][:, -1]).detach(), y)


@cases.recipe("transformer", 0.7)
def sums_by_letters(harness: Harness, seed: int) -> float:
    """A decoder writes the two digits of a sum of two numbers below 20; only the answer counts (-100 elsewhere)."""
    a, b = torch.cartesian_prod(torch.arange(20), torch.arange(20)).T
    total = a + b
    tokens = torch.stack([a, b, torch.full_like(a, 20), total // 10, total % 10], 1)
    tokens = tokens[torch.randperm(400, generator=torch.Generator().manual_seed(7))]
    x, y = tokens[:, :-1], tokens[:, 1:].clone()
    y[:, :2] = -100

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(21, 32), nn.Parameter(0.02 * torch.randn(4, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 96, 0.0, batch_first=True, norm_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(32, 21)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.head(self.body(self.token(x) + self.place, mask, is_causal=True))

    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1, betas=(0.9, 0.98))
    split = x[:340], y[:340], x[340:], y[340:]
    return school(
        harness, model, optimizer, token_loss, split, epochs=60, size=85, score=token_accuracy, percent=True
    )  # fmt: skip


@cases.recipe("transformer", 0.22)
def slopes_instead_of_positions(harness: Harness, seed: int) -> float:
    """ALiBi language model, squared ReLU, gradients of two batches added; a table of letter pairs gets 0.185."""
    _, letters = prose()
    x, y, vx, vy = windows()

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(48, bias=False), nn.LayerNorm(48, bias=False)
            self.qkv, self.out = nn.Linear(48, 144, bias=False), nn.Linear(48, 48, bias=False)
            self.up, self.down = nn.Linear(48, 128, bias=False), nn.Linear(128, 48, bias=False)
            t = torch.arange(24)
            far = (t[None] - t[:, None]).float()
            slope = torch.tensor([0.5, 0.25, 0.125, 0.0625])[:, None, None]
            self.register_buffer("bias", (slope * far).masked_fill(far > 0, float("-inf")), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.n1(x)).view(*x.shape[:2], 3, 4, 12).permute(2, 0, 3, 1, 4)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v, self.bias).transpose(1, 2).flatten(2))
            return x + self.down(self.up(self.n2(x)).relu().square())

    model = nn.Sequential(nn.Embedding(letters, 48), Block(), Block(), nn.LayerNorm(48), nn.Linear(48, letters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 10, 1.0) * (1 - i / 115))
    harness.begin(model, optimizer)
    for _ in range(110):
        total = 0.0
        for _ in range(2):
            a, b = some(16, x, y)
            loss = token_loss(model(a), b) / 2
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        harness.step(loss=total)
    with torch.no_grad():
        return token_accuracy(model(vx[:200]), vy[:200])


@cases.recipe("reservoir", 0.75)
def reservoir_with_a_trained_readout(harness: Harness, seed: int) -> float:
    """An echo state network: a fixed random recurrence in buffers, only the readout learns; squared error."""
    x, y, vx, vy = gaits(500)

    class Echo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            w = torch.randn(120, 120) * (torch.rand(120, 120) < 0.1)
            self.register_buffer("w", 0.9 * w / torch.linalg.eigvals(w).abs().max())
            self.register_buffer("win", torch.rand(3, 120) - 0.5)
            self.out = nn.Linear(240, 4)

        def forward(self, x: Tensor) -> Tensor:
            h, seen = torch.zeros(len(x), 120), []
            for t in range(x.shape[1]):
                h = 0.5 * h + 0.5 * torch.tanh(x[:, t] @ self.win + h @ self.w)
                seen.append(h)
            all_h = torch.stack(seen, 1)
            return self.out(torch.cat([all_h.mean(1), all_h.square().mean(1)], 1))

    def loss_fn(out: Tensor, kind: Tensor) -> Tensor:
        return (out - F.one_hot(kind, 4)).square().mean()

    model = Echo()
    optimizer = torch.optim.Adam(model.out.parameters(), lr=0.02)
    return school(harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=25, size=25)


@cases.recipe("rnn", 0.85)
def minimal_gates_in_parallel(harness: Harness, seed: int) -> float:
    """minGRU: gates from the input alone, the recurrence by cumulative sums of logarithms; means and deviations."""

    class MinGRU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z, self.h = nn.Linear(3, 32), nn.Linear(3, 32)
            self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))

        def forward(self, x: Tensor) -> Tensor:
            z = self.z(x)
            log_keep = F.logsigmoid(-z).cumsum(1)
            log_new = F.logsigmoid(z) + F.softplus(self.h(x)).clamp(min=1e-4).log()
            state = (log_keep + torch.logcumsumexp(log_new - log_keep, 1)).exp()
            return self.head(torch.cat([state.mean(1)[:, :16], state.std(1)[:, 16:]], 1))

    model = MinGRU()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), gaits(), epochs=11, scheduler=scheduler, tell="pair"
    )  # fmt: skip


@cases.recipe("forecast", 0.8)
def patches_of_a_series(harness: Harness, seed: int) -> float:
    """PatchTST with reversible norm: each window by its own mean and deviation, patches of 8, six values ahead."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.place = nn.Linear(8, 32), nn.Parameter(torch.zeros(6, 32))
            self.body = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "gelu", batch_first=True)
            self.out = nn.Linear(192, 6)

        def forward(self, x: Tensor) -> Tensor:
            mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True) + 1e-5
            h = self.body(self.into(((x - mean) / std).unfold(1, 8, 8)) + self.place)
            return self.out(h.flatten(1)) * std + mean

    model = Patches()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return school(
        harness, model, optimizer, nn.MSELoss(), pasts(48, 6), epochs=25, size=32, score=explained, key=None
    )  # fmt: skip


@cases.recipe("forecast", 0.7)
def likelihood_step_by_step(harness: Harness, seed: int) -> float:
    """DeepAR: an LSTM gives mean and deviation of each next value, scaled by the window's mean; negative losses."""

    class DeepAR(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.head(self.lstm(x[..., None])[0])
            return h[..., 0], F.softplus(h[..., 1]) + 1e-3

    x, y, vx, vy = pasts(30, 1)
    model = DeepAR()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def read(past: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale = past.mean(1, keepdim=True)
        goal = torch.cat([past[:, 1:], after], 1) / scale
        return (*model(past / scale), goal)

    def compute(i: int) -> Tensor:
        mean, std, goal = read(*some(32, x, y))
        return -torch.distributions.Normal(mean, std).log_prob(goal)[:, 8:].mean()

    march(harness, model, optimizer, compute, 200, clip=10.0)
    with torch.no_grad():
        mean, _, goal = read(vx, vy)
    return explained(mean[:, -1:], goal[:, -1:])


@cases.recipe("autoencoder", 0.8)
def odd_movements_by_error(harness: Harness, seed: int) -> float:
    """A recurrent autoencoder learns one movement; others stand out by their error (area under the curve)."""
    x, y, vx, vy = gaits(900)
    x = x[y == 0]

    class Coder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc, self.dec = nn.GRU(3, 24, batch_first=True), nn.GRU(24, 24, batch_first=True)
            self.out = nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.enc(x)[1][0]
            return self.out(self.dec(h[:, None].expand(-1, x.shape[1], -1))[0])

    model = Coder()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    march(harness, model, optimizer, lambda i: (lambda a: F.mse_loss(model(a), a))(some(24, x)[0]), 110, clip=1.0)
    with torch.no_grad():
        return float(roc_auc_score(vy != 0, (model(vx) - vx).square().mean((1, 2))))
