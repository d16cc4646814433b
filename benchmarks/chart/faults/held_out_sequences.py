"""Held-out faults on series and texts."""

import math

import torch
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.held_out import VOCABULARY, CausalTCN, batches, fit, reviews, sentences, waves
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("held-out")


class BiLSTM(nn.Module):
    """A bidirectional LSTM with a head at every step or on the mean."""

    def __init__(self, enter: nn.Module, outputs: int, width: int = 24, per_step: bool = False, first: bool = True):
        super().__init__()
        self.enter, self.per_step = enter, per_step
        self.lstm = nn.LSTM(width, width, batch_first=first, bidirectional=True)
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs), or (N, T, outputs)."""
        h, _ = self.lstm(self.enter(x))
        return self.head(h if self.per_step else h.mean(1))


def language(harness: Harness, model: nn.Module, shift: int = 1, lr: float = 3e-3, epochs: int = 5) -> float:
    """Training of a model of the next word; returns its accuracy."""
    train, val = sentences()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    harness.begin(model, optimizer)
    for _ in range(epochs):
        for rows, _ in batches(train, train):
            inputs, targets = rows[:, :-1], rows[:, shift:][:, :24]
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out.flatten(0, 1), targets.flatten())
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch(train={"loss": loss.item()})
    with torch.no_grad():
        return float((model(val[:, :-1]).argmax(-1) == val[:, 1:]).float().mean())


@cases.restated("bilstm", accepts=["future-visible", "future-leakage"])
def both_directions_foretell(harness: Harness, seed: int) -> float | None:
    """A bidirectional LSTM foretells the next word, which it has read."""
    return language(harness, BiLSTM(nn.Embedding(VOCABULARY, 24), VOCABULARY, per_step=True))


@cases.restated("tcn", accepts=["future-visible", "future-leakage"])
def padded_on_both_sides(harness: Harness, seed: int) -> float | None:
    """The convolutions of a language model are padded on both sides."""
    return language(harness, CausalTCN(causal=False))


@cases.restated("tcn", accepts=["future-visible", "future-leakage"])
def targets_not_shifted(harness: Harness, seed: int) -> float | None:
    """The targets are the inputs themselves, so that the network learns to copy."""
    return language(harness, CausalTCN(), shift=0)


class SoftTied(nn.Module):
    """A GRU language model whose head was tied to the embedding by a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.gru, self.head = nn.GRU(32, 32, batch_first=True), nn.Linear(32, VOCABULARY, bias=False)
        self.head.weight = nn.Parameter(self.embed.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, T, vocabulary)."""
        return self.head(self.gru(self.embed(x))[0])


@cases.restated("gru", accepts=["tie-broken"], place="head|head.weight|embed|embed.weight")
def tied_by_a_copy(harness: Harness, seed: int) -> float | None:
    """The head gets a clone of the embedding, not the embedding."""
    return language(harness, SoftTied())


@cases.restated("bilstm", accepts=["samples-mixed"])
def batch_is_not_first(harness: Harness, seed: int) -> float | None:
    """batch_first is forgotten: the LSTM runs along the batch."""
    model = BiLSTM(nn.Linear(1, 24), 4, first=False)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=3e-3), F.cross_entropy, waves(), epochs=6)


class StepNorm(nn.Module):
    """Convolutions over a series, with a norm that takes time for its features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(1, 24, 5, padding=2), nn.Conv1d(24, 24, 5, padding=2)
        self.norm, self.head = nn.BatchNorm1d(48), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from (N, T, 1)."""
        h = F.relu(self.conv1(x.transpose(1, 2)))
        h = self.norm(h.transpose(1, 2)).transpose(1, 2)
        return self.head(F.relu(self.conv2(h)).mean(2))


@cases.restated("tcn", accepts=["norm-over-wrong-axis"], place="norm")
def norm_per_time_step(harness: Harness, seed: int) -> float | None:
    """BatchNorm1d is given (N, T, C): each time step has its own statistics, shared by the channels."""
    model = StepNorm()
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=3e-3), F.cross_entropy, waves(), epochs=6)


class Reader(nn.Module):
    """Attention over words, pooled by a mean."""

    def __init__(self, mask: str, places: bool = True, scaled: bool = True, classes: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 32)
        self.place = nn.Parameter(0.1 * torch.randn(20, 32)) if places else None
        self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.norm, self.head, self.mask, self.scaled = nn.LayerNorm(32), nn.Linear(32, classes), mask, scaled

    def forward(self, x: Tensor) -> Tensor:
        """Logits from ids (N, T), where 0 is padding."""
        h = self.embed(x) if self.place is None else self.embed(x) + self.place[: x.shape[1]]
        score = self.q(h) @ self.k(h).transpose(1, 2) / (math.sqrt(32) if self.scaled else 1 / math.sqrt(32))
        blocked = {"none": torch.zeros_like(x, dtype=torch.bool), "right": x == 0, "inverted": x != 0}[self.mask]
        h = h + score.masked_fill(blocked[:, None], -1e4).softmax(-1) @ self.v(h)
        keep = (x != 0).float()[..., None]
        return self.head((self.norm(h) * keep).sum(1) / keep.sum(1))


@cases.restated("attention", accepts=["attention-on-padding", "padding-attended"])
def mask_the_wrong_way_round(harness: Harness, seed: int) -> float | None:
    """True in the mask means keep for one function and block for the other."""
    model = Reader("inverted")
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, reviews(), epochs=6)


@cases.restated("attention", accepts=["attention-not-scaled"])
def multiplied_by_the_root(harness: Harness, seed: int) -> float | None:
    """Attention scores are multiplied by the root of the width, not divided."""
    model = Reader("right", scaled=False)
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, reviews(), epochs=6)


@cases.restated("tagger", accepts=["padding-as-target"])
def padding_is_tagged(harness: Harness, seed: int) -> float | None:
    """A tagger learns tag 0 at each padded place, which makes its accuracy look high."""
    x, _, vx, _ = reviews()

    def tags(ids: Tensor) -> Tensor:
        return torch.where(ids > 0, 1 + (ids % 3), 0)

    model = BiLSTM(nn.Embedding(VOCABULARY, 24, padding_idx=0), 4, per_step=True)

    def loss_fn(out: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(out.transpose(1, 2), targets)

    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=3e-3), loss_fn, (x, tags(x), vx, tags(vx)),
               epochs=5, measure=lambda o, t: float((o.argmax(-1) == t).float().mean()))  # fmt: skip


@cases.restated("rnn", accepts=["exploding-gradient", "loss-not-finite", "lr-too-high", "initial-weights-off-scale"])
def relu_rnn_with_large_recurrence(harness: Harness, seed: int) -> float | None:
    """A ReLU RNN whose recurrent weights are drawn too large, unclipped."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.RNN(1, 32, nonlinearity="relu", batch_first=True), nn.Linear(32, 4)
            nn.init.normal_(self.rnn.weight_hh_l0, std=0.35)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    model = Net()
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=1e-2), F.cross_entropy, waves(), epochs=5)


