"""Autoencoders and makers of data, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import leaves, letters, train
from benchmarks.chart.second import SecondCases, Split, dense, digits, explained
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

cases = SecondCases("eleventh")


def same(split: Split) -> Split:
    """Inputs as their own targets."""
    return split[0], split[0], split[2], split[2]


def flat(outputs: Tensor, targets: Tensor) -> float:
    """Share of the variance that is explained."""
    return explained(outputs.flatten(1), targets.flatten(1))


def rings(count: int) -> Tensor:
    """Points (N, 2) on eight spots of a circle."""
    turn = torch.randint(0, 8, (count,)) * (2 * np.pi / 8)
    return torch.stack([turn.cos(), turn.sin()], 1) * 1.4 + 0.08 * torch.randn(count, 2)


def moons(count: int, seed: int) -> Tensor:
    """Points (N, 2) of two half circles, standardised."""
    x = torch.tensor(make_moons(count, noise=0.06, random_state=seed)[0], dtype=torch.float32)
    return (x - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])


def nearness(made: Tensor, real: Tensor) -> float:
    """One less the energy distance of two clouds of points."""
    between = torch.cdist(made, real).mean() * 2 - torch.cdist(made, made).mean() - torch.cdist(real, real).mean()
    return float(1 - between)


@cases.recipe("autoencoder", 0.55)
def letters_through_few_numbers(harness: Harness, seed: int) -> float:
    """A convolutional autoencoder of letters, MSE, Adam 3e-3, a cosine per epoch, both losses told."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 24),
        nn.Linear(24, 512), nn.ReLU(), nn.Unflatten(1, (32, 4, 4)), nn.ConvTranspose2d(32, 16, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    return train(
        harness, model, optimizer, nn.MSELoss(), same(letters(1600)), epochs=10, scheduler=scheduler, metric=flat,
        name=None,
    )  # fmt: skip


@cases.recipe("autoencoder", 0.5)
def digits_without_noise(harness: Harness, seed: int) -> float:
    """A denoising autoencoder: a fifth of the pixels is put out, the whole digit is the target; Adam, BCE of pixels."""

    def spoil(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x * (torch.rand_like(x) > 0.2), y

    model = nn.Sequential(dense(64, 96, 32, 96, 64), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, nn.BCELoss(), same(digits(image=False)), epochs=10, augment=spoil, metric=flat,
        name=None, told="pair",
    )  # fmt: skip


class Vae(nn.Module):
    """Linear layers around a code of `code` numbers, with or without a class."""

    def __init__(self, code: int = 8, classes: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64 + classes, 96), nn.ReLU())
        self.mean, self.log_var = nn.Linear(96, code), nn.Linear(96, code)
        self.decoder, self.classes = dense(code + classes, 96, 64), classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of pixels, means, logarithms of variances."""
        hot = [F.one_hot(y, self.classes).float()] if y is not None else []
        h = self.body(torch.cat([x, *hot], 1))
        mean, log_var = self.mean(h), self.log_var(h)
        code = mean + torch.randn_like(mean) * (log_var / 2).exp() if self.training else mean
        return self.decoder(torch.cat([code, *hot], 1)), mean, log_var


def elbo(weight: float = 1.0) -> Any:
    """Binary cross-entropy and divergence, both summed over numbers and averaged over rows."""

    def loss(o: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        logits, mean, log_var = o
        pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return (pixels - weight * 0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(1)).mean()

    return loss


@cases.recipe("vae", 0.3)
def digits_by_a_vae(harness: Harness, seed: int) -> float:
    """A VAE with eight numbers, sums per picture, Adam 2e-3, batches of 50; a tuple of outputs is told."""
    model = Vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, elbo(), same(digits(image=False)), epochs=14, size=50, name=None,
        metric=lambda o, t: flat(o[0].sigmoid(), t),
    )  # fmt: skip


@cases.recipe("vae", 0.3)
def digits_of_a_wanted_class(harness: Harness, seed: int) -> float:
    """A conditional VAE: two inputs as a tuple, divergence warmed up over four epochs, AdamW; told by the loss."""
    x, y, vx, vy = digits(image=False)
    model = Vae(6, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    share = [0.0]

    def grow() -> None:
        share[0] = min(1.0, share[0] + 1 / 130)

    return train(
        harness, model, optimizer, lambda o, t: elbo(share[0])(o, t), ((x, y), x, (vx, vy), vx), epochs=12, told="loss",
        after=grow, name=None, metric=lambda o, t: flat(o[0].sigmoid(), t), said="train",
    )  # fmt: skip


@cases.recipe("gan", 0.7)
def spots_by_a_gan(harness: Harness, seed: int) -> float:
    """Eight spots on a ring: a critic with spectral norms learns four times faster than the maker; BCE, 600 steps."""
    maker = dense(8, 64, 64, 2, act=lambda: nn.LeakyReLU(0.2))
    judge = dense(2, 64, 64, 1, act=lambda: nn.LeakyReLU(0.2))
    for layer in judge:
        if isinstance(layer, nn.Linear):
            spectral_norm(layer)
    first = torch.optim.Adam(maker.parameters(), lr=5e-4, betas=(0.5, 0.999))
    second = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    harness.begin([maker, judge], [first, second])
    for _ in range(600):
        real, made = rings(128), maker(torch.randn(128, 8))
        loss_d = criterion(judge(real), torch.ones(128, 1)) + criterion(judge(made.detach()), torch.zeros(128, 1))
        second.zero_grad()
        loss_d.backward()
        second.step()
        loss_g = criterion(judge(made), torch.ones(128, 1))
        first.zero_grad()
        loss_g.backward()
        first.step()
        harness.step(loss=loss_g + loss_d)
    return nearness(maker(torch.randn(500, 8)).detach(), rings(500))


@cases.recipe("gan", 0.6)
def moons_of_a_wanted_kind(harness: Harness, seed: int) -> float:
    """A conditional GAN: the half circle is an input of both networks; Adams of 5e-4 and 1e-3; told in epochs."""
    points, kinds = make_moons(3000, noise=0.06, random_state=1176)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(kinds)
    x = (x - x.mean(0)) / x.std(0)
    maker = dense(10, 64, 64, 2, act=lambda: nn.LeakyReLU(0.2))
    judge = dense(4, 64, 64, 1, act=lambda: nn.LeakyReLU(0.2))
    first = torch.optim.Adam(maker.parameters(), lr=5e-4, betas=(0.5, 0.999))
    second = torch.optim.Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    harness.begin([maker, judge], [first, second])
    for _ in range(13):
        total = 0.0
        for rows in torch.randperm(3000).split(64):
            hot, noise = F.one_hot(y[rows], 2).float(), torch.randn(len(rows), 8)
            real, fake = torch.cat([x[rows], hot], 1), torch.cat([maker(torch.cat([noise, hot], 1)), hot], 1)
            said, doubted = judge(real), judge(fake.detach())
            loss_d = (criterion(said, torch.ones_like(said)) + criterion(doubted, torch.zeros_like(doubted))) / 2
            second.zero_grad()
            loss_d.backward()
            second.step()
            said = judge(fake)
            loss_g = criterion(said, torch.ones_like(said))
            first.zero_grad()
            loss_g.backward()
            first.step()
            total += (loss_d.item() + loss_g.item()) * len(rows) / 3000
            harness.step(loss=loss_d + loss_g, inputs=real, outputs=fake)
        harness.epoch(train={"loss": total})
    hot = F.one_hot(y[:800], 2).float()
    with torch.no_grad():
        made = maker(torch.cat([torch.randn(800, 8), hot], 1))
    return nearness(torch.cat([made, hot], 1), torch.cat([x[:800], hot], 1))


@cases.recipe("diffusion", 0.85)
def moons_by_diffusion(harness: Harness, seed: int) -> float:
    """DDPM of points in 50 steps: an MLP with sines of the time tells the noise; AdamW 2e-3, moving average."""
    betas = torch.linspace(1e-3, 0.15, 50)
    kept = (1 - betas).cumprod(0)

    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(10, 96, 96, 2, act=nn.SiLU)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            turns = t[:, None].float() / 50 * torch.tensor([1.0, 2.0, 4.0, 8.0]) * np.pi
            return self.net(torch.cat([x, turns.sin(), turns.cos()], 1))

    data, model = moons(3000, 1170), Noise()
    mean = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(500):
        x, t, noise = data[torch.randint(0, 3000, (128,))], torch.randint(0, 50, (128,)), torch.randn(128, 2)
        noisy = kept[t, None].sqrt() * x + (1 - kept[t, None]).sqrt() * noise
        said = model(noisy, t)
        loss = F.mse_loss(said, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(mean.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 0.02)
        harness.step(loss=loss, inputs=(noisy, t), targets=noise, outputs=said)
    with torch.no_grad():
        x = torch.randn(800, 2)
        for i in reversed(range(50)):
            said = mean(x, torch.full((800,), i))
            x = (x - betas[i] / (1 - kept[i]).sqrt() * said) / (1 - betas[i]).sqrt()
            x = x + betas[i].sqrt() * torch.randn_like(x) * (i > 0)
    return nearness(x, moons(800, 1171))


@cases.recipe("flow", 0.85)
def moons_by_flow_matching(harness: Harness, seed: int) -> float:
    """Straight paths from noise to points: the velocity is learnt by MSE, Adam 2e-3, cosine, told by the loss."""
    data = moons(3000, 1172)
    model = dense(3, 96, 96, 2, act=nn.SiLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    harness.begin(model, optimizer)
    for _ in range(400):
        x1, x0, t = data[torch.randint(0, 3000, (192,))], torch.randn(192, 2), torch.rand(192, 1)
        loss = F.mse_loss(model(torch.cat([torch.lerp(x0, x1, t), t], 1)), x1 - x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        harness.step(loss=loss.item())
    with torch.no_grad():
        x = torch.randn(800, 2)
        for i in range(40):
            x = x + model(torch.cat([x, torch.full((800, 1), i / 40)], 1)) / 40
    return nearness(x, moons(800, 1173))


@cases.recipe("cnn", 0.2)
def colours_of_leaves(harness: Harness, seed: int) -> float:
    """Colourisation: three colours from grey pictures by a small U-shaped network with a residual; L1, AdamW 2e-3."""
    x, _, vx, _ = leaves(600)

    class Colours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.ReLU())
            self.b = nn.Sequential(nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Conv2d(48, 48, 3, 1, 1), nn.ReLU())
            self.c = nn.Conv2d(72, 3, 3, padding=1)

        def forward(self, grey: Tensor) -> Tensor:
            a = self.a(grey)
            return grey + self.c(torch.cat([a, F.interpolate(self.b(a), scale_factor=2)], 1))

    model = Colours()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, nn.L1Loss(), (x.mean(1, keepdim=True), x, vx.mean(1, keepdim=True), vx), epochs=8,
        size=16, metric=flat, name="r2",
    )  # fmt: skip


@cases.recipe("pixelcnn", 0.6)
def digits_pixel_by_pixel(harness: Harness, seed: int) -> float:
    """A PixelCNN with masked convolutions on four tones, cross-entropy (N, 4, 8, 8), Adam 2e-3; share right."""

    class Masked(nn.Conv2d):
        def __init__(self, into: int, out: int, first: bool) -> None:
            super().__init__(into, out, 5, padding=2)
            mask = torch.ones(5, 5)
            mask[2, 3 - first :], mask[3:] = 0, 0
            self.register_buffer("mask", mask)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight * self.mask, self.bias, padding=2)

    x, _, vx, _ = digits("raw")
    model = nn.Sequential(
        Masked(1, 32, True), nn.ReLU(), Masked(32, 32, False), nn.ReLU(), Masked(32, 32, False), nn.ReLU(),
        nn.Conv2d(32, 4, 1),
    )  # fmt: skip
    tones, v_tones = ((a[:, 0] / 4.26).long() for a in (x, vx))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(),
        (tones[:, None] / 1.5 - 1, tones, v_tones[:, None] / 1.5 - 1, v_tones), epochs=7,
    )  # fmt: skip
