"""Energies, scores, flows and codes, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import itertools
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.healthy_fourth_makers import closeness, flat, moons, ring
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("energy", 0.3)
def restricted_machine(harness: Harness, seed: int) -> float:
    """An RBM by contrastive divergence: gradients by difference of free energies after one Gibbs step; free energies.

    The loss told is the difference of free energies, near 0 and of both signs.
    """
    x, vx = flat()
    x, vx = (x > 0.4).float(), (vx > 0.4).float()

    class Machine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(0.01 * torch.randn(64, 48))
            self.a, self.b = nn.Parameter(torch.zeros(64)), nn.Parameter(torch.zeros(48))

        def energy(self, v: Tensor) -> Tensor:
            return -v @ self.a - F.softplus(v @ self.w + self.b).sum(1)

        @torch.no_grad()
        def again(self, v: Tensor) -> Tensor:
            h = torch.bernoulli((v @ self.w + self.b).sigmoid())
            return (h @ self.w.T + self.a).sigmoid()

    model = Machine()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)

    def compute(i: int) -> Tensor:
        (v,) = some(32, x)
        return model.energy(v).mean() - model.energy(torch.bernoulli(model.again(v))).mean()

    march(harness, model, optimizer, compute, 600)
    return explained(model.again(vx), vx)


@cases.recipe("energy", 0.4)
def energies_by_langevin(harness: Harness, seed: int) -> float:
    """An energy of a ring trained on samples from a buffer by Langevin steps; energies are kept small."""
    x = ring()
    model = dense(2, 64, 64, 1, act=nn.SiLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.0, 0.999))
    buffer = torch.rand(512, 2) * 4 - 2

    def walk(v: Tensor, count: int) -> Tensor:
        for _ in range(count):
            v = v.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(model(v).sum(), v)
            v = v - 0.05 * slope.clamp(-3, 3) + 0.08 * torch.randn_like(v)
        return v.detach()

    def compute(i: int) -> Tensor:
        rows = torch.randint(512, (96,))
        start = torch.where(torch.rand(96, 1) < 0.1, torch.rand(96, 2) * 4 - 2, buffer[rows])
        buffer[rows] = walk(start, 8)
        (real,) = some(96, x)
        up, down = model(real), model(buffer[rows])
        return up.mean() - down.mean() + 0.1 * (up.square() + down.square()).mean()

    march(harness, model, optimizer, compute, 300)
    return closeness(walk(buffer, 20), x[:512])


@cases.recipe("score", 0.2)
def scores_of_many_noises(harness: Harness, seed: int) -> float:
    """Denoising score matching at eight noises, each weighed by its square; samples by annealed Langevin."""
    x = ring()
    sigmas = torch.logspace(0.2, -1.2, 8)
    model = dense(3, 96, 96, 2, act=nn.Softplus)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, 800)

    def score(v: Tensor, s: Tensor) -> Tensor:
        return model(torch.cat([v, s.log()], 1)) / s

    def compute(i: int) -> Tensor:
        (a,) = some(128, x)
        s = sigmas[torch.randint(8, (128, 1))]
        e = torch.randn(128, 2)
        return 0.5 * (score(a + s * e, s) * s + e).square().sum(1).mean()

    march(harness, model, optimizer, compute, 800, scheduler=scheduler)
    v = torch.randn(800, 2) * sigmas[0]
    with torch.no_grad():
        for s in sigmas:
            for _ in range(30):
                step = 0.15 * s**2
                v = v + step * score(v, s.expand(800, 1)) + (2 * step).sqrt() * torch.randn_like(v)
        v = v + s**2 * score(v, s.expand(800, 1))
    return closeness(v, x[:800])


@cases.recipe("flow", 0.3)
def density_by_masked_layers(harness: Harness, seed: int) -> float:
    """A masked autoregressive flow with learned permutations turned about, weight decay, the sum of log-determinants.

    Scored by the gain in nats over a normal distribution; the loss ends below that of the start.
    """
    x = moons(1600)

    class Layer(nn.Module):
        def __init__(self, turned: bool) -> None:
            super().__init__()
            self.turned = turned
            self.first, self.net = nn.Parameter(torch.zeros(2)), dense(1, 48, 48, 2, act=nn.Tanh)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            a, b = x.flip(1).split(1, 1) if self.turned else x.split(1, 1)
            shift, scale = self.net(a).chunk(2, 1)
            scale = scale.tanh() * 2
            out = torch.cat([(a - self.first[0]) * self.first[1].exp(), (b - shift) * scale.exp()], 1)
            return out, scale[:, 0] + self.first[1]

    model = nn.ModuleList(Layer(i % 2 == 1) for i in range(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-5)

    def likelihood(v: Tensor) -> Tensor:
        total: Any = 0.0
        for layer in model:
            v, log_det = layer(v)
            total = total + log_det
        return total - 0.5 * v.square().sum(1) - float(np.log(2 * np.pi))

    march(harness, model, optimizer, lambda i: -likelihood(some(200, x[:1200])[0]).mean(), 350, clip=5.0)
    with torch.no_grad():
        base = torch.distributions.MultivariateNormal(x[:1200].mean(0), torch.cov(x[:1200].T))
        return float(likelihood(x[1200:]).mean() - base.log_prob(x[1200:]).mean())


@cases.recipe("diffusion", 0.3)
def velocity_and_cosine(harness: Harness, seed: int) -> float:
    """Diffusion of a ring with v-prediction and a cosine schedule, sine features of time, DDIM of 40 steps."""
    x = ring()
    model = dense(2 + 8, 96, 96, 2, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, 800)

    def read(v: Tensor, t: Tensor) -> Tensor:
        waves = t * torch.tensor([1.0, 2, 4, 8]) * torch.pi / 2
        return model(torch.cat([v, waves.sin(), waves.cos()], 1))

    def compute(i: int) -> Tensor:
        (a,), t, e = some(160, x), torch.rand(160, 1), torch.randn(160, 2)
        c, s = (t * torch.pi / 2).cos(), (t * torch.pi / 2).sin()
        return F.mse_loss(read(c * a + s * e, t), c * e - s * a)

    march(harness, model, optimizer, compute, 800, clip=1.0, scheduler=scheduler)
    v, times = torch.randn(800, 2), torch.linspace(1, 0, 41)
    with torch.no_grad():
        for t, u in itertools.pairwise(times):
            out = read(v, t.expand(800, 1))
            c, s = (t * torch.pi / 2).cos(), (t * torch.pi / 2).sin()
            clean, noise = c * v - s * out, s * v + c * out
            v = (u * torch.pi / 2).cos() * clean + (u * torch.pi / 2).sin() * noise
    return closeness(v, x[:800])


@cases.recipe("generator", 0.4)
def distances_along_lines(harness: Harness, seed: int) -> float:
    """A generator without a judge: sliced Wasserstein distance along 50 random lines, sorted projections."""
    x = ring()
    maker = dense(3, 64, 64, 2)
    optimizer = torch.optim.Adam(maker.parameters(), lr=4e-3)

    def compute(i: int) -> Tensor:
        (a,), lines = some(256, x), F.normalize(torch.randn(2, 50), dim=0)
        made = maker(torch.randn(256, 3))
        return ((made @ lines).sort(0).values - (a @ lines).sort(0).values).square().mean()

    march(harness, maker, optimizer, compute, 400)
    return closeness(maker(torch.randn(800, 3)), x[:800])


@cases.recipe("generator", 0.6)
def a_code_for_each_image(harness: Harness, seed: int) -> float:
    """GLO: 300 digits each have a code of 10 numbers that learns beside the decoder and is put on the ball."""
    x = flat()[0][:300]
    codes, dec = nn.Embedding(300, 10), dense(10, 96, 64).append(nn.Sigmoid())
    model = nn.ModuleDict({"codes": codes, "dec": dec})
    optimizer = torch.optim.Adam(
        [{"params": codes.parameters(), "lr": 0.03}, {"params": dec.parameters(), "lr": 3e-3}]
    )  # fmt: skip

    @torch.no_grad()
    def onto_ball(i: int) -> None:
        w = codes.weight
        w.div_(w.norm(dim=1, keepdim=True).clamp(min=1))

    def compute(i: int) -> Any:
        rows = torch.randint(300, (64,))
        out = dec(codes(rows) * 3)
        return {"loss": (out - x[rows]).abs().mean(), "inputs": rows, "targets": x[rows], "outputs": out}

    march(harness, model, optimizer, compute, 500, after=onto_ball)
    return explained(dec(codes.weight * 3).detach(), x)


@cases.recipe("vae", 0.5)
def few_labels_many_images(harness: Harness, seed: int) -> float:
    """M2-like: a VAE whose label is known for 100 of 1000 digits; for others the classifier's answer is used."""
    x, y, vx, vy = digits(image=False)
    head, enc, dec = dense(64, 64, 10), dense(74, 64, 16), dense(18, 64, 64)
    model = nn.ModuleDict({"head": head, "enc": enc, "dec": dec})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def bound(a: Tensor, label: Tensor) -> Tensor:
        mean, log_var = enc(torch.cat([a, label], 1)).chunk(2, 1)
        z = mean + (log_var / 2).exp() * torch.randn_like(mean)
        bits = F.binary_cross_entropy_with_logits(dec(torch.cat([z, label], 1)), a, reduction="none").sum(1)
        return bits + 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)

    def compute(i: int) -> Tensor:
        (a, b), (u,) = some(32, x[:100], y[:100]), some(64, x[100:])
        p = head(u).softmax(1)
        entropy = -(p * (p + 1e-8).log()).sum(1)
        known = bound(a, F.one_hot(b, 10).float()).mean() + 20 * F.cross_entropy(head(a), b)
        return known + (bound(u, p) - 0.1 * entropy).mean()

    march(harness, model, optimizer, compute, 250)
    return accuracy(head(vx), vy)
