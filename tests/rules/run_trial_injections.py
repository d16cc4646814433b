"""Rules over experiments: short watched trainings and preflights on digits, healthy of many kinds and faulty."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.experiments.gather import preflight_facts
from snellen.facts import Facts
from snellen.watching.watch import Watch
from tests.rules.run_injections import Gru, Make, Vit, batches, cnn, digits, mlp, resnet, seeded


def watched(
    model: nn.Module,
    data: Iterable[tuple[Any, Tensor]] | None = None,
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 60,
) -> list[Facts]:
    """The facts of a training that was watched from start to end."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=3e-3)
    with Watch(model, optimizer, loss_fn=loss) as watch:
        for x, y in data if data is not None else batches(steps):
            out = model(x)
            value = loss(out, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watch.step(loss=value, inputs=x, targets=y, outputs=out)
    return [watch.facts()]


def tried(model: nn.Module, lr: float = 0.05, loss: Any = F.cross_entropy, kind: Any = torch.optim.SGD) -> list[Facts]:
    """The facts of a preflight."""
    x, y = digits()
    return [preflight_facts(model, (x[:32], y[:32]), loss, kind(model.parameters(), lr=lr), seconds=20)[0]]


class Functional(nn.Module):
    """An MLP whose forward is a function of its layers' outputs."""

    def __init__(self, change: Callable[[Tensor], Tensor], features: int = 64) -> None:
        super().__init__()
        self.first, self.second, self.change = nn.Linear(features, 64), nn.Linear(64, 10), change

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.change(torch.relu(self.first(x))))


class Reads(nn.Module):
    """Attends over token ids; positions, a causal mask and a padding mask on demand."""

    def __init__(self, *, positions: bool = True, causal: bool = True, masked: bool = True, classes: int = 0) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(18, 32), nn.Parameter(torch.randn(64, 32) * 0.1)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, classes or 18)
        self.positions, self.causal, self.masked, self.classes = positions, causal, masked, classes

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + (self.places[: ids.shape[1]] if self.positions else 0)
        length = ids.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        absent = ids == 0 if self.masked else None
        x = self.layer(x, src_mask=future, src_key_padding_mask=absent)
        if not self.classes:
            return self.head(x)
        real = ((ids != 0) if self.masked else torch.ones_like(ids, dtype=torch.bool))[..., None]
        return self.head((x * real).sum(1) / real.sum(1).clamp_min(1))


def lines(steps: int = 60) -> Iterable[tuple[Tensor, Tensor]]:
    """Pixels of digits as tokens 1..17, to be foretold from those before."""
    for x, _ in batches(steps):
        ids = ((x * 6.017 + 4.884).round().long() + 1).clamp(1, 17)[:, 20:45]
        yield ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def padded(steps: int = 60) -> Iterable[tuple[Tensor, Tensor]]:
    """The classes of digits whose ids end at unequal places; the rest is 0."""
    for x, y in batches(steps):
        ids = ((x * 6.017 + 4.884).round().long() + 1).clamp(1, 17)[:, :32]
        ids[torch.arange(32)[None] >= torch.randint(12, 32, (len(ids), 1))] = 0
        yield ids, y


def by_token(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


class Vae(nn.Module):
    """Draws its code in both modes."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.back = nn.Linear(64, 16), nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.code(x).chunk(2, 1)
        return self.back(mean + torch.randn_like(mean) * spread.tanh())


class Graph(nn.Module):
    """Node classification: one fixed graph, the rows are nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("links", (torch.rand(96, 96) < 0.05).float() + torch.eye(96))
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.links / self.links.sum(1, keepdim=True)
        return self.second(mean @ torch.relu(self.first(mean @ x)))


def nodes(steps: int = 60) -> Iterable[tuple[Tensor, Tensor]]:
    return [(digits()[0][:96], digits()[1][:96])] * steps


def contrast(out: Tensor, y: Tensor) -> Tensor:
    """InfoNCE between the two halves of the features: a loss that couples samples on purpose."""
    a, b = (F.normalize(part, dim=1) for part in out.chunk(2, 1))
    return F.cross_entropy(a @ b.t() / 0.1, torch.arange(len(out)))


def slow_statistics() -> list[Facts]:
    """Batch norm whose running statistics hardly move, on inputs far from its start."""
    model = cnn(lambda c: nn.BatchNorm2d(c, momentum=1e-4))
    return watched(model, [(3 * x + 4, y) for x, y in batches(80)])


def zero_head() -> nn.Sequential:
    model = mlp()
    nn.init.zeros_(model[-1].weight)
    return model


def deaf() -> list[Facts]:
    """The input is replaced by its mean over everything within forward."""
    return watched(Functional(lambda h: h * 0 + 1))


def narrow() -> list[Facts]:
    return watched(nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10)), steps=80)


