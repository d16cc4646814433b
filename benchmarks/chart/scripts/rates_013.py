"""Programs with faults of types 13 to 13."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import conv_bn, digits_images
from torch.utils.data import DataLoader, TensorDataset


def warmup_scheduler_never_called(watch, seed, fault):
    """13. A LinearLR warm-up starting at 1/1000 is made, but scheduler.step() is never called, so the run stays at the first warm-up rate."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    mixer_in, dim = 4, 32

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, dim, 2, 2)
            self.t = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(2)]
            )
            self.c = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim)) for _ in range(2)]
            )
            self.head = nn.Linear(dim, 10)

        def forward(self, x):
            x = self.stem(x).flatten(2)
            for t, c in zip(self.t, self.c):
                x = x + t(x)
                x = x + c(x.transpose(1, 2)).transpose(1, 2)
            return self.head(x.mean(2))

    model = Mixer()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-3, total_iters=30)
    with watch(model, optimizer) as w:
        for epoch in range(6):
            s = 0
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 32, shuffle=True):
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if not fault:
                    warmup.step()
                s += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                o = model(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": s / 43}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def scheduler_before_optimizer(watch, seed, fault):
    """13. A siamese net with one-cycle schedule: scheduler.step() is called before optimizer.step() in each iteration (a slip, the score hardly drops)."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    emb = nn.Sequential(conv_bn(1, 16), conv_bn(16, 32, 2), nn.Flatten(), nn.Linear(512, 16))
    opt = torch.optim.AdamW(emb.parameters(), lr=2e-3)
    n = 140
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=5e-3, total_steps=n + 1)
    with watch(emb, opt) as w:
        for it in range(n):
            a, b = torch.randint(0, len(Xtr), (2, 48))
            same = ytr[a] == ytr[b]
            fix = torch.rand(48) < 0.4
            for j in torch.where(fix)[0].tolist():
                pool = torch.where(ytr == ytr[a[j]])[0]
                b[j] = pool[torch.randint(len(pool), (1,))]
            same = (ytr[a] == ytr[b]).float()
            dist = (emb(Xtr[a]) - emb(Xtr[b])).pow(2).sum(1).add(1e-6).sqrt()
            loss = (same * dist**2 + (1 - same) * F.relu(2 - dist) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            if fault:
                sched.step()
                opt.step()
            else:
                opt.step()
                sched.step()
            w.step(loss=loss, inputs=(Xtr[a], Xtr[b]), targets=same, outputs=dist)
        emb.eval()
        with torch.no_grad():
            ref, q = emb(Xtr), emb(Xte)
        nn1 = ytr[torch.cdist(q, ref).argmin(1)]
    return (nn1 == yte).float().mean().item()


PROGRAMS = [warmup_scheduler_never_called, scheduler_before_optimizer]
