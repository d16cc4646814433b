"""Healthy recipes on which NO threshold is ever set: they measure the false alarms that a stranger would see.

Their networks, data, optimizers and losses differ from those of `healthy.py`. Whoever changes a rule must not look at
what it says here before the change is final; a run with an alarm is reported, not tuned away.
"""

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.chart import data
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.subjects import accuracy, r_squared
from sklearn.datasets import load_breast_cancer, load_iris, make_friedman1, make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("unseen")

Loss = Callable[[Tensor, Tensor], Tensor]


def split(x: Tensor, y: Tensor, val: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and targets, then those of the last `val` samples, in a fixed random order."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return x[:-val], y[:-val], x[-val:], y[-val:]


def cancer() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Thirty standardised features of 569 tumours, two classes."""
    x, y = load_breast_cancer(return_X_y=True)
    return split(torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32), torch.tensor(y), 150)


def friedman() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten features in 0..1 and a target of about 5 to 25 with noise."""
    x, y = make_friedman1(900, noise=1.0, random_state=0)
    return split(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None], 200)


def moons(noise: float = 0.2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two interleaved half circles."""
    x, y = make_moons(1000, noise=noise, random_state=0)
    return split(torch.tensor(x, dtype=torch.float32), torch.tensor(y), 200)


def shapes() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images of one shape as (N, 3, 16, 16) in -1..1, three classes."""
    train, val = data.shapes()
    return train.x / 127.5 - 1, train.y, val.x / 127.5 - 1, val.y


def fit(
    harness: Harness,
    model: nn.Module,
    parts: tuple[Tensor, Tensor, Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    loss_fn: Loss = F.cross_entropy,
    score: Callable[[Tensor, Tensor], float] = accuracy,
    epochs: int = 6,
    size: int = 32,
    scheduler: lr_scheduler.LRScheduler | None = None,
    per_step: bool = False,
    after: Callable[[], None] = lambda: None,
    before_step: Callable[[], None] = lambda: None,
    spoil: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y),
    metric: str = "accuracy",
) -> float:
    """The loop that most of these share. Clears gradients after the step, reports what many loops report."""
    x_train, y_train, x_val, y_val = parts
    harness.begin(model, optimizer, loss_fn=loss_fn)
    value = 0.0
    for _ in range(epochs):
        model.train()
        total, seen = 0.0, 0
        for rows in torch.randperm(len(x_train)).split(size):
            x, y = spoil(x_train[rows], y_train[rows])
            out = model(x)
            loss = loss_fn(out, y)
            loss.backward()
            before_step()
            optimizer.step()
            optimizer.zero_grad()
            after()
            if scheduler is not None and per_step:
                scheduler.step()
            total, seen = total + loss.item() * len(x), seen + len(x)
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
        if scheduler is not None and not per_step:
            scheduler.step()
        model.eval()
        with torch.inference_mode():
            out = model(x_val)
            value = score(out, y_val)
            harness.epoch(train={"loss": total / seen}, val={"loss": float(loss_fn(out, y_val)), metric: value})
    return value


@cases.healthy_loop("mlp")
def cancer_silu_adamw(harness: Harness, seed: int) -> float | None:
    """SiLU, layer norm, AdamW with cosine per epoch."""
    model = nn.Sequential(
        nn.Linear(30, 64), nn.LayerNorm(64), nn.SiLU(), nn.Linear(64, 32), nn.SiLU(), nn.Linear(32, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return fit(harness, model, cancer(), optimizer, epochs=8, scheduler=lr_scheduler.CosineAnnealingLR(optimizer, 8))


@cases.healthy_loop("mlp")
def cancer_one_logit(harness: Harness, seed: int) -> float | None:
    """One logit squeezed to (N,), BCE with a positive weight, Adamax."""
    model = nn.Sequential(nn.Linear(30, 32), nn.ELU(), nn.Linear(32, 1), nn.Flatten(0))
    x, y, x_val, y_val = cancer()
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(0.6))
    return fit(
        harness, model, (x, y.float(), x_val, y_val.float()), torch.optim.Adamax(model.parameters(), lr=1e-2),
        loss_fn=loss_fn, score=lambda out, t: float(((out > 0) == (t > 0.5)).float().mean()), epochs=9,
    )  # fmt: skip


@cases.healthy_loop("mlp")
def cancer_hinge(harness: Harness, seed: int) -> float | None:
    """A linear support vector machine: hinge loss, targets of -1 and 1, SGD with decay."""
    model = nn.Sequential(nn.Linear(30, 1), nn.Flatten(0))
    x, y, x_val, y_val = cancer()
    return fit(
        harness, model, (x, y * 2.0 - 1, x_val, y_val * 2.0 - 1),
        torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=1e-2),
        loss_fn=lambda out, t: (1 - out * t).clamp(min=0).mean(),
        score=lambda out, t: float((out.sign() == t).float().mean()), epochs=8,
    )  # fmt: skip


@cases.healthy_loop("mlp")
def cancer_self_normalising(harness: Harness, seed: int) -> float | None:
    """SELU with LeCun's initialisation and alpha dropout, SGD with momentum."""
    model = nn.Sequential(
        nn.Linear(30, 48), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(48, 48), nn.SELU(), nn.Linear(48, 2)
    )
    for m in model:
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
            nn.init.zeros_(m.bias)
    return fit(harness, model, cancer(), torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9), epochs=8)


