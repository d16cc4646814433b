"""Autoencoders, diffusion and adversaries of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    cut,
    dense,
    digits,
    draws,
    explained,
    fit,
)
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

cases = SecondCases("second")


@cases.recipe("autoencoder", 0.5)
def noise_is_taken_out(harness: Harness, seed: int) -> float | None:
    """Denoising autoencoder with tied weights (decoder = transpose), binary cross-entropy on grey values."""
    x, _, vx, _ = digits(image=False)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(24, 64) * 0.1)
            self.into, self.out = nn.Parameter(torch.zeros(24)), nn.Parameter(torch.zeros(64))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.linear(x, self.weight, self.into).sigmoid() * 2, self.weight.T, self.out)

    def noisy(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return (a + 0.2 * torch.randn_like(a)).clamp(0, 1), t

    model = Tied()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(
        harness, model, optimizer, F.binary_cross_entropy_with_logits, (x, x, vx, vx), before=noisy,
        score=lambda o, t: explained(o.sigmoid(), t), metric="r2",
    )  # fmt: skip


@cases.recipe("vae", 0.35)
def kl_is_annealed(harness: Harness, seed: int) -> float | None:
    """VAE with Gaussian likelihood summed over pixels, KL weight from 0 to 1 in three epochs, free bits."""
    x, _, vx, _ = digits(image=False)
    encoder, decoder = dense(64, 64, 12, act=nn.Tanh), dense(6, 64, 64, act=nn.Tanh)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    harness.begin([encoder, decoder], optimizer)
    count = 0
    for _ in range(8):
        for a, _ in draws(x, x):
            mean, log_var = encoder(a).chunk(2, 1)
            made = decoder(mean + (log_var / 2).exp() * torch.randn_like(mean))
            kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0).clamp(min=0.05).sum()
            loss = 20 * (made - a).square().sum(1).mean() + min(1.0, count / 100) * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += 1
            harness.step(loss=loss, inputs=a, targets=a, outputs=made)
    with torch.no_grad():
        return explained(decoder(encoder(vx)[:, :6]), vx)


@cases.recipe("vqvae", 0.4)
def codes_from_a_book(harness: Harness, seed: int) -> float | None:
    """VQ-VAE: straight-through nearest codes, commitment loss, the book learned by gradient."""
    x, _, vx, _ = digits("standard", image=False)

    class Book(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = dense(64, 64, 32), dense(32, 64, 64)
            self.codes = nn.Parameter(torch.randn(24, 4) * 0.3)
            self.extra = torch.zeros(())

        def forward(self, x: Tensor) -> Tensor:
            h = self.encoder(x).view(-1, 8, 4)
            near = self.codes[torch.cdist(h.reshape(-1, 4), self.codes).argmin(1)].view_as(h)
            self.extra = F.mse_loss(near, h.detach()) + 0.25 * F.mse_loss(h, near.detach())
            return self.decoder((h + (near - h).detach()).flatten(1))

    model = Book()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, lambda o, t: F.mse_loss(o, t) + model.extra, (x, x, vx, vx), score=explained,
        metric=None, epochs=8,
    )  # fmt: skip


@cases.recipe("ddpm", 0.3)
def noise_is_foretold(harness: Harness, seed: int) -> float | None:
    """Diffusion on two moons: eps-prediction with a time embedding, EMA of the weights is what is scored."""
    x, _, vx, _ = cut(*make_moons(1600, noise=0.05, random_state=1))
    x, vx = (x - x.mean(0)) / x.std(0), (vx - x.mean(0)) / x.std(0)
    keep = torch.cumprod(1 - torch.linspace(1e-3, 0.12, 50), 0)

    class Eps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time, self.net = nn.Embedding(50, 16), dense(18, 64, 64, 2, act=nn.SiLU)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.net(torch.cat([x, self.time(t)], 1))

    model = Eps()
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)

    def spoil(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t, eps = torch.randint(0, 50, (len(a),)), torch.randn_like(a)
        return keep[t, None].sqrt() * a + (1 - keep[t, None]).sqrt() * eps, t, eps

    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            noisy, t, eps = spoil(x[rows])
            out = model(noisy, t)
            loss = F.mse_loss(out, eps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(model.parameters(), average.parameters(), strict=True):
                    q.lerp_(p, 0.02)
            harness.step(loss=loss.item(), inputs=noisy, targets=eps, outputs=out)
    noisy, t, eps = spoil(vx.repeat(4, 1))
    with torch.no_grad():
        return explained(average(noisy, t), eps)


@cases.recipe("flowmatch", 0.3)
def velocity_is_matched(harness: Harness, seed: int) -> float | None:
    """Flow matching on digits' first 8 principal axes, conditional on the class which is dropped now and then."""
    x, y, vx, vy = digits("standard", image=False)
    axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:8]
    z, vz = (x - x.mean(0)) @ axes.T / 2, (vx - x.mean(0)) @ axes.T / 2
    label, net = nn.Embedding(11, 16), dense(25, 96, 96, 8, act=nn.GELU)
    model = nn.ModuleList([label, net])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)

    def guess(a: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        t, start = torch.rand(len(a), 1), torch.randn_like(a)
        return net(torch.cat([(1 - t) * start + t * a, t, label(k)], 1)), a - start

    for _ in range(10):
        for a, k in draws(z, y):
            k = torch.where(torch.rand(len(k)) < 0.1, 10, k)
            out, aim = guess(a, k)
            loss = F.mse_loss(out, aim)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=aim, outputs=out)
    with torch.no_grad():
        return explained(*guess(vz.repeat(3, 1), vy.repeat(3)))


