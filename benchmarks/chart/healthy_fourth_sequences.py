"""Letters, series and frames in time, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    dense,
    explained,
    gaits,
    prose,
    signs,
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
    march(harness, model, optimizer, lambda i: (lambda a: F.mse_loss(model(a), a))(some(24, x)[0]), 140, clip=1.0)
    with torch.no_grad():
        return float(roc_auc_score(vy != 0, (model(vx) - vx).square().mean((1, 2))))


@cases.recipe("words", 0.6)
def counts_of_neighbours(harness: Harness, seed: int) -> float:
    """GloVe: weighted squares of log counts of letters at most two apart in English, Adagrad at 0.05, whole table."""
    text, letters = prose()
    count = torch.zeros(letters, letters)
    for gap in (1, 2):
        count.index_put_((text[:-gap], text[gap:]), torch.tensor(1.0 / gap), accumulate=True)
    i, j = count.nonzero().T
    logs, weight = count[i, j].log(), (count[i, j] / 50).clamp(max=1) ** 0.75

    class Glove(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.c = nn.Embedding(letters, 12), nn.Embedding(letters, 12)
            self.wb, self.cb = nn.Embedding(letters, 1), nn.Embedding(letters, 1)
            for table in self.children():
                nn.init.uniform_(table.weight, -0.3, 0.3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (self.w(a) * self.c(b)).sum(1) + self.wb(a)[:, 0] + self.cb(b)[:, 0]

    model = Glove()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    march(harness, model, optimizer, lambda _: (weight * (model(i, j) - logs).square()).mean(), 300)
    return explained(model(i, j), logs)


@cases.recipe("clip", 0.6)
def captions_meet_images(harness: Harness, seed: int) -> float:
    """CLIP: images of signs and captions of two words (form, corner), both losses, a learned temperature."""
    x, kind, vx, vkind = signs()
    _, at, _, vat = signs("middles")

    def caption(kind: Tensor, at: Tensor) -> Tensor:
        return torch.stack([kind, 4 + (at[:, 0] > 10).long() + 2 * (at[:, 1] > 10).long()], 1)

    words, vwords = caption(kind, at), caption(vkind, vat)

    class Clip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(800, 32),
            )  # fmt: skip
            self.reader = nn.Sequential(nn.Embedding(8, 16), nn.Flatten(), nn.Linear(32, 32))
            self.scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            a, b = F.normalize(self.eye(image), dim=1), F.normalize(self.reader(text), dim=1)
            return self.scale.exp().clamp(max=100) * a @ b.T

    model = Clip()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)

    def compute(i: int) -> Any:
        a, b = some(24, x, words)
        out, goal = model(a, b), torch.arange(24)
        return {"loss": (F.cross_entropy(out, goal) + F.cross_entropy(out.T, goal)) / 2, "inputs": (a, b)}

    march(harness, model, optimizer, compute, 250)
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4, 8))
    with torch.no_grad():
        return accuracy(model(vx, every), vwords[:, 0] * 4 + vwords[:, 1] - 4)


@cases.recipe("electra", 0.75)
def which_tokens_were_replaced(harness: Harness, seed: int) -> float:
    """ELECTRA: a small generator fills masked numbers, a discriminator tells which are not original; losses 1 : 20."""
    letters = 13
    a, b = torch.cartesian_prod(torch.arange(13), torch.arange(1, 7)).T
    lines = (a[:, None] + b[:, None] * torch.arange(16)) % 13
    lines = lines[torch.randperm(78, generator=torch.Generator().manual_seed(13))]
    x, vx = lines[:58], lines[58:]

    class Along(nn.Module):
        def __init__(self, width: int, out: int) -> None:
            super().__init__()
            self.table = nn.Embedding(letters + 1, width)
            self.a, self.b = nn.Conv1d(width, width, 5, padding=2), nn.Conv1d(width, width, 5, padding=2)
            self.out = nn.Linear(width, out)

        def forward(self, t: Tensor) -> Tensor:
            return self.out(self.b(self.a(self.table(t).mT).relu()).relu().mT)

    maker, judge = Along(12, letters), Along(48, 1)
    optimizer = torch.optim.AdamW([*maker.parameters(), *judge.parameters()], lr=5e-3)

    def both(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.rand(t.shape) < 0.15
        logits = maker(t.masked_fill(hidden, letters))
        drawn = torch.distributions.Categorical(logits=logits.detach()).sample()
        mixed = torch.where(hidden, drawn, t)
        return F.cross_entropy(logits[hidden], t[hidden]), judge(mixed)[..., 0], (mixed != t).float()

    def compute(i: int) -> Tensor:
        (t,) = some(24, x)
        lm, out, fake = both(t)
        return lm + 20 * F.binary_cross_entropy_with_logits(out, fake)

    march(harness, [maker, judge], optimizer, compute, 250)
    with torch.no_grad():
        _, out, fake = both(vx.repeat(8, 1))
    return float(roc_auc_score(fake.flatten(), out.flatten()))


@cases.recipe("video", 0.85)
def where_does_the_dot_go(harness: Harness, seed: int) -> float:
    """Clips of five frames of a moving dot: shared convolutions per frame, a GRU over time, eight directions."""
    draw = torch.Generator().manual_seed(9)
    kind = torch.randint(0, 8, (700,), generator=draw)
    angle = kind * torch.pi / 4
    start = 4 + 4 * torch.rand(700, 2, generator=draw)
    at = start[:, None] + torch.arange(5)[None, :, None] * torch.stack([angle.cos(), angle.sin()], 1)[:, None]
    grid = torch.arange(12.0)
    clips = (-((grid - at[..., :1, None]) ** 2 + (grid[:, None] - at[..., 1:, None]) ** 2) / 1.5).exp()
    clips = clips + 0.1 * torch.randn(clips.shape, generator=draw)

    class Watcher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 24), nn.ReLU())
            self.gru, self.head = nn.GRU(24, 32, batch_first=True), nn.Linear(32, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.eye(x.flatten(0, 1)[:, None]).view(len(x), 5, 24)
            return self.head(self.gru(h)[1][-1])

    model = Watcher()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = clips[:550], kind[:550], clips[550:], kind[550:]
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=10, size=25, percent=True)


@cases.recipe("preference", 0.75)
def preferred_without_a_reward(harness: Harness, seed: int) -> float:
    """DPO: pairs of lines, the one with more vowels is preferred; a frozen copy is the reference, beta 0.5."""
    draw = torch.Generator().manual_seed(10)
    pairs = torch.randint(0, 12, (500, 2, 8), generator=draw)
    good = (pairs < 4).sum(2)
    pairs = pairs[good[:, 0] != good[:, 1]]
    good = (pairs < 4).sum(2)
    first = good[:, 0] > good[:, 1]
    win = torch.where(first[:, None], pairs[:, 0], pairs[:, 1])
    lose = torch.where(first[:, None], pairs[:, 1], pairs[:, 0])

    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.gru, self.head = nn.Embedding(13, 16), nn.GRU(16, 24, batch_first=True), nn.Linear(24, 12)

        def forward(self, t: Tensor) -> Tensor:
            h = self.gru(self.table(F.pad(t[:, :-1], (1, 0), value=12)))[0]
            return self.head(h).log_softmax(2).gather(2, t[..., None]).sum((1, 2))

    policy, reference = Writer(), Writer()
    reference.load_state_dict(policy.state_dict())
    reference.requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3)

    def margin(a: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (policy(a) - reference(a) - policy(b) + reference(b))

    def compute(i: int) -> Tensor:
        a, b = some(32, win[:300], lose[:300])
        return -F.logsigmoid(margin(a, b)).mean()

    march(harness, policy, optimizer, compute, 150)
    with torch.no_grad():
        return float((margin(win[300:], lose[300:]) > 0).float().mean())


@cases.recipe("sequence", 0.85)
def peaks_are_marked(harness: Harness, seed: int) -> float:
    """Beats in a noisy trace: one logit per time, positives weighed 6, a dilated convolution; area under the curve."""
    draw = torch.Generator().manual_seed(11)
    beat = (torch.rand(300, 1, 64, generator=draw) < 0.06).float()
    shape = torch.tensor([-0.3, 1.0, -0.6, 0.25, 0.1])[None, None]
    trace = F.conv1d(beat, shape.flip(2), padding=2) + 0.25 * torch.randn(300, 1, 64, generator=draw)
    wander = (torch.arange(64) * 0.1 + 6.28 * torch.rand(300, 1, 1, generator=draw)).sin()
    x, y = trace + 0.5 * wander, beat.squeeze(1)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 5, padding=4, dilation=2), nn.ReLU(),
        nn.Conv1d(16, 1, 1), nn.Flatten(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(6.0))
    return school(
        harness, model, optimizer, loss_fn, (x[:240], y[:240], x[240:], y[240:]), epochs=8, size=12, key="auc",
        score=lambda o, t: float(roc_auc_score(t.flatten(), o.flatten())),
    )  # fmt: skip


@cases.recipe("reward", 0.8)
def rewards_from_comparisons(harness: Harness, seed: int) -> float:
    """A reward model by Bradley and Terry: -log sigmoid of the difference, so its last bias can never matter."""
    draw = torch.Generator().manual_seed(12)
    a, b = torch.randn(2, 600, 6, generator=draw)

    def worth(x: Tensor) -> Tensor:
        return x[:, 0] - 0.5 * x[:, 1] ** 2 + x[:, 2] * x[:, 3]

    first = worth(a) > worth(b)
    win, lose = torch.where(first[:, None], a, b), torch.where(first[:, None], b, a)
    model = dense(6, 48, 48, 1, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)

    def compute(i: int) -> Any:
        w, l = some(40, win[:480], lose[:480])  # noqa: E741
        return {"loss": -F.logsigmoid(model(w) - model(l)).mean(), "inputs": (w, l)}

    march(harness, model, optimizer, compute, 300)
    return binary_accuracy(model(win[480:]) - model(lose[480:]), torch.ones(120))