@cases.healthy_loop("mlp")
def friedman_relu(harness: Harness, seed: int) -> float | None:
    """Regression of a target of about 14, not standardised, with NAdam; the loss begins at about 200."""
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    return fit(harness, model, friedman(), optimizer, loss_fn=nn.MSELoss(), score=r_squared, epochs=9, metric="r2")


@cases.healthy_loop("mlp")
def friedman_absolute(harness: Harness, seed: int) -> float | None:
    """The same by absolute error, batches of 64, with a plateau of the error as the reported metric."""
    model = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, 1))
    nn.init.constant_(model[-1].bias, 14.0)
    return fit(
        harness, model, friedman(), torch.optim.Adam(model.parameters(), lr=1e-2), loss_fn=nn.L1Loss(),
        score=lambda out, t: float((out - t).abs().mean()), epochs=10, size=64, metric="mae",
    )  # fmt: skip


@cases.healthy_loop("mlp")
def friedman_gaussian(harness: Harness, seed: int) -> float | None:
    """Mean and variance are learned by the Gaussian likelihood; the loss may fall below zero."""
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 2))
    x, y, x_val, y_val = friedman()
    centre, spread = y.mean(), y.std()

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.gaussian_nll_loss(out[:, :1], t, F.softplus(out[:, 1:]) + 1e-3)

    return fit(
        harness, model, (x, (y - centre) / spread, x_val, (y_val - centre) / spread),
        torch.optim.Adam(model.parameters(), lr=8e-3), loss_fn=loss_fn,
        score=lambda out, t: r_squared(out[:, :1], t), epochs=9, metric="r2",
    )  # fmt: skip


@cases.healthy_loop("mlp")
def friedman_quantiles(harness: Harness, seed: int) -> float | None:
    """Three quantiles by the pinball loss."""
    model = nn.Sequential(nn.Linear(10, 48), nn.Softplus(), nn.Linear(48, 3))
    levels = torch.tensor([0.1, 0.5, 0.9])
    x, y, x_val, y_val = friedman()

    def pinball(out: Tensor, t: Tensor) -> Tensor:
        return torch.max(levels * (t - out), (levels - 1) * (t - out)).mean()

    return fit(
        harness, model, (x, (y - 14) / 5, x_val, (y_val - 14) / 5), torch.optim.Adam(model.parameters(), lr=1e-2),
        loss_fn=pinball, score=lambda out, t: r_squared(out[:, 1:2], t), epochs=8, metric="r2",
    )  # fmt: skip


@cases.healthy_loop("mlp")
def counts_poisson(harness: Harness, seed: int) -> float | None:
    """Counts by the Poisson likelihood, whose value has no meaning by itself."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(900, 6)).astype(np.float32)
    y = draw.poisson(np.exp(0.8 * x[:, 0] - 0.5 * x[:, 1] + 0.7)).astype(np.float32)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    return fit(
        harness, model, split(torch.tensor(x), torch.tensor(y), 200), torch.optim.Adam(model.parameters(), lr=5e-3),
        loss_fn=nn.PoissonNLLLoss(), score=lambda out, t: r_squared(out.exp(), t), epochs=8, metric="r2",
    )  # fmt: skip


@cases.healthy_loop("mlp")
def moons_deep_tanh(harness: Harness, seed: int) -> float | None:
    """Five hidden layers of tanh with Xavier's initialisation, Rprop-like RAdam."""
    layers: list[nn.Module] = []
    for i in range(5):
        layer = nn.Linear(32 if i else 2, 32)
        nn.init.xavier_uniform_(layer.weight, gain=5 / 3)
        layers += [layer, nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(32, 2))
    return fit(harness, model, moons(), torch.optim.RAdam(model.parameters(), lr=6e-3), epochs=8)


@cases.healthy_loop("mlp")
def moons_wide_full_batch(harness: Harness, seed: int) -> float | None:
    """The whole set in each batch, a wide layer, SGD with momentum."""
    model = nn.Sequential(nn.Linear(2, 256), nn.ReLU(), nn.Linear(256, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    return fit(harness, model, moons(), optimizer, epochs=80, size=800)


@cases.healthy_loop("mlp")
def moons_overlapping(harness: Harness, seed: int) -> float | None:
    """Classes that overlap so much that 0.8 is the best there is."""
    model = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(), nn.Linear(32, 2))
    return fit(harness, model, moons(0.55), torch.optim.Adam(model.parameters(), lr=5e-3), epochs=6)


@cases.healthy_loop("mlp")
def iris_adadelta(harness: Harness, seed: int) -> float | None:
    """Three flowers, batches of 16, Adadelta at its rate of 1."""
    x, y = load_iris(return_X_y=True)
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3))
    return fit(
        harness, model, split(x, torch.tensor(y), 30), torch.optim.Adadelta(model.parameters(), lr=1.0), epochs=20,
        size=16,
    )  # fmt: skip


