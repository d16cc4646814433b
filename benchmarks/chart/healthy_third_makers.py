"""Models that make data, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import math
from collections.abc import Callable

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, dense, digits, fit
from sklearn.datasets import make_circles, make_moons, make_swiss_roll
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def pixels() -> tuple[Tensor, Tensor]:
    """Digits as (N, 64) in 0..1, for training and held out."""
    x, _, vx, _ = digits("unit", image=False)
    return x, vx


def cloud(kind: str = "moons") -> Tensor:
    """Points (1500, 2), standardised."""
    make = {
        "moons": lambda: make_moons(1500, noise=0.06, random_state=0)[0],
        "circles": lambda: make_circles(1500, noise=0.05, factor=0.5, random_state=0)[0],
        "roll": lambda: make_swiss_roll(1500, noise=0.3, random_state=0)[0][:, [0, 2]],
    }[kind]
    x = torch.tensor(make(), dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Energy distance of two clouds, 0 where alike."""
    return 2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()


def likeness(made: Tensor, real: Tensor) -> float:
    """1 where the clouds are alike, 0 where the made one is no better than a normal distribution."""
    normal = distance(torch.randn(600, 2, generator=torch.Generator().manual_seed(2)), real)
    return float(1 - distance(made.detach(), real) / normal)


