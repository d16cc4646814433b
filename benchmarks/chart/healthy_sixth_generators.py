"""Generative models of small pictures and points, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import copy
import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, course, iterate, pick
from benchmarks.chart.second import SecondCases, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


def crescent(count: int) -> Tensor:
    """Points on a thick parabola, deviation about 1."""
    draw = np.random.default_rng(76)
    a = draw.uniform(-1.7, 1.7, count)
    return torch.tensor(np.stack([a, 1.1 * a**2 - 1 + draw.normal(0, 0.15, count)], 1), dtype=torch.float32)


def covers(fake: Tensor, real: Tensor, reach: float = 0.12) -> float:
    """Share of fakes near a real point, or of real points near a fake, the lesser one; a normal cloud gets 0.3."""
    gap = torch.cdist(fake, real)
    return float(min((gap.amin(1) < reach).float().mean(), (gap.amin(0) < reach).float().mean()))


@cases.recipe("autoencoder", 0.6)
def bottleneck_of_eight(harness: Harness, seed: int) -> float:
    """A first autoencoder: 64-48-8-48-64 with a sigmoid at the end, mean squared error, Adam at 3e-3."""
    x, _, vx, _ = digits(image=False)
    model = nn.Sequential(dense(64, 48, 8), dense(8, 48, 64), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    split = (x, x, vx, vx)
    return course(harness, model, optimizer, nn.MSELoss(), split, epochs=18, score=explained, key=None)


@cases.recipe("autoencoder", 0.6)
def convolutions_down_and_up(harness: Harness, seed: int) -> float:
    """A convolutional autoencoder on digits in -1..1 with tanh and L1, batch norm, code of 12, cosine."""
    x, _, vx, _ = digits("signed")
    model = nn.Sequential(
        block(1, 16, 2), block(16, 32, 2), nn.Flatten(), nn.Linear(128, 12), nn.Linear(12, 128), nn.ReLU(),
        nn.Unflatten(1, (32, 2, 2)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    split = (x, x, vx, vx)
    return course(
        harness, model, optimizer, nn.L1Loss(), split, epochs=10, scheduler=scheduler, score=explained, key=None,
        tell="io",
    )  # fmt: skip


class Vae(nn.Module):
    """A variational autoencoder of 64 pixels."""

    def __init__(self, code: int = 8, extra: int = 0) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Linear(64 + extra, 96), nn.ReLU())
        self.mean, self.log_var = nn.Linear(96, code), nn.Linear(96, code)
        self.out = dense(code + extra, 96, 64)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of pixels, mean and log variance of the code."""
        h = self.into(x if y is None else torch.cat([x, y], 1))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean) if self.training else mean
        return self.out(z if y is None else torch.cat([z, y], 1)), mean, log_var


def elbo(out: tuple[Tensor, Tensor, Tensor], x: Tensor, weight: float = 1.0) -> Tensor:
    """Summed over pixels and codes, mean over the batch."""
    logits, mean, log_var = out
    seen = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    return (seen - weight * 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)).mean()


@cases.recipe("vae", 0.45)
def variational_of_the_examples(harness: Harness, seed: int) -> float:
    """The example's VAE: sums over pixels, weight 1 for the divergence, Adam at 1e-3, an epoch's loss per sample."""
    x, _, vx, _ = digits(image=False)
    model = Vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    split = (x, x, vx, vx)
    return course(
        harness, model, optimizer, elbo, split, epochs=16, size=32, key=None, tell="it",
        score=lambda out, goal: explained(out[0].sigmoid(), goal) if isinstance(out, tuple) else 0.0,
    )  # fmt: skip