def dropout_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))


CLEAN: dict[str, Make] = {
    "MLP": seeded(lambda: watched(mlp())),
    "batch norm and dropout": seeded(lambda: watched(dropout_net(), steps=100)),
    "CNN with batch norm": seeded(lambda: watched(cnn(nn.BatchNorm2d), steps=80)),
    "CNN with group norm": seeded(lambda: watched(cnn(lambda c: nn.GroupNorm(4, c)))),
    "ResNet with zero-init residual": seeded(lambda: watched(resnet(zero=True))),
    "ViT with positions from zero": seeded(lambda: watched(Vit(), steps=80)),
    "GRU": seeded(lambda: watched(Gru())),
    "head from zero": seeded(lambda: watched(zero_head())),
    "logistic regression": seeded(lambda: watched(nn.Linear(64, 10))),
    "language model": seeded(lambda: watched(Reads(), lines(), by_token)),
    "padded texts": seeded(lambda: watched(Reads(causal=False, classes=10), padded())),
    "bag of words": seeded(
        lambda: watched(nn.Sequential(nn.EmbeddingBag(18, 32), nn.ReLU(), nn.Linear(32, 10)), padded())
    ),
    "variational autoencoder": seeded(lambda: watched(Vae(), ((x, x) for x, _ in batches(60)), F.mse_loss)),
    "graph of nodes": seeded(lambda: watched(Graph(), nodes())),
    "contrastive": seeded(lambda: watched(mlp(), loss=contrast)),
    "preflight of an MLP": seeded(lambda: tried(mlp())),
    "preflight of a CNN, Adam": seeded(lambda: tried(cnn(nn.BatchNorm2d), 3e-3, kind=torch.optim.Adam)),
    "preflight of a transformer": seeded(lambda: tried(Vit(), 1e-3, kind=torch.optim.AdamW)),
    "preflight of a head from zero": seeded(lambda: tried(zero_head())),
    "preflight, fine-tuning rate": seeded(lambda: tried(mlp(), 1e-4, kind=torch.optim.Adam)),
}

SICK: dict[str, Make] = {
    "linear-network": seeded(lambda: watched(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)))),
    "samples-mixed": seeded(lambda: watched(Functional(lambda h: h.reshape(h.shape[1], h.shape[0]).t()))),
    "input-not-used": seeded(deaf),
    "evaluation-not-deterministic": seeded(lambda: watched(Functional(F.dropout))),
    "train-eval-mismatch": seeded(slow_statistics),
    "cannot-overfit-one-batch": seeded(narrow),
    "loss-scales-with-batch": seeded(
        lambda: watched(mlp(), loss=nn.CrossEntropyLoss(reduction="sum"), optimizer=None, steps=60)
    ),
    "lr-trial-rises": seeded(lambda: tried(mlp(), 50.0)),
    "lr-trial-idle": seeded(lambda: tried(mlp(), 1e-7)),
    "token-order-ignored": seeded(
        lambda: watched(Reads(positions=False, causal=False, masked=False, classes=10), bag())
    ),
    "future-leakage": seeded(lambda: watched(Reads(causal=False), lines(), by_token)),
    "padding-attended": seeded(lambda: watched(Reads(causal=False, masked=False, classes=10), padded())),
}


def bag(steps: int = 60) -> Iterable[tuple[Tensor, Tensor]]:
    """Unpadded ids with the digits' classes."""
    for x, y in batches(steps):
        yield ((x * 6.017 + 4.884).round().long() + 1).clamp(1, 17)[:, 16:48], y


ALSO: dict[str, set[str]] = {
    # The cause, by its momentum alone.
    "train-eval-mismatch": {"running-statistics-unusable"},
    # One unit that everything has to pass is both.
    "cannot-overfit-one-batch": {"one-number-bottleneck"},
    # The fault was made by an operation that lets no gradient through.
    "input-not-used": {"gradient-always-zero"},
    # Seen from within attention as well as from outside.
    "future-leakage": {"future-visible"},
    "padding-attended": {"attention-on-padding"},
}

__all__ = ["ALSO", "CLEAN", "SICK"]