def adversaries(judge_end: nn.Module | None = None, spectral: bool = False) -> tuple[nn.Module, nn.Module]:
    """A generator from 8 numbers to 64 pixels in -1..1 and a judge."""
    generator = nn.Sequential(dense(8, 64, 64), nn.Tanh())
    judge = dense(64, 64, 1, act=lambda: nn.LeakyReLU(0.2))
    if spectral:
        judge[0], judge[2] = spectral_norm(judge[0]), spectral_norm(judge[2])
    return generator, judge


def likeness(generator: nn.Module, real: Tensor) -> float:
    """1 - distance of mean images in units of the pixels' spread."""
    with torch.no_grad():
        made = generator(torch.randn(400, 8))
    return float(1 - (made.mean(0) - real.mean(0)).square().mean().sqrt() / real.std())


@cases.recipe("wgan", 0.6)
def critic_with_penalty(harness: Harness, seed: int) -> float | None:
    """WGAN-GP: three critic steps per generator step, losses of both signs, double backward."""
    x, _, vx, _ = digits("signed", image=False)
    generator, judge = adversaries()
    g = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.0, 0.9))
    d = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.0, 0.9))
    harness.begin([generator, judge], [g, d])
    count = 0
    for _ in range(14):
        for real, _ in draws(x, x, 48, whole=True):
            fake = generator(torch.randn(48, 8))
            mixed = torch.lerp(fake.detach(), real, torch.rand(48, 1)).requires_grad_()
            slope = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)[0]
            judge_loss = judge(fake.detach()).mean() - judge(real).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()
            d.zero_grad()
            judge_loss.backward()
            d.step()
            count += 1
            if count % 3 == 0:
                loss = -judge(fake).mean()
                g.zero_grad()
                loss.backward()
                g.step()
                harness.step(loss=loss.item() + judge_loss.item(), inputs=real)
    return likeness(generator, vx)


@cases.recipe("gan", 0.6)
def hinge_with_spectral_norm(harness: Harness, seed: int) -> float | None:
    """Hinge GAN with spectral norm, a faster judge (two time scales); the loss told is the judge's."""
    x, _, vx, _ = digits("signed", image=False)
    generator, judge = adversaries(spectral=True)
    g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    d = torch.optim.Adam(judge.parameters(), lr=4e-3, betas=(0.5, 0.9))
    harness.begin([generator, judge], [d, g])
    for _ in range(8):
        for real, _ in draws(x, x, 32, whole=True):
            fake = generator(torch.randn(32, 8))
            d_loss = F.relu(1 - judge(real)).mean() + F.relu(1 + judge(fake.detach())).mean()
            d.zero_grad()
            d_loss.backward()
            d.step()
            g_loss = -judge(fake).mean()
            g.zero_grad()
            g_loss.backward()
            g.step()
            harness.step(loss=d_loss, inputs=real)
    return likeness(generator, vx)


@cases.recipe("cgan", 0.6)
def least_squares_by_class(harness: Harness, seed: int) -> float | None:
    """Conditional least-squares GAN; real targets are smoothed to 0.9, both losses told as a sum."""
    x, y, vx, _ = digits("signed", image=False)
    generator, judge = nn.Sequential(dense(18, 64, 64), nn.Tanh()), dense(74, 64, 1, act=nn.LeakyReLU)
    g, d = (torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.999)) for m in (generator, judge))
    harness.begin([judge, generator], [d, g])
    for _ in range(8):
        for real, k in draws(x, y, 32, whole=True):
            kind = F.one_hot(k, 10).float()
            fake = generator(torch.cat([torch.randn(32, 8), kind], 1))
            good, bad = judge(torch.cat([real, kind], 1)), judge(torch.cat([fake.detach(), kind], 1))
            d_loss = (good - 0.9).square().mean() + bad.square().mean()
            d.zero_grad()
            d_loss.backward()
            d.step()
            g_loss = (judge(torch.cat([fake, kind], 1)) - 0.9).square().mean()
            g.zero_grad()
            g_loss.backward()
            g.step()
            harness.step(loss=(d_loss + g_loss).detach(), inputs=real, targets=k)
    every = F.one_hot(torch.arange(400) % 10, 10).float()
    with torch.no_grad():
        made = generator(torch.cat([torch.randn(400, 8), every], 1))
    return float(1 - (made.mean(0) - vx.mean(0)).square().mean().sqrt() / vx.std())
