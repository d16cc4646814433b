"""Sound programs: super resolution to vae digits."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import blobs, digits, psnr
from torch.utils.data import DataLoader, TensorDataset


def super_resolution(watch, seed, fault):
    """3. Twofold super-resolution by pixel shuffle on top of bicubic, Charbonnier loss; score is the PSNR gain in dB."""
    torch.manual_seed(seed)
    hr, hva = blobs(500, 32, seed + 1, 3), blobs(100, 32, seed + 10_001, 3)
    down = lambda t: F.avg_pool2d(t, 2)

    class ESPCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 24, 5, padding=2)
            self.b = nn.Conv2d(24, 24, 3, padding=1)
            self.c = nn.Conv2d(24, 12, 3, padding=1)

        def forward(self, x):
            base = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
            h = F.relu(self.b(F.relu(self.a(x - 0.4))))
            return base + F.pixel_shuffle(self.c(h), 2)

    model = ESPCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    sched = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)
    loader = DataLoader(TensorDataset(down(hr), hr), batch_size=16, shuffle=True)
    lva = down(hva)
    bic = psnr(F.interpolate(lva, scale_factor=2, mode="bicubic", align_corners=False), hva)
    p = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            run = 0.0
            for lr_img, hr_img in loader:
                optimizer.zero_grad()
                out = model(lr_img)
                loss = torch.sqrt((out - hr_img) ** 2 + 1e-6).mean()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=lr_img, targets=hr_img, outputs=out)
                run += loss.item() / len(loader)
            sched.step()
            model.eval()
            with torch.no_grad():
                out = model(lva)
                vl = torch.sqrt((out - hva) ** 2 + 1e-6).mean().item()
            p = psnr(out, hva)
            w.epoch(train={"loss": run}, val={"loss": vl, "psnr": p})
    return p - bic


def inpainting(watch, seed, fault):
    """4. Inpainting a 6x6 hole: the net sees the picture with the hole and the mask, L1 weighted six-fold in the hole."""
    torch.manual_seed(seed)
    S = 24
    clean, cva = blobs(600, S, seed + 2), blobs(120, S, seed + 10_002)

    def holes(n, g=None):
        m = torch.zeros(n, 1, S, S)
        for i, (a, b) in enumerate(torch.randint(2, S - 8, (n, 2), generator=g).tolist()):
            m[i, :, a : a + 6, b : b + 6] = 1
        return m

    mva = holes(len(cva), torch.Generator().manual_seed(5))
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(16, 16, 3, padding=4, dilation=4),
        nn.LeakyReLU(0.1),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(16, 1, 3, padding=1),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def run_net(x, m):
        return model(torch.cat([(x - 0.4) * (1 - m), m], 1)) + 0.4

    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = []
            for x in clean[torch.randperm(len(clean))].split(24):
                m = holes(len(x))
                out = run_net(x, m)
                e = (out - x).abs()
                loss = 6 * (e * m).sum() / m.sum() + (e * (1 - m)).sum() / (1 - m).sum()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_value_(model.parameters(), 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=x * (1 - m), targets=x, outputs=out)
                run.append(loss.item())
            model.eval()
            with torch.no_grad():
                out = run_net(cva, mva)
                e = ((out - cva).abs() * mva).sum() / mva.sum()
                base = ((0.4 - cva).abs() * mva).sum() / mva.sum()
                score = (1 - e / base).item()
            w.epoch(train={"loss": float(np.mean(run))}, val={"hole_l1": e.item()})
    return score


def vae_digits(watch, seed, fault):
    """5. A VAE on digits with KL warm-up; binary cross-entropy summed over pixels."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed)
    xtr, xva = xtr.flatten(1), xva.flatten(1)

    class VAE(nn.Module):
        def __init__(self, z=8):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
            self.mu, self.logvar = nn.Linear(48, z), nn.Linear(48, z)
            self.dec = nn.Sequential(nn.Linear(z, 48), nn.ReLU(), nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, 64))

        def forward(self, x):
            h = self.enc(x)
            mu, lv = self.mu(h), self.logvar(h)
            z = mu + torch.randn_like(mu) * (0.5 * lv).exp() if self.training else mu
            return self.dec(z), mu, lv

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(xtr), batch_size=64, shuffle=True)
    step, score = 0, 0.0
    with watch(model, optimizer) as w:
        for epoch in range(18):
            model.train()
            run = 0.0
            for (x,) in loader:
                step += 1
                beta = min(1.0, step / 150)
                logits, mu, lv = model(x)
                rec = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
                kl = -0.5 * (1 + lv - mu**2 - lv.exp()).sum(1).mean()
                loss = rec + beta * kl
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=x, outputs=logits)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                logits, mu, lv = model(xva)
                vrec = F.binary_cross_entropy_with_logits(logits, xva, reduction="sum").item() / len(xva)
                vkl = (-0.5 * (1 + lv - mu**2 - lv.exp()).sum(1).mean()).item()
                score = 1 - (F.mse_loss(logits.sigmoid(), xva) / F.mse_loss(xtr.mean(0).expand_as(xva), xva)).item()
            w.epoch(train={"loss": run}, val={"loss": vrec + vkl})
    return score


PROGRAMS = [super_resolution, inpainting, vae_digits]
