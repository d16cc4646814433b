"""Things that make samples, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, dense, digits, explained
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def ring(count: int = 1200) -> Tensor:
    """Points (N, 2) on a noisy ring, about standardised."""
    draw = torch.Generator().manual_seed(count)
    angle = 2 * torch.pi * torch.rand(count, generator=draw)
    return 1.4 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(count, 2, generator=draw)


def moons(count: int = 1200) -> Tensor:
    """Points (N, 2) of two half circles, standardised."""
    x = make_moons(count, noise=0.06, random_state=6)[0]
    return torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)


def closeness(made: Tensor, real: Tensor) -> float:
    """1 - Chamfer distance over that of a normal cloud: 1 where alike, 0 where no better than normal."""

    def chamfer(a: Tensor, b: Tensor) -> Tensor:
        gaps = torch.cdist(a, b)
        return gaps.min(0).values.mean() + gaps.min(1).values.mean()

    normal = torch.randn(made.shape) * real.std(0) + real.mean(0)
    return float(1 - chamfer(made.detach(), real) / chamfer(normal, real))


def flat() -> tuple[Tensor, Tensor]:
    """Digits (N, 64) in 0..1, for training and held out."""
    x, _, vx, _ = digits(image=False)
    return x, vx


@cases.recipe("gan", 0.6)
def convolutional_adversaries(harness: Harness, seed: int) -> float:
    """DCGAN of noughts: N(0, 0.05) weights, batch norm in the maker, real and fake apart, beta1 of 0.5."""
    x, y, vx, vy = digits("signed")
    x, vx = x[y == 0], vx[vy == 0]
    maker = nn.Sequential(
        nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 32, 4, 1, 0, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(nn.Conv2d(1, 24, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(24, 1, 4), nn.Flatten(0))
    for m in [*maker, *judge]:
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(m.weight, 0, 0.05)
    opt_d = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(maker.parameters(), lr=2e-3, betas=(0.5, 0.999))
    criterion, one, zero = nn.BCEWithLogitsLoss(), torch.ones(32), torch.zeros(32)
    harness.begin([maker, judge], [opt_g, opt_d])
    for i in range(250):
        (real,) = some(32, x)
        fake = maker(torch.randn(32, 16))
        judge.zero_grad()
        d_real, d_fake = criterion(judge(real), one), criterion(judge(fake.detach()), zero)
        d_real.backward()
        d_fake.backward()
        opt_d.step()
        maker.zero_grad()
        g = criterion(judge(fake), one)
        g.backward()
        opt_g.step()
        harness.step(loss=g.item() + d_real.item() + d_fake.item())
        if i % 50 == 49:
            harness.epoch(train={"loss": g.item(), "d_loss": d_real.item() + d_fake.item()})
    with torch.no_grad():
        made = maker(torch.randn(400, 16))
    return float(1 - (made.mean(0) - vx.mean(0)).norm() / vx.mean(0).norm())


@cases.recipe("gan", 0.3)
def zero_centred_penalty(harness: Harness, seed: int) -> float:
    """Non-saturating loss with R1 every step, an average of the maker's weights is judged; points on a ring."""
    x = ring()
    maker, judge = dense(4, 64, 64, 2, act=nn.LeakyReLU), dense(2, 64, 64, 1, act=nn.LeakyReLU)
    mean = copy.deepcopy(maker).requires_grad_(False)
    opt_g = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.0, 0.99))
    opt_d = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.0, 0.99))
    harness.begin(nn.ModuleDict({"g": maker, "d": judge}), [opt_g, opt_d])
    for _ in range(400):
        (real,) = some(128, x)
        real.requires_grad_(True)
        out = judge(real)
        (slope,) = torch.autograd.grad(out.sum(), real, create_graph=True)
        loss_d = F.softplus(-out).mean() + F.softplus(judge(maker(torch.randn(128, 4)).detach())).mean()
        opt_d.zero_grad()
        (loss_d + 0.1 * slope.square().sum(1).mean()).backward()
        opt_d.step()
        loss_g = F.softplus(-judge(maker(torch.randn(128, 4)))).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        with torch.no_grad():
            for p, q in zip(mean.parameters(), maker.parameters(), strict=True):
                p.lerp_(q, 0.02)
        harness.step(loss=loss_g)
    return closeness(mean(torch.randn(800, 4)), x[:800])


@cases.recipe("gan", 0.3)
def adversarial_codes(harness: Harness, seed: int) -> float:
    """Adversarial autoencoder: reconstruction, then a judge pushes the codes to a normal: three optimizers."""
    x, vx = flat()
    enc, dec, judge = dense(64, 64, 6), dense(6, 64, 64).append(nn.Sigmoid()), dense(6, 48, 1)
    opt_r = torch.optim.Adam([*enc.parameters(), *dec.parameters()], lr=2e-3)
    opt_d = torch.optim.Adam(judge.parameters(), lr=1e-3)
    opt_e = torch.optim.Adam(enc.parameters(), lr=5e-4)
    harness.begin([enc, dec, judge], [opt_r, opt_d, opt_e])
    for _ in range(350):
        (a,) = some(64, x)
        rebuilt = F.mse_loss(dec(enc(a)), a)
        opt_r.zero_grad()
        rebuilt.backward()
        opt_r.step()
        told = F.softplus(-judge(torch.randn(64, 6))).mean() + F.softplus(judge(enc(a).detach())).mean()
        opt_d.zero_grad()
        told.backward()
        opt_d.step()
        fooled = F.softplus(-judge(enc(a))).mean()
        opt_e.zero_grad()
        fooled.backward()
        opt_e.step()
        harness.step(loss=rebuilt, inputs=a, targets=a)
    return explained(dec(enc(vx)).detach(), vx)


