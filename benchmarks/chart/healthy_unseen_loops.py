"""Sequences, games and densities among the healthy recipes on which NO threshold is set; see `healthy_unseen.py`."""

from collections.abc import Iterator

import numpy as np
import torch
from benchmarks.chart import data
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.healthy_unseen import fit, moons, split
from benchmarks.chart.subjects import r_squared
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("unseen")


def tokens_of(length: int = 16, count: int = 900) -> tuple[Tensor, Tensor]:
    """Sequences of 12 symbols; the class is which of symbols 1 and 2 occurs more often, or neither."""
    draw = torch.Generator().manual_seed(7)
    x = torch.randint(0, 12, (count, length), generator=draw)
    one, two = (x == 1).sum(1), (x == 2).sum(1)
    return x, torch.where(one > two, 0, torch.where(two > one, 1, 2))


@cases.healthy_loop("transformer")
def encoder_post_norm(harness: Harness, seed: int) -> float | None:
    """torch's own post-norm encoder, mean pooling, inverse square root schedule with warm-up."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(12, 32)
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(self.embed(x)).mean(1))

    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.98), eps=1e-9)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / 20, (20 / (i + 1)) ** 0.5))
    return fit(harness, model, split(*tokens_of(), 200), optimizer, scheduler=schedule, per_step=True, epochs=6)


@cases.healthy_loop("textcnn")
def text_convolutions(harness: Harness, seed: int) -> float | None:
    """Embedding with a padding index, 1-d convolutions, max over time, dropout, Adam."""

    class TextCnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(13, 24, padding_idx=12)
            self.convs = nn.ModuleList(nn.Conv1d(24, 16, k, padding=k // 2) for k in (1, 3))
            self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(32, 3))

        def forward(self, x: Tensor) -> Tensor:
            h = self.embed(x).transpose(1, 2)
            return self.head(torch.cat([F.relu(conv(h)).mean(2) for conv in self.convs], 1))

    x, y = tokens_of()
    x = torch.cat([x, torch.full((len(x), 4), 12)], 1)
    model = TextCnn()
    return fit(harness, model, split(x, y, 200), torch.optim.Adam(model.parameters(), lr=1e-2), epochs=8)


@cases.healthy_loop("lstm")
def bidirectional_tagger(harness: Harness, seed: int) -> float | None:
    """A tag for each token by a bidirectional LSTM, classes on axis 1, clipped by value."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(12, 16), nn.LSTM(16, 24, bidirectional=True, batch_first=True)
            self.head = nn.Linear(48, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(x))[0]).transpose(1, 2)

    x, _ = tokens_of()
    y = ((x.roll(1, 1) + x) % 3 == 0).long()
    y[:, 0] = 0
    model = Tagger()
    return fit(
        harness, model, split(x, y, 200), torch.optim.Adam(model.parameters(), lr=1e-2), epochs=7,
        before_step=lambda: nn.utils.clip_grad_value_(model.parameters(), 0.5),
        score=lambda out, t: float((out.argmax(1) == t).float().mean()),
    )  # fmt: skip


@cases.healthy_loop("rnn")
def forecast_vanilla(harness: Harness, seed: int) -> float | None:
    """The next value of a noisy wave by a plain RNN with orthogonal recurrent weights."""
    draw = np.random.default_rng(2)
    t = np.arange(21)[None] * 0.4 + draw.uniform(0, 6, (800, 1))
    wave = torch.tensor(np.sin(t) + 0.1 * draw.normal(size=t.shape), dtype=torch.float32)[..., None]

    class Forecast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.RNN(1, 32, batch_first=True), nn.Linear(32, 1)
            nn.init.orthogonal_(self.rnn.weight_hh_l0)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    model = Forecast()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(
        harness, model, split(wave[:, :-1], wave[:, -1], 200), optimizer, loss_fn=F.smooth_l1_loss, score=r_squared,
        epochs=6, metric="r2",
    )  # fmt: skip


