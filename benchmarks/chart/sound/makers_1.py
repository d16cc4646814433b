"""Sound programs: softargmax keypoints to dncnn denoise."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import blobs, psnr
from torch.utils.data import DataLoader, TensorDataset


def softargmax_keypoints(watch, seed, fault):
    """0. Two coloured dots located by a soft-argmax over heat maps, L1 on coordinates in [-1, 1]."""
    torch.manual_seed(seed)
    S = 24

    def make(n, s):
        g = torch.Generator().manual_seed(s)
        k = torch.rand(n, 2, 2, generator=g) * 1.6 - 0.8
        lin = torch.linspace(-1, 1, S)
        d = (lin[None, None, None, :] - k[..., 0, None, None]) ** 2 + (
            lin[None, None, :, None] - k[..., 1, None, None]
        ) ** 2
        x = torch.zeros(n, 3, S, S)
        x[:, :2] = torch.exp(-d / 0.02)
        x[:, 2] = 0.5 * torch.rand(n, 1, 1, generator=g)
        return (x + 0.1 * torch.randn(n, 3, S, S, generator=g) - 0.1) / 0.25, k

    xtr, ktr = make(800, seed)
    xva, kva = make(200, seed + 10_000)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(12, 12, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(12, 2, 1),
            )
            self.register_buffer("lin", torch.linspace(-1, 1, S))

        def forward(self, x):
            p = self.f(x).flatten(2).softmax(-1).view(len(x), 2, S, S)
            return torch.stack([(p.sum(2) * self.lin).sum(-1), (p.sum(3) * self.lin).sum(-1)], -1)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(xtr, ktr), batch_size=32, shuffle=True)
    err = 1.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = 0.0
            for x, k in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.l1_loss(out, k)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=k, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                err = F.l1_loss(model(xva), kva).item()
            w.epoch(train={"loss": run}, val={"loss": err})
    return 1 - err / kva.abs().mean().item()


def depth_silog(watch, seed, fault):
    """1. Monocular depth of shaded spheres over a floor with the scale-invariant log loss and a validity mask."""
    torch.manual_seed(seed)
    S = 24

    def make(n, s):
        rng = np.random.default_rng(s)
        yy, xx = np.mgrid[0:S, 0:S] / S
        xs, ds, ms = [], [], []
        for _ in range(n):
            depth = 6.0 - 4.0 * yy
            for _ in range(rng.integers(1, 3)):
                cy, cx, r, z = (
                    rng.uniform(0.3, 0.7),
                    rng.uniform(0.2, 0.8),
                    rng.uniform(0.12, 0.25),
                    rng.uniform(1.2, 3.0),
                )
                q = (yy - cy) ** 2 + (xx - cx) ** 2
                depth = np.where((q < r * r) & (z < depth), z - np.sqrt(np.maximum(r * r - q, 0)), depth)
            shade = np.exp(-0.3 * depth)
            xs.append(shade[None] + rng.normal(0, 0.02, (1, S, S)))
            ds.append(depth[None])
            ms.append(rng.random((1, S, S)) > 0.1)
        x = torch.tensor(np.stack(xs), dtype=torch.float32)
        return (x - 0.4) / 0.15, torch.tensor(np.stack(ds), dtype=torch.float32), torch.tensor(np.stack(ms))

    xtr, dtr, mtr = make(600, seed)
    xva, dva, _ = make(150, seed + 10_000)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.ELU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(16, 1, 1),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(xtr, dtr, mtr), batch_size=20, shuffle=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7 * len(loader))
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(7):
            model.train()
            run = 0.0
            for x, d, m in loader:
                out = model(x)
                g = (out - d.log())[m]
                loss = (g**2).mean() - 0.85 * g.mean() ** 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=x, targets=d, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                g = model(xva) - dva.log()
                vl = ((g**2).mean() - 0.85 * g.mean() ** 2).item()
                score = 1 - (g.var() / dva.log().var()).item()
            w.epoch(train={"loss": run}, val={"loss": vl})
    return score


def dncnn_denoise(watch, seed, fault):
    """2. DnCNN: the residual noise of grey pictures is predicted; score is the gain in PSNR over the noisy input / 10."""
    torch.manual_seed(seed)
    clean, cva = blobs(500, 24, seed), blobs(100, 24, seed + 10_000)
    sigma = 0.15
    noisy_va = cva + sigma * torch.randn(cva.shape, generator=torch.Generator().manual_seed(1))
    mid = [m for _ in range(2) for m in (nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *mid, nn.Conv2d(16, 1, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(clean, batch_size=20, shuffle=True)
    gain = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = 0.0
            for x in loader:
                noise = sigma * torch.randn_like(x)
                pred = model(x + noise)
                loss = F.mse_loss(pred, noise)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x + noise, targets=noise, outputs=pred)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                den = noisy_va - model(noisy_va)
            gain = psnr(den, cva) - psnr(noisy_va, cva)
            w.epoch(train={"loss": run}, val={"loss": F.mse_loss(den, cva).item(), "psnr": psnr(den, cva)})
    return gain / 10


PROGRAMS = [softargmax_keypoints, depth_silog, dncnn_denoise]
