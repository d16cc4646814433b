"""Targets and losses of many kinds, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import (
    SecondCases,
    binary_accuracy,
    cut,
    dense,
    diabetes,
    digits,
    explained,
    fit,
    housing,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def claims() -> tuple[Tensor, ...]:
    """Four features and a target that is 0 in most rows and skewed in the others."""
    draw = np.random.default_rng(51)
    x = draw.normal(size=(1200, 4))
    rate = np.exp(0.2 + 0.7 * x[:, 0] - 0.5 * x[:, 1])
    count = draw.poisson(rate * draw.gamma(2.0, 0.5, 1200))
    return cut(x, count.astype(np.float64)[:, None])


@cases.recipe("count", 0.2)
def counts_with_excess_spread(harness: Harness, seed: int) -> float:
    """Negative binomial likelihood with a learned dispersion; explained variance of the mean (noise is large)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.log_r = dense(4, 24, 1), nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).clamp(-6, 6)

    model = Net()

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        r, mean = model.log_r.exp(), out.exp()
        log_p = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
        return -(log_p + r * (r / (r + mean)).log() + y * (mean / (r + mean)).log()).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, loss_fn, claims(), epochs=10, score=lambda o, t: explained(o.exp(), t),
               metric=None)  # type: ignore[arg-type]  # fmt: skip


@cases.recipe("count", 0.2)
def claims_by_tweedie(harness: Harness, seed: int) -> float:
    """Tweedie deviance of power 1.5 with a log link; targets are nought in a third of rows."""

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return (2 * y * (-0.5 * out).exp() + 2 * (0.5 * out).exp()).mean()

    model = dense(4, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, loss_fn, claims(), epochs=10, score=lambda o, t: explained(o.exp(), t),
               metric=None)  # type: ignore[arg-type]  # fmt: skip


@cases.recipe("survival", 0.65)
def times_with_some_cut_short(harness: Harness, seed: int) -> float:
    """Weibull times, a third censored, a learned shape; targets are pairs (time, seen). Scored by concordance."""
    draw = np.random.default_rng(53)
    x = draw.normal(size=(700, 5))
    time = np.exp(1 + 0.8 * x[:, 0] - 0.6 * x[:, 1] * (x[:, 2] > 0)) * draw.weibull(1.5, 700)
    stop = draw.exponential(6.0, 700)
    split = cut(x, np.stack([np.minimum(time, stop) + 1e-3, (time <= stop).astype(float)], 1))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.log_k = dense(5, 32, 1), nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).squeeze(1)

    model = Net()

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        k, log_t = model.log_k.exp(), y[:, 0].log()
        z = k * (log_t - out)
        return (z.exp() - y[:, 1] * (model.log_k + z - log_t)).mean()

    def concordance(out: Tensor, y: Tensor) -> float:
        known = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
        return float((out[:, None] < out[None, :])[known].float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, loss_fn, split, epochs=10, score=concordance, metric="concordance")  # type: ignore[arg-type]


@cases.recipe("survival", 0.65)
def hazard_of_each_interval(harness: Harness, seed: int) -> float:
    """Discrete survival: eight interval hazards, those after the end are masked. Scored by concordance of sums."""
    draw = np.random.default_rng(59)
    x = draw.normal(size=(700, 4))
    time = np.exp(0.7 * x[:, 0] - 0.7 * x[:, 1]) * draw.exponential(3.0, 700)
    stop = draw.uniform(1, 8, 700)
    split = cut(x, np.stack([np.minimum(np.minimum(time, stop), 7.99), (time <= np.minimum(stop, 7.99)) * 1.0], 1))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        at = y[:, :1].long()
        lived = (torch.arange(8) < at).float()
        here = (torch.arange(8) == at).float() * y[:, 1:]
        return F.binary_cross_entropy_with_logits(out, here, lived + here, reduction="sum") / len(y)

    def concordance(out: Tensor, y: Tensor) -> float:
        risk = out.sigmoid().sum(1)
        known = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
        return float((risk[:, None] > risk[None, :])[known].float().mean())

    model = dense(4, 32, 8)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, split, epochs=10, score=concordance, metric="concordance")