@cases.healthy_loop("tcn")
def dilated_causal(harness: Harness, seed: int) -> float | None:
    """Dilated causal convolutions with weight norm over waves."""
    train, val = data.series()

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(
                nn.utils.parametrizations.weight_norm(nn.Conv1d(24 if i else 2, 24, 3, dilation=2**i)) for i in range(3)
            )
            self.head = nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.transpose(1, 2)
            for i, conv in enumerate(self.convs):
                out = F.relu(conv(F.pad(h, (2 * 2**i, 0))))
                h = out + h if h.shape == out.shape else out
            return self.head(h[:, :, -1])

    model = Causal()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, (train.x, train.y, val.x, val.y), optimizer, epochs=6)


@cases.healthy_loop("siamese")
def siamese_pairs(harness: Harness, seed: int) -> float | None:
    """Pairs of digits, equal or not, by a contrastive margin loss; one network called twice per step."""
    train, _ = data.digits()
    x, y = train.x / 16, train.y
    model = nn.Sequential(nn.Linear(64, 48), nn.PReLU(), nn.Linear(48, 12))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(40):
            first, second = rows[::2], rows[1::2]
            same = (y[first] == y[second]).float()
            gap = (model(x[first]) - model(x[second])).norm(dim=1)
            loss = (4 * same * gap.square() + (1 - same) * (1 - gap).clamp(min=0).square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss)
        harness.epoch()
    return None


@cases.healthy_loop("gan")
def least_squares_gan(harness: Harness, seed: int) -> float | None:
    """A least-squares GAN on points, judge and generator watched as one, steps in turn."""
    target = moons(0.05)[0]
    judge = nn.Sequential(nn.Linear(2, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1))
    maker = nn.Sequential(nn.Linear(4, 48), nn.LeakyReLU(0.2), nn.Linear(48, 2))
    first = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.0, 0.9))
    second = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.0, 0.9))
    harness.begin([judge, maker], [first, second])
    for _ in range(120):
        real = target[torch.randint(len(target), (64,))]
        fake = maker(torch.randn(64, 4))
        loss = (judge(real) - 1).square().mean() + judge(fake.detach()).square().mean()
        first.zero_grad(set_to_none=True)
        loss.backward()
        first.step()
        other = (judge(fake) - 1).square().mean()
        second.zero_grad(set_to_none=True)
        other.backward()
        second.step()
        harness.step(loss={"judge": loss, "maker": other}["judge"], inputs=real)
    return None


@cases.healthy_loop("flow")
def coupling_flow(harness: Harness, seed: int) -> float | None:
    """A normalising flow of affine couplings that begin as the identity; the loss is a negative log-likelihood."""
    x = moons(0.08)[0]

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList(nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2)) for _ in range(4))
            for net in self.nets:
                nn.init.zeros_(net[-1].weight)
                nn.init.zeros_(net[-1].bias)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            jacobian = x.new_zeros(len(x))
            for i, net in enumerate(self.nets):
                a, b = (x[:, :1], x[:, 1:]) if i % 2 else (x[:, 1:], x[:, :1])
                shift, scale = net(a).chunk(2, 1)
                b = b * scale.tanh().exp() + shift
                jacobian = jacobian + scale.tanh()[:, 0]
                x = torch.cat([a, b], 1) if i % 2 else torch.cat([b, a], 1)
            return x, jacobian

    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    for _ in range(120):
        rows = torch.randint(len(x), (64,))
        z, jacobian = model(x[rows])
        loss = (0.5 * z.square().sum(1) - jacobian).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        harness.step(loss=loss, inputs=x[rows])
    return None


