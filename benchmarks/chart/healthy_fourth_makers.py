"""Things that make samples, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
import itertools
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, explained
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
    for _ in range(500):
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