@cases.recipe("vae", 0.45)
def half_weight_and_a_class(harness: Harness, seed: int) -> float:
    """A conditional VAE with beta of 0.5: the class is given to both halves as one-hot; a loop without epochs."""
    x, y, vx, vy = digits(image=False)
    model = Vae(6, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(48, x, y)
        return {"loss": elbo(model(a, F.one_hot(b, 10).float()), a, 0.5), "inputs": a}

    iterate(harness, model, optimizer, compute, 400)
    with torch.no_grad():
        return explained(model.eval()(vx, F.one_hot(vy, 10).float())[0].sigmoid(), vx)


@cases.recipe("gan", 0.6)
def adversaries_on_a_crescent(harness: Harness, seed: int) -> float:
    """A plain GAN of points: both networks of 64, betas of 0.5, labels of 1 and 0, losses told as a sum."""
    real = crescent(1500)
    maker, judge = dense(4, 64, 64, 2), dense(2, 64, 64, 1, act=lambda: nn.LeakyReLU(0.2))
    for_maker = torch.optim.Adam(maker.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for_judge = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    harness.begin([maker, judge], [for_maker, for_judge])
    ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
    for _ in range(900):
        (a,) = pick(128, real)
        fake = maker(torch.randn(128, 4))
        for_judge.zero_grad()
        loss_d = F.binary_cross_entropy_with_logits(judge(a), ones)
        loss_d = loss_d + F.binary_cross_entropy_with_logits(judge(fake.detach()), zeros)
        loss_d.backward()
        for_judge.step()
        for_maker.zero_grad()
        loss_g = F.binary_cross_entropy_with_logits(judge(fake), ones)
        loss_g.backward()
        for_maker.step()
        harness.step(loss=(loss_d + loss_g).detach())
    with torch.no_grad():
        return covers(maker(torch.randn(800, 4)), real[:800])


@cases.recipe("diffusion", 0.75)
def noise_of_a_crescent(harness: Harness, seed: int) -> float:
    """DDPM of points: 40 steps with a linear schedule, time as an embedding, slow weights draw the samples."""
    real = crescent(1500)
    betas = torch.linspace(1e-3, 0.2, 40)
    alphas = (1 - betas).cumprod(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time, self.into, self.body = nn.Embedding(40, 64), nn.Linear(2, 64), dense(64, 64, 64, 2, act=nn.SiLU)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.body(F.silu(self.into(x) + self.time(t)))

    model = Net()
    slow = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        (a,) = pick(256, real)
        t, noise = torch.randint(40, (256,)), torch.randn(256, 2)
        mixed = alphas[t, None].sqrt() * a + (1 - alphas[t, None]).sqrt() * noise
        out = model(mixed, t)
        return {"loss": F.mse_loss(out, noise), "inputs": mixed, "targets": noise, "outputs": out}

    def follow(i: int) -> None:
        with torch.no_grad():
            for p, q in zip(slow.parameters(), model.parameters(), strict=True):
                p.lerp_(q, 0.03)

    iterate(harness, model, optimizer, compute, 700, after=follow)
    x = torch.randn(800, 2)
    with torch.no_grad():
        for t in reversed(range(40)):
            guess = slow(x, torch.full((800,), t))
            x = (x - betas[t] / (1 - alphas[t]).sqrt() * guess) / (1 - betas[t]).sqrt()
            x = x + (betas[t].sqrt() * torch.randn_like(x) if t else 0)
    return covers(x, real[:800])


@cases.recipe("diffusion", 0.3)
def digits_from_their_noise(harness: Harness, seed: int) -> float:
    """The clean picture is foretold (not the noise) at a random level by a small U-Net with FiLM; cosine levels."""
    x, _, vx, _ = digits("signed")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(1, 24, 3, 1, 1), nn.Conv2d(24, 48, 3, 2, 1), nn.Conv2d(48, 48, 3, 1, 1)
            self.up, self.out = nn.ConvTranspose2d(48, 24, 2, 2), nn.Conv2d(48, 1, 3, 1, 1)
            self.level = nn.Sequential(nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 96))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            scale, shift = self.level(t[:, None])[..., None, None].chunk(2, 1)
            a = F.silu(self.a(x))
            h = F.silu(self.c(F.silu(self.b(a))) * (1 + scale) + shift)
            return self.out(torch.cat([F.silu(self.up(h)), a], 1))

    def spoil(a: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None, None, None] * math.pi / 2
        return angle.cos() * a + angle.sin() * torch.randn_like(a)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        (a,) = pick(32, x)
        t = torch.rand(32)
        return {"loss": (model(spoil(a, t), t) - a).square().mean(), "targets": a}

    iterate(harness, model, optimizer, compute, 300, clip=1.0)
    t = torch.full((len(vx),), 0.5)
    with torch.no_grad():
        noisy = spoil(vx, t)
        return explained(model(noisy, t).flatten(1), vx.flatten(1))


@cases.recipe("flow", 0.5)
def couplings_of_four_numbers(harness: Harness, seed: int) -> float:
    """RealNVP on four numbers with curved ties: six couplings with tanh-bounded scales, nats; gain over a normal."""
    draw = np.random.default_rng(75)
    a, b = draw.normal(0, 1, (2, 3000))
    rows = np.stack([a, np.sin(2 * a) + 0.2 * draw.normal(0, 1, 3000), b, a * b * 0.6 + 0.2 * draw.normal(0, 1, 3000)])
    x = torch.tensor(((rows.T - rows.mean(1)) / rows.std(1)), dtype=torch.float32)
    x, vx = x[:2400], x[2400:]

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList(dense(2, 48, 4) for _ in range(6))
            for net in self.nets:
                nn.init.zeros_(net[-1].weight)
                nn.init.zeros_(net[-1].bias)
            self.order = [torch.tensor(o) for o in ([0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3]) * 2]

        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(len(x))
            for net, order in zip(self.nets, self.order, strict=True):
                x = x[:, order]
                scale, shift = net(x[:, :2]).chunk(2, 1)
                scale = 2 * (scale / 2).tanh()
                x = torch.cat([x[:, :2], x[:, 2:] * scale.exp() + shift], 1)
                total = total + scale.sum(1)
            return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)

    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    iterate(harness, model, optimizer, lambda i: -model(pick(100, x)[0]).mean(), 350, clip=5.0)
    with torch.no_grad():
        normal = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
        return float(model(vx).mean() - normal.log_prob(vx).mean())


@cases.recipe("autoencoder", 0.45)
def holes_are_painted(harness: Harness, seed: int) -> float:
    """A context encoder: a hole of 4 x 4 in the middle of a digit is filled, squared error within the hole only."""
    x, _, vx, _ = digits()

    def holed(a: Tensor) -> Tensor:
        a = a.clone()
        a[:, :, 2:6, 2:6] = 0
        return a

    model = nn.Sequential(block(1, 24), block(24, 32, 2), nn.Flatten(), nn.Linear(512, 96), nn.ReLU(), nn.Dropout(0.1),
                          nn.Linear(96, 16), nn.Unflatten(1, (1, 4, 4)))  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    split = (holed(x), x[:, :, 2:6, 2:6], holed(vx), vx[:, :, 2:6, 2:6])
    return course(harness, model, optimizer, nn.MSELoss(), split, epochs=8, score=explained, key=None, report="both")