@cases.healthy_loop("dqn")
def q_learning(harness: Harness, seed: int) -> float | None:
    """Q-learning on a corridor with a target network and a replay memory: targets move while it learns."""
    size, memory = 8, []
    model, slow = (nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 2)) for _ in range(2))
    slow.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    eye = torch.eye(size)
    harness.begin(model, optimizer, loss_fn=F.smooth_l1_loss)
    draw = np.random.default_rng(seed)
    at = 0
    for step in range(400):
        move = int(draw.integers(2)) if draw.random() < 0.4 else int(slow(eye[at]).argmax())
        then = min(max(at + (1 if move else -1), 0), size - 1)
        reward = 1.0 if then == size - 1 else 0.0
        memory.append((at, move, reward, then))
        at = 0 if reward else then
        if len(memory) < 64 or step % 3:
            continue
        rows = [memory[i] for i in draw.integers(len(memory), size=32)]
        states, moves, rewards, nexts = (torch.tensor(column) for column in zip(*rows, strict=True))
        with torch.no_grad():
            target = rewards + 0.9 * slow(eye[nexts]).amax(1) * (rewards == 0)
        value = model(eye[states]).gather(1, moves[:, None])[:, 0]
        loss = F.smooth_l1_loss(value, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=eye[states], targets=target, outputs=value)
        if step % 60 == 0:
            slow.load_state_dict(model.state_dict())
    return None


@cases.healthy_loop("hypernetwork")
def implicit_image(harness: Harness, seed: int) -> float | None:
    """A coordinate network with sine activations learns one image; every batch is a draw of its pixels."""
    image = data.shapes()[0].x[0, 0] / 255
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij"), -1)
    x, y = grid.reshape(-1, 2), image.reshape(-1, 1)

    class Sine(nn.Module):
        def __init__(self, before: int, after: int, first: bool) -> None:
            super().__init__()
            self.linear, self.speed = nn.Linear(before, after), 10.0 if first else 1.0
            bound = 1 / before if first else (6 / before) ** 0.5
            nn.init.uniform_(self.linear.weight, -bound, bound)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(self.speed * self.linear(x))

    model = nn.Sequential(Sine(2, 64, True), Sine(64, 64, False), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(150):
        rows = torch.randint(256, (128,))
        out = model(x[rows])
        loss = F.mse_loss(out, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
    return None


@cases.healthy_loop("ctc")
def alignment_free(harness: Harness, seed: int) -> float | None:
    """CTC: the loss marginalises over alignments; outputs are (T, N, C) and targets shorter than outputs."""
    draw = torch.Generator().manual_seed(2)
    y = torch.randint(1, 6, (640, 4), generator=draw)
    x = F.one_hot(y.repeat_interleave(4, 1), 6).float() + 0.3 * torch.randn(640, 16, 6, generator=draw)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 32, batch_first=True, bidirectional=True), nn.Linear(64, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0]).log_softmax(-1).transpose(0, 1)

    model, loss_fn = Reader(), nn.CTCLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        for rows in torch.randperm(640).split(32):
            out = model(x[rows])
            loss = loss_fn(out, y[rows], torch.full((32,), 16), torch.full((32,), 4))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        harness.epoch()
    return None


def _lines(count: int) -> Iterator[Tensor]:
    draw = torch.Generator().manual_seed(6)
    for _ in range(count):
        yield torch.randint(1, 9, (6,), generator=draw)


@cases.healthy_loop("seq2seq")
def reverse_with_teacher(harness: Harness, seed: int) -> float | None:
    """An encoder and a decoder learn to reverse short lines, fed the true last token."""
    x = torch.stack(list(_lines(700)))
    y = x.flip(1)

    class Reverse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.encoder = nn.Embedding(9, 24), nn.GRU(24, 48, batch_first=True)
            self.decoder, self.head = nn.GRU(24, 48, batch_first=True), nn.Linear(48, 9)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            _, state = self.encoder(self.embed(x))
            shifted = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
            return self.head(self.decoder(self.embed(shifted), state)[0])

    model = Reverse()
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        for rows in torch.randperm(700).split(35):
            out = model(x[rows], y[rows])
            loss = F.cross_entropy(out.flatten(0, 1), y[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=(x[rows], y[rows]), targets=y[rows], outputs=out)
        harness.epoch()
    return None
