"""Sound programs: amp bfloat16 to lamb on patches."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


def digits(seed):
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16.0
    y = torch.tensor(d.target)
    a, b = train_test_split(np.arange(len(y)), test_size=0.25, stratify=d.target, random_state=seed)
    x = (x - x[a].mean()) / x[a].std()
    return x[a], y[a], x[b], y[b]


class LARS(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.9, weight_decay=1e-4, trust=0.02):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                d = p.grad
                if p.ndim > 1:
                    d = d.add(p, alpha=g["weight_decay"])
                    pn, dn = p.norm(), d.norm()
                    if pn > 0 and dn > 0:
                        d = d * (g["trust"] * pn / dn)
                else:
                    d = d * g["trust"]
                buf = self.state[p].setdefault("mu", torch.zeros_like(p))
                buf.mul_(g["momentum"]).add_(d)
                p.add_(buf, alpha=-g["lr"])
        return loss


class Lamb(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            b1, b2 = g["betas"]
            for p in g["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["t"], st["m"], st["v"] = 0, torch.zeros_like(p), torch.zeros_like(p)
                st["t"] += 1
                st["m"].lerp_(p.grad, 1 - b1)
                st["v"].mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                mh = st["m"] / (1 - b1 ** st["t"])
                vh = st["v"] / (1 - b2 ** st["t"])
                u = mh / (vh.sqrt() + g["eps"])
                if p.ndim > 1:
                    u = u + g["weight_decay"] * p
                pn, un = p.norm(), u.norm()
                ratio = float(pn / un) if p.ndim > 1 and pn > 0 and un > 0 else 1.0
                p.add_(u, alpha=-g["lr"] * min(ratio, 10.0))


def amp_bfloat16(watch, seed, fault):
    """0. A CNN on digits under CPU autocast in bfloat16, loss in float32, AdamW."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            run = 0.0
            for x, y in loader:
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    out = model(x)
                loss = F.cross_entropy(out.float(), y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(xva).float()
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


def gradient_accumulation(watch, seed, fault):
    """1. Gradient accumulation over four micro-batches of 16, clipping, warm-up; the watch hears of every real step."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.GroupNorm(8, 32),
        nn.GELU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.GroupNorm(8, 32),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 20))
    accum = 4
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=16, shuffle=True, drop_last=True)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            optimizer.zero_grad()
            xs, ys, outs, big, run, k = [], [], [], 0.0, 0.0, 0
            for i, (x, y) in enumerate(loader):
                out = model(x)
                loss = F.cross_entropy(out, y) / accum
                loss.backward()
                big += loss.item()
                xs.append(x), ys.append(y), outs.append(out.detach())
                if (i + 1) % accum == 0:
                    nn.utils.clip_grad_norm_(model.parameters(), 2.0)
                    optimizer.step()
                    warm.step()
                    w.step(loss=big, inputs=torch.cat(xs), targets=torch.cat(ys), outputs=torch.cat(outs))
                    optimizer.zero_grad()
                    run, k = run + big, k + 1
                    xs, ys, outs, big = [], [], [], 0.0
            model.eval()
            with torch.no_grad():
                out = model(xva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": run / k}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


def lars_large_batch(watch, seed, fault):
    """2. A hand-written LARS with batches of 256 and a polynomial decay after warm-up."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    optimizer = LARS(model.parameters(), lr=1.0)
    epochs = 24
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=256, shuffle=True, drop_last=True)
    total = epochs * len(loader)
    sched = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: (s + 1) / 12 if s < 12 else max(0.0, 1 - (s - 12) / (total - 12)) ** 2
    )
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run, hit = 0.0, 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss.detach(), inputs=x, targets=y, outputs=out.detach())
                run += loss.item() / len(loader)
                hit += (out.argmax(1) == y).float().mean().item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(
                train={"loss": run, "accuracy": hit}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc}
            )
    return acc


def lamb_on_patches(watch, seed, fault):
    """3. A hand-written LAMB trains a patch transformer on digits with mean pooling."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)

    class PatchNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1))
            self.pos = nn.Parameter(0.02 * torch.randn(1, 16, 32))
            self.attn = nn.ModuleList([nn.MultiheadAttention(32, 4, batch_first=True) for _ in range(2)])
            self.ff = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2)]
            )
            self.norms = nn.ModuleList([nn.LayerNorm(32) for _ in range(2)])
            self.out = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

        def forward(self, x):
            t = self.embed(x).flatten(2).transpose(1, 2) + self.pos
            for a, f, n in zip(self.attn, self.ff, self.norms):
                h = n(t)
                t = t + a(h, h, h, need_weights=False)[0]
                t = t + f(t)
            return self.out(t.mean(1))

    model = PatchNet()
    optimizer = Lamb(model.parameters(), lr=1e-2)
    epochs = 12
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    sched = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-2, total_steps=epochs * len(loader), cycle_momentum=False, pct_start=0.15
    )
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


PROGRAMS = [amp_bfloat16, gradient_accumulation, lars_large_batch, lamb_on_patches]