@cases.recipe("quantile", 0.7)
def any_quantile_asked_for(harness: Harness, seed: int) -> float:
    """The level is drawn per row and given as an input (implicit quantiles); how right are median and 80 % band?"""
    x, y, vx, vy = housing()
    model = dense(7, 48, 48, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def asked(x: Tensor, level: Tensor) -> Tensor:
        return model(torch.cat([x, 4 * level - 2], 1))

    def compute(i: int) -> dict[str, Tensor]:
        at, level = rows(x, 64), torch.rand(64, 1)
        out = asked(x[at], level)
        rest = y[at] - out
        loss = torch.maximum(level * rest, (level - 1) * rest).mean()
        return {"loss": loss, "inputs": x[at], "targets": y[at], "outputs": out}

    iterate(harness, model, optimizer, compute, 300)
    with torch.no_grad():
        low, middle, high = (asked(vx, torch.full((len(vx), 1), q)) for q in (0.1, 0.5, 0.9))
    covered = float(((vy > low) & (vy < high)).float().mean())
    return min(explained(middle, vy), 1 - abs(covered - 0.8))


@cases.recipe("ordinal", 0.4)
def distances_between_distributions(harness: Harness, seed: int) -> float:
    """Sugar in ten ordered bins by squared earth mover's distance of cumulated softmaxes; explained by the mean bin."""
    x, y, vx, vy = diabetes()
    bins = torch.linspace(-1.3, 1.8, 9)
    split = x, torch.bucketize(y[:, 0], bins), vx, torch.bucketize(vy[:, 0], bins)

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return (out.softmax(1).cumsum(1) - F.one_hot(y, 10).cumsum(1)).square().sum(1).mean()

    def score(out: Tensor, y: Tensor) -> float:
        return explained((out.softmax(1) * torch.arange(10)).sum(1), y.float())

    model = dense(10, 32, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-3)
    return fit(harness, model, optimizer, loss_fn, split, epochs=10, score=score, metric=None)


@cases.recipe("multilabel", 0.8)
def three_questions_per_digit(harness: Harness, seed: int) -> float:
    """Is it odd, above four, a prime? Multi-label soft margin; the mean accuracy of the three answers."""
    x, y, vx, vy = digits("unit", image=False)

    def asked(y: Tensor) -> Tensor:
        return torch.stack([y % 2 == 1, y > 4, torch.isin(y, torch.tensor([2, 3, 5, 7]))], 1).float()

    model = dense(64, 64, 3)
    optimizer = torch.optim.NAdam(model.parameters(), lr=4e-3)
    split = x, asked(y), vx, asked(vy)
    return fit(harness, model, optimizer, nn.MultiLabelSoftMarginLoss(), split, epochs=8, score=binary_accuracy)


@cases.recipe("evidence", 0.85)
def evidence_for_each_class(harness: Harness, seed: int) -> float:
    """Evidential learning: outputs are Dirichlet counts by softplus; the divergence term is ramped in."""
    model = dense(64, 64, 10).append(nn.Softplus())
    seen = [0]

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        alpha, hot = out + 1, F.one_hot(y, 10).float()
        total = alpha.sum(1, keepdim=True)
        p = alpha / total
        fit_ = ((hot - p) ** 2 + p * (1 - p) / (total + 1)).sum(1)
        rest = hot + (1 - hot) * alpha
        flat = torch.distributions.Dirichlet(torch.ones_like(rest))
        return (fit_ + 0.05 * min(1, seen[0] / 200) * torch.distributions.kl_divergence(
            torch.distributions.Dirichlet(rest), flat)).mean()  # fmt: skip

    def count() -> None:
        seen[0] += 1

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, digits("unit", image=False), epochs=8, after=count)


@cases.recipe("tree", 0.85)
def leaves_of_a_soft_tree(harness: Harness, seed: int) -> float:
    """A soft decision tree of depth 4: sigmoid gates route to 16 leaves' class distributions; NLL of the mixture."""

    class Tree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gates, self.leaves = nn.Linear(64, 15), nn.Parameter(0.1 * torch.randn(16, 10))

        def forward(self, x: Tensor) -> Tensor:
            right, reach = self.gates(x).sigmoid(), torch.ones(len(x), 1)
            for depth in range(4):
                g = right[:, 2**depth - 1 : 2 ** (depth + 1) - 1]
                reach = torch.stack([reach * (1 - g), reach * g], 2).flatten(1)
            return (reach @ self.leaves.softmax(1)).clamp(min=1e-9).log()

    model = Tree()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    return fit(harness, model, optimizer, F.nll_loss, digits("standard", image=False), epochs=9)
