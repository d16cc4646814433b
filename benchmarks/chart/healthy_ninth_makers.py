"""Autoencoders, GANs, diffusion and a network that makes pictures better, by a ninth author, who had not read the
rules, without any threshold.

See `healthy_ninth.py`.
"""

import math
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import batch_of, train_model
from benchmarks.chart.healthy_ninth_images import garments, land
from benchmarks.chart.second import SecondCases, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


def pixels() -> tuple[Tensor, Tensor]:
    """Digits in rows (N, 64) of 0..1 for training and validation."""
    x, _, vx, _ = digits(image=False)
    return x, vx


@cases.recipe("autoencoder", 0.6)
def digits_through_twelve_numbers(harness: Harness, seed: int) -> float:
    """An autoencoder 64-48-12-48-64 with a sigmoid at the end, MSE, Adam at 3e-3, loss of both sets told."""
    x, vx = pixels()
    model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 12), nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 64), nn.Sigmoid()
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), (x, x, vx, vx), epochs=10, size=32, metric=explained, name=None
    )


@cases.recipe("autoencoder", 0.6)
def garments_through_convolutions(harness: Harness, seed: int) -> float:
    """A convolutional autoencoder: two strides down, two transposed up, binary cross-entropy of pixels, AdamW."""
    x, _, vx, _ = garments(1000)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 1, 2, 2),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, x, vx, vx), epochs=12, size=32, name=None,
        metric=lambda out, goal: explained(out.sigmoid().flatten(1), goal.flatten(1)),
    )  # fmt: skip


@cases.recipe("denoiser", 0.5)
def noise_is_removed_from_land(harness: Harness, seed: int) -> float:
    """DnCNN-like: noise of 0.15 is added to each batch anew, the network tells the noise; MSE, Adam, StepLR."""
    x, _, vx, _ = land(700)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24),
        nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 3, 3, padding=1),
    )  # fmt: skip
    noise = 0.15 * torch.randn(vx.shape, generator=torch.Generator().manual_seed(0))

    def spoil(x: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        e = 0.15 * torch.randn_like(x)
        return x + e, e

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.3)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), (x, x, vx + noise, noise), epochs=5, size=16, change=spoil,
        scheduler=scheduler, metric=lambda out, goal: explained(out.flatten(1), goal.flatten(1)), name=None,
    )  # fmt: skip


@cases.recipe("vae", 0.35)
def garments_by_a_small_vae(harness: Harness, seed: int) -> float:
    """A VAE with convolutions: ten numbers, summed binary cross-entropy and divergence over the batch, Adam 2e-3."""
    x, _, vx, _ = garments(1200)

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()
            )
            self.fc_mu, self.fc_var, self.fc_up = nn.Linear(512, 10), nn.Linear(512, 10), nn.Linear(10, 512)
            self.decoder = nn.Sequential(
                nn.ReLU(), nn.Unflatten(1, (32, 4, 4)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(),
                nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            h = self.encoder(x)
            mu, log_var = self.fc_mu(h), self.fc_var(h)
            z = mu + torch.randn_like(mu) * (0.5 * log_var).exp() if self.training else mu
            return self.decoder(self.fc_up(z)), mu, log_var

    def loss_function(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        made, mu, log_var = out
        bits = F.binary_cross_entropy(made, x, reduction="sum")
        return (bits - 0.5 * (1 + log_var - mu.square() - log_var.exp()).sum()) / len(x)

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=loss_function)
    for _ in range(8):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(30):
            optimizer.zero_grad()
            out = model(x[rows])
            loss = loss_function(out, x[rows])
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], outputs=out)
            total += loss.item() * len(rows)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        harness.epoch(train={"loss": total / len(x)}, val={"loss": float(loss_function(out, vx))})
    return explained(out[0].flatten(1), vx.flatten(1))


def spread(made: Tensor, real: Tensor) -> float:
    """How near the makers' pictures are to real ones: 1 less the ratio of distances of means, variances too."""
    made, real = made.flatten(1), real.flatten(1)
    mean = (made.mean(0) - real.mean(0)).square().sum() / real.var(0).sum()
    wide = (made.std(0) - real.std(0)).square().sum() / real.var(0).sum()
    return float(1 - mean - wide)