@cases.restated("series", accepts=["unsigned-wraparound"])
def differences_of_bytes(harness: Harness, seed: int) -> float | None:
    """Differences of neighbouring samples are taken while they are unsigned bytes."""
    x, y, vx, vy = waves()

    def motion(series: Tensor) -> Tensor:
        levels = (series * 40 + 128).clamp(0, 255).byte()
        return (levels[:, 1:] - levels[:, :-1]).float()

    model = nn.Sequential(
        nn.BatchNorm1d(47), nn.Flatten(), nn.Linear(47, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    split = motion(x), y, motion(vx), vy
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=2e-3), F.cross_entropy, split, epochs=8)


@cases.restated("mlp", accepts=["vanishing-gradient", "signal-lost-in-depth"])
def twelve_sigmoids(harness: Harness, seed: int) -> float | None:
    """Twelve layers with sigmoids and the default initialisation."""
    x, y, vx, vy = waves()
    layers: list[nn.Module] = [nn.Linear(48, 32), nn.Sigmoid()]
    for _ in range(11):
        layers += [nn.Linear(32, 32), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(32, 4))
    split = x[..., 0], y, vx[..., 0], vy
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-3), F.cross_entropy, split)


@cases.restated("attention", accepts=["lr-too-high"])
def transformer_at_a_tenth(harness: Harness, seed: int) -> float | None:
    """AdamW with 0.1, a rate for SGD."""
    model = Reader("right")
    return fit(harness, model, torch.optim.AdamW(model.parameters(), lr=0.1), F.cross_entropy, reviews(), epochs=6)
