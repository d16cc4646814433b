"""Faulty networks and initialisation of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    convs,
    cut,
    dense,
    digits,
    fit,
    gaits,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.pair("mlp", 0.7, accepts=["batchnorm-few-samples"], number=65)
def two_per_batch_norm(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Batch norm on vectors with batches of 2."""
    model = nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("standard", False, 900), size=2 if wrong else 32, epochs=3,
        whole=True,
    )  # fmt: skip


@cases.pair("cnn", 0.85, accepts=["running-statistics-unusable", "train-eval-mismatch"], number=66)
def momentum_of_another_framework(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Batch norm's momentum is 0.001, TensorFlow's 0.999 turned round, in a run of 130 steps."""
    model = convs(norm=lambda c: nn.BatchNorm2d(c, momentum=0.001 if wrong else 0.1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("raw"), epochs=4)


@cases.pair("mlp", 0.85, accepts=["evaluation-not-deterministic"], number=64)
def functional_dropout_always_on(harness: Harness, seed: int, wrong: bool) -> float | None:
    """F.dropout without self.training."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(F.dropout(F.relu(self.one(x)), 0.5, True if wrong else self.training))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("mlp", 0.85, accepts=["dropout-drops-most"], number=63)
def keep_probability_given(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Dropout(0.95), where 0.95 is the share to keep."""
    p = 0.95 if wrong else 0.05
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(p), nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["symmetric-units"], number=38)
def every_weight_a_tenth(harness: Harness, seed: int, wrong: bool) -> float | None:
    """All weights start at 0.1."""
    model = dense(64, 48, 48, 10, act=nn.Tanh)
    if wrong:
        for p in model.parameters():
            nn.init.constant_(p, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("mlp", 0.85, accepts=["initial-weights-off-scale", "initial-loss-off"], number=37)
def normal_of_deviation_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """nn.init.normal_ at its default deviation of 1 in five layers."""
    model = dense(64, 64, 64, 64, 10)
    if wrong:
        for p in model.parameters():
            nn.init.normal_(p)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=5)


@cases.pair("mlp", 0.8, accepts=["vanishing-gradient", "signal-lost-in-depth"], number=35)
def nine_sigmoids(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Nine layers of sigmoids."""
    model = dense(64, *[40] * 9, 10, act=nn.Sigmoid if wrong else nn.SELU)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("mlp", 0.85, accepts=["same-layer-repeated"], number=42)
def layer_times_four(harness: Harness, seed: int, wrong: bool) -> float | None:
    """[nn.Linear(...)] * 4."""
    hidden = [nn.Linear(48, 48)] * 4 if wrong else [nn.Linear(48, 48) for _ in range(4)]
    layers = [m for layer in hidden for m in (layer, nn.ReLU())]
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), *layers, nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("spirals", 0.8, accepts=["linear-network"], number=59)
def activations_made_and_not_used(harness: Harness, seed: int, wrong: bool) -> float | None:
    """self.act exists and forward does not call it; two spirals."""
    draw = np.random.default_rng(16)
    t, k = draw.uniform(0.5, 3.0, 800) * 3, draw.integers(0, 2, 800)
    points = np.stack([t * np.cos(t + 3.14 * k), t * np.sin(t + 3.14 * k)], 1) / 5 + draw.normal(0, 0.02, (800, 2))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.act = nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 2), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            if wrong:
                return self.c(self.b(self.a(x)))
            return self.c(self.act(self.b(self.act(self.a(x)))))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, F.cross_entropy, cut(points, k), epochs=20)


@cases.pair(
    "mlp", 0.85, accepts=["step-function-in-forward", "layer-without-gradient", "gradient-always-zero"], number=30
)
def rounded_in_the_middle(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Features are rounded to whole numbers without a straight-through estimator."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = dense(64, 48, 8), dense(8, 32, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = 2 * self.first(x)
            return self.second(h.round() if wrong else h + (h.round() - h).detach())

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=12)


@cases.pair("cnn", 0.8, accepts=["dead-relu"], number=61)
def bias_of_minus_five(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The convolutions' biases start at -5."""
    model = convs(norm=lambda c: nn.Identity())
    if wrong:
        for m in model:
            if isinstance(m, nn.Conv2d):
                nn.init.constant_(m.bias, -5.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit"), epochs=6)


class Rhythm(nn.Module):
    """A GRU over gaits."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 32, batch_first=batch_first), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 3) -> (N, 4)."""
        return self.head(self.rnn(x)[0].mean(1))


@cases.pair("gru", 0.75, accepts=["samples-mixed"], number=76)
def batch_taken_for_time(harness: Harness, seed: int, wrong: bool) -> float | None:
    """batch_first was forgotten: the GRU runs along the batch."""
    model = Rhythm(not wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, F.cross_entropy, gaits(), epochs=10)
