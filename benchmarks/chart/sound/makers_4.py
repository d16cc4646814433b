"""Sound programs: diffusion to realnvp."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import digits, likeness
from torch.utils.data import DataLoader, TensorDataset


def diffusion(watch, seed, fault):
    """10. A DDPM on digits with 40 cosine steps; a small conditional-on-time MLP predicts the noise."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed, -1, 1)
    xtr, xva = xtr.flatten(1), xva.flatten(1)
    T = 40
    s = torch.arange(T + 1) / T
    abar = torch.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2
    abar = abar / abar[0]
    beta = (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
    alpha = 1 - beta
    ab = torch.cumprod(alpha, 0)

    class Eps(nn.Module):
        def __init__(self, h=160):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(32, h), nn.SiLU(), nn.Linear(h, h))
            self.inp = nn.Linear(64, h)
            self.blocks = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(h), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, h)) for _ in range(2)]
            )
            self.out = nn.Linear(h, 64)

        def forward(self, x, t):
            f = torch.exp(torch.arange(16) * (-math.log(1000.0) / 15))
            a = t[:, None].float() * f
            e = self.time(torch.cat([a.sin(), a.cos()], 1))
            h = self.inp(x)
            for b in self.blocks:
                h = h + b(h + e)
            return self.out(h)

    model = Eps()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(xtr), batch_size=96, shuffle=True, drop_last=True)
    epochs = 30
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run = 0.0
            for (x,) in loader:
                t = torch.randint(0, T, (len(x),))
                noise = torch.randn_like(x)
                xt = ab[t].sqrt()[:, None] * x + (1 - ab[t]).sqrt()[:, None] * noise
                pred = model(xt, t)
                loss = F.mse_loss(pred, noise)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=xt, targets=noise, outputs=pred)
                run += loss.item() / len(loader)
            sched.step()
            w.epoch(train={"loss": run})
    model.eval()
    with torch.no_grad():
        x = torch.randn(len(xva), 64)
        for t in reversed(range(T)):
            e = model(x, torch.full((len(x),), t))
            x0 = ((x - (1 - ab[t]).sqrt() * e) / ab[t].sqrt()).clamp(-1, 1)
            if t > 0:
                mean = (
                    ab[t - 1].sqrt() * beta[t] / (1 - ab[t]) * x0 + alpha[t].sqrt() * (1 - ab[t - 1]) / (1 - ab[t]) * x
                )
                x = mean + (beta[t] * (1 - ab[t - 1]) / (1 - ab[t])).sqrt() * torch.randn_like(x)
            else:
                x = x0
    return likeness(x, xva, torch.rand_like(xva) * 2 - 1)


def realnvp(watch, seed, fault):
    """11. A RealNVP flow on dequantised, logit-transformed digits; score is nats per pixel over a Gaussian fit."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed)
    D = 64

    def prepare(x):
        u = (x.flatten(1) * 16 + torch.rand(len(x), D)) / 17
        return torch.logit(0.05 + 0.9 * u)

    xva_l = prepare(xva)
    stat = prepare(xtr)
    mu, sd = stat.mean(0), stat.std(0)

    class Coupling(nn.Module):
        def __init__(self, flip):
            super().__init__()
            m = torch.zeros(D)
            m[::2] = 1
            self.register_buffer("mask", 1 - m if flip else m)
            self.net = nn.Sequential(nn.Linear(D, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2 * D))
            nn.init.zeros_(self.net[-1].weight)
            nn.init.zeros_(self.net[-1].bias)

        def forward(self, x):
            s, t = self.net(x * self.mask).chunk(2, 1)
            s = torch.tanh(s) * (1 - self.mask)
            t = t * (1 - self.mask)
            return x * s.exp() + t, s.sum(1)

    flow = nn.ModuleList([Coupling(i % 2 == 1) for i in range(4)])

    def nll(x):
        logdet = 0.0
        for f in flow:
            x, ld = f(x)
            logdet = logdet + ld
        return (0.5 * x.pow(2).sum(1) + 0.5 * D * math.log(2 * math.pi) - logdet).mean() / D

    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3, weight_decay=1e-5)
    loader = DataLoader(TensorDataset(xtr), batch_size=64, shuffle=True)
    v = (xva_l - mu) / sd
    base = (0.5 * v.pow(2) + 0.5 * math.log(2 * math.pi)).mean().item()
    vl = base
    with watch(flow, optimizer) as w:
        for epoch in range(10):
            flow.train()
            run = 0.0
            for (x,) in loader:
                z = (prepare(x) - mu) / sd
                loss = nll(z)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
                optimizer.step()
                w.step(loss=loss, inputs=z)
                run += loss.item() / len(loader)
            flow.eval()
            with torch.no_grad():
                vl = nll(v).item()
            w.epoch(train={"loss": run}, val={"loss": vl})
    return base - vl


PROGRAMS = [diffusion, realnvp]