@cases.healthy_loop("mlp")
def rare_class_focal(harness: Harness, seed: int) -> float | None:
    """One in eight samples is positive; a focal loss on one logit."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(1200, 12, generator=draw)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 1.55).float()
    model = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1), nn.Flatten(0))

    def focal(out: Tensor, t: Tensor) -> Tensor:
        p = torch.where(t > 0.5, out.sigmoid(), 1 - out.sigmoid())
        return (-((1 - p) ** 2) * p.clamp(min=1e-6).log()).mean()

    return fit(
        harness, model, split(x, y, 300), torch.optim.Adam(model.parameters(), lr=5e-3), loss_fn=focal,
        score=lambda out, t: float(((out > 0) == (t > 0.5)).float().mean()), epochs=7,
    )  # fmt: skip


@cases.healthy_loop("mlp")
def sharpness_aware(harness: Harness, seed: int) -> float | None:
    """SAM: two forward and backward passes per step, the second at perturbed weights."""
    x, y, x_val, y_val = cancer()
    model = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(32):
            out = model(x[rows])
            loss = F.cross_entropy(out, y[rows])
            loss.backward()
            with torch.no_grad():
                norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm() + 1e-12
                moves = [0.05 * p.grad / norm for p in model.parameters()]
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.add_(move)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.sub_(move)
            optimizer.step()
            optimizer.zero_grad()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        with torch.no_grad():
            out = model(x_val)
        value = accuracy(out, y_val)
        harness.epoch(val={"loss": float(F.cross_entropy(out, y_val)), "accuracy": value})
    return value


@cases.healthy_loop("tabular")
def mixed_table(harness: Harness, seed: int) -> float | None:
    """Numbers and categories given as two inputs, with an auxiliary loss on the embedding's size."""
    draw = torch.Generator().manual_seed(4)
    numbers, kind = torch.randn(900, 5, generator=draw), torch.randint(0, 6, (900,), generator=draw)
    y = ((numbers[:, 0] + (kind % 2) * 1.5 - 0.75) > 0).long()

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Embedding(6, 4), nn.BatchNorm1d(5)
            self.body = nn.Sequential(nn.Linear(9, 32), nn.Mish(), nn.Dropout(0.1), nn.Linear(32, 2))

        def forward(self, numbers: Tensor, kind: Tensor) -> Tensor:
            return self.body(torch.cat([self.norm(numbers), self.embed(kind)], 1))

    model = Table()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, amsgrad=True)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(6):
        model.train()
        for rows in torch.randperm(700).split(50):
            out = model(numbers[rows], kind[rows])
            loss = F.cross_entropy(out, y[rows]) + 1e-3 * model.embed.weight.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=(numbers[rows], kind[rows]), targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(numbers[700:], kind[700:])
        value = accuracy(out, y[700:])
        harness.epoch(val={"loss": float(F.cross_entropy(out, y[700:])), "accuracy": value})
    return value


@cases.healthy_loop("recommender")
def matrix_factors(harness: Harness, seed: int) -> float | None:
    """Ratings by two embeddings and biases; most rows get no gradient in a step."""
    draw = torch.Generator().manual_seed(9)
    users, items = torch.randn(120, 4, generator=draw), torch.randn(80, 4, generator=draw)
    pairs = torch.stack([torch.randint(120, (6000,), generator=draw), torch.randint(80, (6000,), generator=draw)], 1)
    rating = (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1) * 0.5 + 3 + 0.2 * torch.randn(6000, generator=draw)

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.item = nn.Embedding(120, 4), nn.Embedding(80, 4)
            self.user_bias, self.item_bias = nn.Embedding(120, 1), nn.Embedding(80, 1)
            self.mean = nn.Parameter(torch.tensor(3.0))
            for table in (self.user, self.item):
                nn.init.normal_(table.weight, std=0.3)
            for table in (self.user_bias, self.item_bias):
                nn.init.zeros_(table.weight)

        def forward(self, pair: Tensor) -> Tensor:
            u, i = pair.unbind(1)
            return (self.user(u) * self.item(i)).sum(1) + self.user_bias(u)[:, 0] + self.item_bias(i)[:, 0] + self.mean

    model = Factors()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=1e-2)
    return fit(
        harness, model, split(pairs, rating, 500), optimizer, loss_fn=nn.MSELoss(), score=r_squared, epochs=5, size=128,
        metric="r2",
    )  # fmt: skip
