"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: what the loss means.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import math

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, cancer, cut, dense, digits, explained, fit, housing
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


@cases.pair("mlp", 0.85, accepts=["softmax-before-cross-entropy"])
def softmax_before_cross_entropy(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The network ends in a softmax and CrossEntropyLoss takes another one of it."""
    model = dense(64, 48, 10)
    if wrong:
        model.append(nn.Softmax(dim=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["relu-on-logits"])
def relu_after_the_last_layer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The ReLU that follows each layer follows the last one, too: no logit can fall below zero."""
    model = dense(64, 48, 10)
    if wrong:
        model.append(nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=6)


@cases.pair("cancer", 0.88, accepts=["single-output-cross-entropy", "gradient-always-zero"])
def softmax_of_one_output(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The one output of a two-class model goes through a softmax, which makes 1 of every number."""
    model = nn.Sequential(dense(30, 16, 1), nn.Softmax(dim=1) if wrong else nn.Sigmoid(), nn.Flatten(0))

    def score(out: Tensor, y: Tensor) -> float:
        return float(((out > 0.5) == (y > 0.5)).float().mean())

    x, y, vx, vy = cancer()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = x, y.float(), vx, vy.float()
    return fit(harness, model, optimizer, F.binary_cross_entropy, split, score=score, epochs=8)


@cases.pair("mlp", 0.85, accepts=["binary-loss-of-wrong-outputs", "relu-on-logits"])
def clamped_into_probabilities(harness: Harness, seed: int, wrong: bool) -> float | None:
    """BCELoss complained of numbers outside of 0..1, so that the outputs are clamped there, which has no gradient."""

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(64, 48, 10)

        def forward(self, x: Tensor) -> Tensor:
            out = self.net(x)
            return out.clamp(0, 1) if wrong else out.sigmoid()

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.binary_cross_entropy(out, F.one_hot(t, 10).float())

    model = Judge()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, loss_fn, digits("unit", image=False), epochs=8)


@cases.pair("cancer", 0.88, accepts=["targets-ignored"])
def hinge_with_zero_and_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The hinge loss wants -1 and 1 but gets 0 and 1: the rows of class 0 train nothing."""
    model = nn.Sequential(dense(30, 16, 1), nn.Flatten(0))

    def hinge(out: Tensor, y: Tensor) -> Tensor:
        return (1 - out * y).clamp(min=0).mean()

    def score(out: Tensor, y: Tensor) -> float:
        return float(((out > 0) == (y > 0.5)).float().mean())

    x, y, vx, vy = cancer()
    signs_of = (lambda t: t.float()) if wrong else (lambda t: 2.0 * t - 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, hinge, (x, signs_of(y), vx, signs_of(vy)), score=score, epochs=8)


@cases.pair("pairs", 0.8, accepts=["targets-ignored"])
def cosine_loss_with_zero_labels(harness: Harness, seed: int, wrong: bool) -> float | None:
    """CosineEmbeddingLoss wants -1 for unlike pairs but gets 0, which it ignores: everything becomes alike."""
    x, y, vx, vy = digits("standard", image=False)

    def couples(a: Tensor, k: Tensor, count: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(43)
        first = torch.randint(0, len(a), (count,), generator=draw)
        other = torch.randint(0, len(a), (count,), generator=draw)
        for i in range(0, count, 2):
            same = (k == k[first[i]]).nonzero().flatten()
            other[i] = same[torch.randint(0, len(same), (), generator=draw)]
        alike = (k[first] == k[other]).float()
        return torch.stack([a[first], a[other]], 1), alike if wrong else 2 * alike - 1

    model = dense(64, 48, 16)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.cosine_embedding_loss(out[:, 0], out[:, 1], t, margin=0.2)

    def score(out: Tensor, t: Tensor) -> float:
        return float(((F.cosine_similarity(out[:, 0], out[:, 1]) > 0.6) == (t > 0.5)).float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    split = *couples(x, y, 1500), *couples(vx, vy, 400)
    return fit(harness, model, optimizer, loss_fn, split, score=score, epochs=8)


@cases.pair("counts", 0.5, accepts=["no-such-rule"])
def poisson_loss_of_rates(harness: Harness, seed: int, wrong: bool) -> float | None:
    """PoissonNLLLoss takes its input for the logarithm of the rate, as it does unless told, but gets the rate."""
    draw = torch.Generator().manual_seed(44)
    x = torch.randn(1000, 6, generator=draw)
    y = torch.poisson((1.2 + 0.8 * x[:, 0] - 0.6 * x[:, 1] * x[:, 2].sign()).exp(), generator=draw)
    model = nn.Sequential(dense(6, 48, 1), nn.Softplus(), nn.Flatten(0))
    loss_fn = nn.PoissonNLLLoss(log_input=wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, loss_fn, cut(x, y), score=explained, metric="r2", epochs=12)


@cases.pair("regression", 0.7, accepts=["no-such-rule"])
def sign_of_the_log_variance(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The Gaussian likelihood multiplies by the variance where it should divide: the log-variance falls for ever."""
    x, y, vx, vy = housing(900)
    model = dense(6, 48, 2)

    def nll(out: Tensor, t: Tensor) -> Tensor:
        mean, log_var = out[:, :1], out[:, 1:]
        weight = torch.exp(log_var if wrong else -log_var)
        return 0.5 * (log_var + weight * (t - mean) ** 2).mean()

    def score(out: Tensor, t: Tensor) -> float:
        return explained(out[:, :1], t)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, nll, (x, y, vx, vy), score=score, metric="r2", epochs=12)


@cases.pair("compass", 0.75, accepts=["no-such-rule"])
def degrees_as_plain_numbers(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Headings around north are regressed as degrees, where 359 and 1 are far apart: the answer is often south."""
    draw = torch.Generator().manual_seed(45)
    turn = torch.randn(1000, generator=draw) * 0.5
    t = torch.arange(12.0)
    x = torch.sin(t * 0.5 + turn[:, None]) + 0.5 * torch.randn(1000, 12, generator=draw)
    degrees = (turn * 180 / math.pi) % 360
    y = degrees[:, None] / 180 - 1 if wrong else torch.stack([turn.sin(), turn.cos()], 1)
    model = dense(12, 48, y.shape[1])

    def score(out: Tensor, target: Tensor) -> float:
        said, true = ((a[:, 0] + 1) * math.pi if wrong else torch.atan2(a[:, 0], a[:, 1]) for a in (out, target))
        return float((torch.cos(said - true) > math.cos(math.pi / 6)).float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.mse_loss, cut(x, y), score=score, epochs=12)


@cases.pair("mlp", 0.85, accepts=["weight-decay-dominates"])
def penalty_larger_than_the_loss(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The L1 penalty of all weights is added with a factor of 0.05 where 0.00005 was meant: it swallows the loss."""
    model = dense(64, 48, 10)
    factor = 0.05 if wrong else 0.00005

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(out, t) + factor * sum(p.abs().sum() for p in model.parameters())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, digits("unit", image=False), epochs=8)


@cases.pair("housing", 0.65, accepts=["broadcast-loss"])
def prices_of_another_shape(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Outputs are (N, 1), prices from the table (N,): the squared error is taken of all pairs of them."""
    x, y, vx, vy = housing(1000)
    model = dense(6, 48, 1)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return ((out if wrong else out.squeeze(1)) - t).pow(2).mean()

    def score(out: Tensor, t: Tensor) -> float:
        return explained(out.flatten(), t)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = x, y.flatten(), vx, vy.flatten()
    return fit(harness, model, optimizer, loss_fn, split, score=score, metric="r2", epochs=10)