@cases.recipe("gan", 0.4)
def there_and_back_again(harness: Harness, seed: int) -> float:
    """CycleGAN of point clouds: moons to a ring and back, least-squares adversaries, cycle loss times 5; 4 networks."""
    a, b = moons(), ring()
    to_b, to_a = dense(2, 64, 64, 2), dense(2, 64, 64, 2)
    judge_a, judge_b = dense(2, 64, 64, 1, act=nn.LeakyReLU), dense(2, 64, 64, 1, act=nn.LeakyReLU)
    opt_g = torch.optim.Adam([*to_b.parameters(), *to_a.parameters()], lr=1e-3, betas=(0.5, 0.99))
    opt_d = torch.optim.Adam([*judge_a.parameters(), *judge_b.parameters()], lr=2e-3, betas=(0.5, 0.99))
    harness.begin([to_b, to_a, judge_a, judge_b], [opt_g, opt_d])
    for _ in range(300):
        (xa,), (xb,) = some(64, a), some(64, b)
        fb, fa = to_b(xa), to_a(xb)
        cycle = F.l1_loss(to_a(fb), xa) + F.l1_loss(to_b(fa), xb)
        loss_g = (judge_b(fb) - 1).square().mean() + (judge_a(fa) - 1).square().mean() + 3 * cycle
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        loss_d = sum(
            (judge(real) - 1).square().mean() + judge(fake.detach()).square().mean()
            for judge, real, fake in ((judge_a, xa, fa), (judge_b, xb, fb))
        )
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        harness.step(loss=loss_g)
    with torch.no_grad():
        return float(1 - F.l1_loss(to_a(to_b(a)), a) / a.abs().mean()) * (closeness(to_b(a[:800]), b[:800]) > 0)


@cases.recipe("vae", 0.4)
def discrete_codes_by_gumbel(harness: Harness, seed: int) -> float:
    """A categorical VAE: 12 variables of 8 values by Gumbel softmax, temperature from 1 to 0.4, bits summed."""
    x, vx = flat()
    enc, dec = dense(64, 96, 96), dense(96, 96, 64)
    model = nn.ModuleDict({"enc": enc, "dec": dec})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        (a,) = some(64, x)
        logits = enc(a).view(-1, 12, 8)
        z = F.gumbel_softmax(logits, tau=max(0.4, float(np.exp(-0.004 * i))))
        bits = F.binary_cross_entropy_with_logits(dec(z.flatten(1)), a, reduction="none").sum(1)
        kl = (logits.softmax(2) * (logits.log_softmax(2) + float(np.log(8)))).sum((1, 2))
        return {"loss": (bits + 0.2 * kl).mean(), "inputs": a}

    march(harness, model, optimizer, compute, 400)
    hard = F.one_hot(enc(vx).view(-1, 12, 8).argmax(2), 8).float()
    return explained(dec(hard.flatten(1)).sigmoid().detach(), vx)


@cases.recipe("vae", 0.35)
def importance_weighted_bound(harness: Harness, seed: int) -> float:
    """IWAE: logsumexp over five samples, a Gaussian decoder with a learned deviation; the bound passes through 0."""
    x, vx = flat()
    enc, dec = dense(64, 96, 16, act=nn.Tanh), dense(8, 96, 64, act=nn.Tanh)

    class Bound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc, self.dec, self.log_std = enc, dec, nn.Parameter(torch.tensor(-1.0))

    model = Bound()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    normal = torch.distributions.Normal

    def compute(i: int) -> Tensor:
        (a,) = some(50, x)
        mean, log_var = enc(a).chunk(2, 1)
        q = normal(mean, (log_var / 2).exp())
        z = q.rsample((5,))
        w = normal(dec(z), model.log_std.exp()).log_prob(a).sum(2) + (normal(0, 1).log_prob(z) - q.log_prob(z)).sum(2)
        return -(w.logsumexp(0) - float(np.log(5))).mean()

    march(harness, model, optimizer, compute, 350)
    return explained(dec(enc(vx)[:, :8]).detach(), vx)


@cases.recipe("autoencoder", 0.5)
def codes_matched_by_kernels(harness: Harness, seed: int) -> float:
    """Wasserstein autoencoder: an MMD of codes and a normal by inverse multiquadratic kernels, squared error summed."""
    x, vx = flat()
    enc, dec = dense(64, 64, 8), dense(8, 64, 64)
    model = nn.Sequential(enc, dec)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (16 / (16 + torch.cdist(a, b).square())).mean()

    def compute(i: int) -> Any:
        (a,) = some(64, x)
        z, p = enc(a), torch.randn(64, 8)
        out = dec(z)
        mmd = kernel(z, z) + kernel(p, p) - 2 * kernel(z, p)
        return {"loss": (out - a).square().sum(1).mean() + 10 * mmd, "inputs": a, "targets": a, "outputs": out}

    march(harness, model, optimizer, compute, 350)
    return explained(model(vx).detach(), vx)