class Variational(nn.Module):
    """Two means of 8 numbers; gives pixel logits and the divergence per row."""

    def __init__(self, extra: int = 0) -> None:
        super().__init__()
        self.into, self.out = dense(64 + extra, 96, 16), dense(8 + extra, 96, 64)

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows and, where there are, conditions."""
        with_c: Callable[[Tensor], Tensor] = lambda a: a if c is None else torch.cat([a, c], 1)  # noqa: E731
        mean, log_var = self.into(with_c(x)).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.out(with_c(z)), 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


@cases.recipe("vae", 0.2)
def summed_bits_and_divergence(harness: Harness, seed: int) -> float:
    """The classic script: binary cross-entropy summed over pixels and batch, plus the divergence; loss in hundreds."""
    x, vx = pixels()
    model = Variational()

    def loss_fn(out: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out[0], x, reduction="sum") + out[1].sum()

    def score(out: tuple[Tensor, Tensor], x: Tensor) -> float:
        return float(1 - (out[0].sigmoid() - x).square().mean() / (x - x.mean(0)).square().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, (x, x, vx, vx), epochs=11, size=64, score=score, metric=None)


@cases.recipe("vae", 0.35)
def told_which_digit(harness: Harness, seed: int) -> float:
    """A conditional variational autoencoder, squared error times 20, divergence weighted 0.5."""
    x, y, vx, vy = digits("unit", image=False)
    model = Variational(extra=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def parts(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out, divergence = model(x, F.one_hot(y, 10).float())
        return out.sigmoid(), (out.sigmoid() - x).square().sum(1), divergence

    def compute(i: int) -> dict[str, Tensor]:
        at = rows(x, 50)
        out, error, divergence = parts(x[at], y[at])
        return {"loss": (20 * error + 0.5 * divergence).mean(), "inputs": x[at], "targets": x[at], "outputs": out}

    iterate(harness, model, optimizer, compute, 220)
    with torch.no_grad():
        return float(1 - parts(vx, vy)[1].mean() / (vx - vx.mean(0)).square().sum(1).mean())


@cases.recipe("made", 0.1)
def pixels_after_pixels(harness: Harness, seed: int) -> float:
    """MADE: a masked autoencoder foretells each binary pixel from those before it; gain over independent pixels."""
    x, vx = ((a > 0.5).float() for a in pixels())
    first, second = torch.arange(1, 65), torch.arange(192) % 63 + 1

    class Masked(nn.Linear):
        def __init__(self, mask: Tensor) -> None:
            super().__init__(mask.shape[1], mask.shape[0])
            self.register_buffer("mask", mask.float())

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight * self.mask, self.bias)

    model = nn.Sequential(Masked(second[:, None] >= first), nn.ReLU(), Masked(first[:, None] > second))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    base = x.mean(0).clamp(0.01, 0.99)
    alone = F.binary_cross_entropy(base.expand_as(vx), vx)

    def gain(out: Tensor, y: Tensor) -> float:
        return float(1 - F.binary_cross_entropy_with_logits(out, y) / alone)

    loss_fn = nn.BCEWithLogitsLoss()
    return fit(harness, model, optimizer, loss_fn, (x, x, vx, vx), epochs=10, score=gain, metric=None)


@cases.recipe("pixelcnn", 0.1)
def pixels_by_masked_convolutions(harness: Harness, seed: int) -> float:
    """PixelCNN: masked convolutions foretell each pixel's level of 4; the gain in nats over levels' frequencies."""
    x, _, vx, _ = digits("unit", count=1000)
    y, vy = ((a[:, 0] * 3.99).long() for a in (x, vx))

    class Masked(nn.Conv2d):
        def __init__(self, into: int, out: int, size: int, own: bool) -> None:
            super().__init__(into, out, size, padding=size // 2)
            mask = torch.ones(size, size)
            mask[size // 2, size // 2 + own :] = 0
            mask[size // 2 + 1 :] = 0
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    model = nn.Sequential(
        Masked(1, 24, 5, False), nn.ReLU(), Masked(24, 24, 3, True), nn.ReLU(), Masked(24, 4, 1, True)
    )
    frequency = torch.bincount(y.flatten()) / y.numel()
    alone = -(frequency * frequency.log()).sum()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=6,
        score=lambda o, t: float(1 - F.cross_entropy(o, t) / alone), metric=None,
    )  # fmt: skip


@cases.recipe("mixture", 0.3)
def mixture_by_gradient(harness: Harness, seed: int) -> float:
    """Twelve normal distributions fitted by gradient, all parameters in one bare module; gain in nats over one."""
    real = cloud("circles")

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.log_scale = nn.Parameter(torch.zeros(12)), nn.Parameter(torch.zeros(12, 2))
            self.middle = nn.Parameter(real[:12].clone())

        def forward(self, x: Tensor) -> Tensor:
            z = (x[:, None] - self.middle) / self.log_scale.exp()
            one = -0.5 * (z**2).sum(-1) - self.log_scale.sum(-1) - math.log(2 * math.pi)
            return torch.logsumexp(one + self.weight.log_softmax(0), 1)

    model = Mixture()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    iterate(harness, model, optimizer, lambda i: -model(real[:1200]).mean(), 150)
    return float(model(real[1200:]).mean() + math.log(2 * math.pi) + 1)


@cases.recipe("generator", 0.3)
def moments_are_matched(harness: Harness, seed: int) -> float:
    """A generator without a judge: the kernel distance (MMD) of a made batch and a real one."""
    real = cloud("moons")
    maker = dense(2, 64, 64, 2)
    optimizer = torch.optim.Adam(maker.parameters(), lr=3e-3)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        d = torch.cdist(a, b) ** 2
        return sum((-d / (2 * s**2)).exp().mean() for s in (0.1, 0.3, 1.0))  # type: ignore[return-value]

    def compute(i: int) -> Tensor:
        a, b = maker(torch.randn(128, 2)), real[rows(real, 128)]
        return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)

    iterate(harness, maker, optimizer, compute, 300)
    return likeness(maker(torch.randn(500, 2)), real)


@cases.recipe("autoencoder", 0.6)
def few_units_speak(harness: Harness, seed: int) -> float:
    """A sparse autoencoder with an L1 penalty: most of 128 hidden units are silent by intent, columns normalised."""
    x, vx = pixels()

    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(64, 128), nn.Linear(128, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = F.relu(self.into(x))
            return self.out(h), h

    model = Sparse()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def loss_fn(out: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        return (out[0] - x).square().sum(1).mean() + 0.03 * out[1].sum(1).mean()

    def normalise() -> None:
        with torch.no_grad():
            model.out.weight.div_(model.out.weight.norm(dim=0, keepdim=True))

    def score(out: tuple[Tensor, Tensor], x: Tensor) -> float:
        return float(1 - (out[0] - x).square().mean() / (x - x.mean(0)).square().mean())

    return fit(harness, model, optimizer, loss_fn, (x, x, vx, vx), epochs=10, score=score, metric=None, after=normalise)
