"""Rankings, densities and equations of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    cut,
    dense,
    diabetes,
    digits,
    explained,
    fit,
)
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


@cases.recipe("survival", 0.6)
def cox_partial_likelihood(harness: Harness, seed: int) -> float | None:
    """Hazards by the partial likelihood of batches sorted by time; a third is censored. Scored by concordance."""
    draw = np.random.default_rng(9)
    x = draw.normal(0, 1, (800, 6))
    time = draw.exponential(np.exp(-(x[:, 0] + 0.7 * x[:, 1] ** 2 - 0.7)))
    stop = draw.exponential(2.0, 800)
    split = cut(x, np.stack([np.minimum(time, stop), time <= stop], 1))

    def partial(risk: Tensor, y: Tensor) -> Tensor:
        order = y[:, 0].argsort(descending=True)
        risk, seen = risk[order, 0], y[order, 1]
        return -((risk - risk.logcumsumexp(0)) * seen).sum() / seen.sum().clamp(min=1)

    def concordance(risk: Tensor, y: Tensor) -> float:
        later = (y[:, None, 0] < y[None, :, 0]) & (y[:, None, 1] > 0)
        return float((risk > risk.T)[later].float().mean())

    model = dense(6, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, partial, split, size=64, score=concordance, metric="concordance")


@cases.recipe("diabetes", 0.65)
def pairs_are_ranked(harness: Harness, seed: int) -> float | None:
    """RankNet: of two patients, who is worse? The score is the share of pairs in the right order."""
    x, y, vx, vy = diabetes()

    def ranknet(out: Tensor, t: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out - out.T, ((t - t.T).sign() + 1) / 2)

    def ordered(out: Tensor, t: Tensor) -> float:
        return float(((out > out.T) == (t > t.T))[(t != t.T)].float().mean())

    model = dense(10, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, ranknet, (x, y, vx, vy), score=ordered, metric=None, epochs=12)


@cases.recipe("diabetes", 0.4)
def ordered_levels(harness: Harness, seed: int) -> float | None:
    """Four levels by three cumulative logits."""
    x, y, vx, vy = diabetes(raw=True)
    limits = torch.tensor([90.0, 140.0, 210.0])
    split = x, (y > limits).float(), vx, (vy > limits).float()
    model = dense(10, 24, 3)

    def right(out: Tensor, t: Tensor) -> float:
        return float(((out > 0).sum(1) == t.sum(1)).float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, nn.BCEWithLogitsLoss(), split, score=right, epochs=10)


@cases.recipe("mdn", 0.3)
def mixture_of_normals(harness: Harness, seed: int) -> float | None:
    """A mixture density network on an inverse problem with several answers. Scored by its gain in nats."""
    draw = np.random.default_rng(2)
    t = draw.uniform(0, 1, 1200)
    split = cut((t + 0.3 * np.sin(6.28 * t) + draw.normal(0, 0.03, 1200))[:, None] * 2 - 1, t[:, None] * 2 - 1)

    def nll(out: Tensor, y: Tensor) -> Tensor:
        share, mean, log_std = out.chunk(3, 1)
        each = torch.distributions.Normal(mean, log_std.clamp(-5, 3).exp()).log_prob(y)
        return -(share.log_softmax(1) + each).logsumexp(1).mean()

    model = dense(1, 48, 48, 15, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    return fit(
        harness, model, optimizer, nll, split, score=lambda o, y: 0.87 - float(nll(o, y)), metric=None, epochs=14
    )


class Coupling(nn.Module):
    """An affine coupling of two numbers, with the logarithm of its determinant."""

    def __init__(self, swap: bool) -> None:
        super().__init__()
        self.swap, self.net = swap, dense(1, 48, 48, 2, act=nn.Tanh)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2) -> (N, 2), (N,)."""
        a, b = z.chunk(2, 1) if not self.swap else z.chunk(2, 1)[::-1]
        scale, shift = self.net(a).chunk(2, 1)
        b = b * scale.tanh().exp() + shift
        return torch.cat([b, a] if self.swap else [a, b], 1), scale.tanh().squeeze(1)


@cases.recipe("flow", 0.3)
def couplings_on_moons(harness: Harness, seed: int) -> float | None:
    """A normalising flow; nothing but inputs are told. Scored by the gain in nats over a normal distribution."""
    x, _, vx, _ = cut(*make_moons(1200, noise=0.08, random_state=0))
    x, vx = (x - x.mean(0)) / x.std(0), (vx - x.mean(0)) / x.std(0)
    model = nn.ModuleList(Coupling(i % 2 == 0) for i in range(6))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def nll(z: Tensor) -> Tensor:
        logdet = torch.zeros(len(z))
        for layer in model:
            z, more = layer(z)
            logdet = logdet + more
        return (z.square().sum(1) / 2 + math.log(2 * math.pi) - logdet).mean()

    harness.begin(model, optimizer)
    for _ in range(16):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = nll(x[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows])
    with torch.no_grad():
        return 2.84 - float(nll(vx))


@cases.recipe("physics", 0.9)
def equation_as_the_loss(harness: Harness, seed: int) -> float | None:
    """A network that solves u'' = -u by second derivatives of its output; no data at all."""
    model = dense(1, 32, 32, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.997)
    harness.begin(model, optimizer)
    start = torch.zeros(1, 1, requires_grad=True)
    for _ in range(500):
        t = (torch.rand(64, 1) * 3).requires_grad_()
        u = model(t)
        first = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), t, create_graph=True)[0]
        at = model(start)
        slope = torch.autograd.grad(at.sum(), start, create_graph=True)[0]
        loss = (second + u).square().mean() + 5 * (at.square() + (slope - 1).square()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        harness.step(loss=loss, inputs=t)
    t = torch.linspace(0, 3, 100)[:, None]
    with torch.no_grad():
        return explained(model(t), t.sin())


class Sine(nn.Module):
    """sin(30 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return (30 * x).sin()


@cases.recipe("coordinates", 0.6)
def sines_draw_a_digit(harness: Harness, seed: int) -> float | None:
    """SIREN: the network is one image; coordinates in, grey out, full batch."""
    image = F.interpolate(digits()[0][:1], size=24, mode="bicubic")[0, 0]
    where = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij"), -1)
    where, grey = where.reshape(-1, 2), image.reshape(-1, 1)
    model = dense(2, 48, 48, 1, act=Sine)
    with torch.no_grad():
        nn.init.uniform_(model[0].weight, -1 / 2 / 3, 1 / 2 / 3)
        nn.init.uniform_(model[2].weight, -math.sqrt(6 / 48) / 30, math.sqrt(6 / 48) / 30)
        nn.init.uniform_(model[4].weight, -math.sqrt(6 / 48) / 30, math.sqrt(6 / 48) / 30)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(250):
        out = model(where)
        loss = F.mse_loss(out, grey)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=where, targets=grey, outputs=out)
    return explained(model(where).detach(), grey)


@cases.recipe("mlp", 0.85)
def self_normalising(harness: Harness, seed: int) -> float | None:
    """Eight SELU layers, LeCun initialisation, alpha dropout."""
    layers = [m for _ in range(7) for m in (nn.Linear(48, 48), nn.SELU())]
    model = nn.Sequential(nn.Linear(64, 48), nn.SELU(), *layers, nn.AlphaDropout(0.05), nn.Linear(48, 10))
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
            nn.init.zeros_(m.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=6)