@cases.recipe("gan", 0.6)
def digits_by_a_dcgan(harness: Harness, seed: int) -> float:
    """The DCGAN tutorial on small digits: labels of 1 and 0, BCE, Adam 1e-3 with beta 0.5, two optimizers."""
    x, _, vx, _ = digits("signed")

    def start(m: nn.Module) -> None:
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(m.weight, 0.0, 0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)

    net_g = nn.Sequential(
        nn.ConvTranspose2d(20, 32, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
    ).apply(start)  # fmt: skip
    net_d = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32),
        nn.LeakyReLU(0.2), nn.Conv2d(32, 1, 2), nn.Flatten(),
    ).apply(start)  # fmt: skip
    optim_d = torch.optim.Adam(net_d.parameters(), lr=1e-3, betas=(0.5, 0.999))
    optim_g = torch.optim.Adam(net_g.parameters(), lr=1e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    harness.begin([net_g, net_d], [optim_g, optim_d])
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(35):
            real, ones, zeros = x[rows], torch.ones(len(rows), 1), torch.zeros(len(rows), 1)
            net_d.zero_grad()
            loss_real = criterion(net_d(real), ones)
            loss_real.backward()
            made = net_g(torch.randn(len(rows), 20, 1, 1))
            loss_made = criterion(net_d(made.detach()), zeros)
            loss_made.backward()
            optim_d.step()
            net_g.zero_grad()
            loss_g = criterion(net_d(made), ones)
            loss_g.backward()
            optim_g.step()
            harness.step(loss=loss_g.item(), inputs=real)
    net_g.eval()
    with torch.no_grad():
        return spread(net_g(torch.randn(500, 20, 1, 1)), vx)


@cases.recipe("diffusion", 0.45)
def digits_out_of_noise(harness: Harness, seed: int) -> float:
    """DDPM on 64 pixels: an MLP with embedded times foretells noise, cosine rate, moving average for sampling."""
    x, _, vx, _ = digits("signed", image=False)
    steps = 60
    alpha = torch.cumprod(1 - torch.linspace(1e-3, 0.15, steps), 0)

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time, self.net = nn.Embedding(steps, 32), dense(96, 192, 192, 64, act=nn.SiLU)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.net(torch.cat([x, self.time(t)], 1))

    model = Denoiser()
    ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    harness.begin(model, optimizer)
    for _ in range(600):
        (a,) = batch_of(64, x)
        t, e = torch.randint(0, steps, (64,)), torch.randn(64, 64)
        keep = alpha[t][:, None]
        out = model(keep.sqrt() * a + (1 - keep).sqrt() * e, t)
        loss = F.mse_loss(out, e)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        ema.update_parameters(model)
        harness.step(loss=loss, targets=e, outputs=out)
    ema.eval()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        t = torch.randint(10, 50, (len(vx),), generator=g)
        e, keep = torch.randn(vx.shape, generator=g), alpha[t][:, None]
        return explained(ema(keep.sqrt() * vx + (1 - keep).sqrt() * e, t), e)


@cases.recipe("upscaler", 0.7)
def garments_twice_as_large(harness: Harness, seed: int) -> float:
    """Super-resolution: a residual on bilinear upsampling, pixel shuffle, L1, Adam 1e-3, PSNR on validation."""
    x, _, vx, _ = garments(900)

    class Upscaler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
                nn.Conv2d(24, 4, 3, padding=1), nn.PixelShuffle(2),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="bilinear") + self.body(x)

    def psnr(out: Tensor, goal: Tensor) -> float:
        return -10 * math.log10(float(F.mse_loss(out, goal)))

    model = Upscaler()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    small: Any = [F.avg_pool2d(a, 2) for a in (x, vx)]
    with torch.no_grad():
        simple = psnr(F.interpolate(small[1], scale_factor=2, mode="bilinear"), vx)
    value = train_model(
        harness, model, optimizer, nn.L1Loss(), (small[0], x, small[1], vx), epochs=6, size=16, metric=psnr, name="psnr"
    )
    return value - simple
