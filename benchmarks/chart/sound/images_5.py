"""Sound programs: simclr to swa with update bn."""

import copy
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.images_parts import TinyResNet, digits, shapes, standardise
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset


def _views(x):
    """Random shift, brightness, noise and a cut-out square per picture."""
    n, _, h, wd = x.shape
    pad = F.pad(x, (2, 2, 2, 2), mode="replicate")
    out = torch.empty_like(x)
    sh = torch.randint(0, 5, (n, 2)).tolist()
    for i, (a, b) in enumerate(sh):
        out[i] = pad[i, :, a : a + h, b : b + wd]
    gain = 1 + 0.3 * torch.randn(n, 1, 1, 1)
    return out * gain + 0.15 * torch.randn_like(out)


def _knn(ftr, ytr, fva, yva, k=5):
    sim = F.normalize(fva, dim=1) @ F.normalize(ftr, dim=1).T
    nb = ytr[sim.topk(k, dim=1).indices]
    pred = torch.mode(nb, dim=1).values
    return (pred == yva).float().mean().item()


class MAE(nn.Module):
    def __init__(self, dim=48, n=16, patch_dim=9, keep=8):
        super().__init__()
        self.keep, self.n = keep, n
        self.embed = nn.Linear(patch_dim, dim)
        self.pos = nn.Parameter(0.02 * torch.randn(1, n, dim))
        self.dec_pos = nn.Parameter(0.02 * torch.randn(1, n, dim))
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        enc = nn.TransformerEncoderLayer(dim, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
        dec = nn.TransformerEncoderLayer(dim, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(enc, 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.decoder = nn.TransformerEncoder(dec, 1, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.out = nn.Linear(dim, patch_dim)

    def encode(self, patches):
        return self.encoder(self.embed(patches) + self.pos)

    def forward(self, patches):
        b = len(patches)
        order = torch.rand(b, self.n).argsort(1)
        restore = order.argsort(1)
        keep = order[:, : self.keep]
        t = self.embed(patches) + self.pos
        t = torch.gather(t, 1, keep[:, :, None].expand(-1, -1, t.shape[2]))
        t = self.encoder(t)
        full = torch.cat([t, self.mask_token.expand(b, self.n - self.keep, -1)], 1)
        full = torch.gather(full, 1, restore[:, :, None].expand(-1, -1, t.shape[2])) + self.dec_pos
        mask = torch.ones(b, self.n)
        mask.scatter_(1, keep, 0.0)
        return self.out(self.decoder(full)), mask


def simclr(watch, seed, fault):
    """16. SimCLR (NT-Xent at temperature 0.2) on unlabelled digits, scored by nearest neighbours in feature space."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed, size=12)
    backbone = nn.Sequential(
        nn.Conv2d(1, 24, 3, 2, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, 1, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * 36, 64),
    )
    projector = nn.Sequential(nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    model = nn.ModuleDict({"backbone": backbone, "projector": projector})
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(xtr), batch_size=96, shuffle=True, drop_last=True)
    tau = 0.2
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            ep = []
            for (x,) in loader:
                v = torch.cat([_views(x), _views(x)])
                z = F.normalize(projector(backbone(v)), dim=1)
                sim = z @ z.T / tau
                sim.fill_diagonal_(float("-inf"))
                b = len(x)
                target = torch.cat([torch.arange(b, 2 * b), torch.arange(b)])
                loss = F.cross_entropy(sim, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=v)
                ep.append(loss.item())
            model.eval()
            with torch.no_grad():
                score = _knn(backbone(xtr), ytr, backbone(xva), yva)
            w.epoch(train={"loss": float(np.mean(ep))}, val={"accuracy": score})
    return score


def byol(watch, seed, fault):
    """17. BYOL: an online net with predictor follows a slowly moving target net; scored by nearest neighbours."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)

    def mlp(i, h, o):
        return nn.Sequential(nn.Linear(i, h), nn.BatchNorm1d(h), nn.ReLU(), nn.Linear(h, o))

    class Online(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.Flatten(),
            )
            self.project = mlp(64 * 16, 96, 32)
            self.predict = mlp(32, 64, 32)

        def forward(self, x):
            z = self.project(self.encoder(x))
            return z, self.predict(z)

    online = Online()
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.Adam(online.parameters(), lr=1e-3, weight_decay=1e-6)
    loader = DataLoader(TensorDataset(xtr), batch_size=96, shuffle=True, drop_last=True)
    total = 10 * len(loader)
    k = 0
    score = 0.0
    with watch(online, optimizer) as w:
        for epoch in range(10):
            online.train()
            target.train()
            s = 0.0
            for (x,) in loader:
                v1, v2 = _views(x), _views(x)
                _, p1 = online(v1)
                _, p2 = online(v2)
                with torch.no_grad():
                    t1, _ = target(v1)
                    t2, _ = target(v2)
                loss = (2 - 2 * F.cosine_similarity(p1, t2, dim=1)).mean() + (
                    2 - 2 * F.cosine_similarity(p2, t1, dim=1)
                ).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                k += 1
                m = 1 - (1 - 0.97) * (math.cos(math.pi * k / total) + 1) / 2
                with torch.no_grad():
                    for a, b in zip(target.parameters(), online.parameters()):
                        a.mul_(m).add_(b, alpha=1 - m)
                w.step(loss=loss)
                s += loss.item() / len(loader)
            online.eval()
            with torch.no_grad():
                score = _knn(online.encoder(xtr), ytr, online.encoder(xva), yva)
            w.epoch(train={"loss": s}, val={"accuracy": score})
    return score


def masked_autoencoder(watch, seed, fault):
    """18. A masked autoencoder restores 8 of 16 hidden patches of digits; score is explained variance on held-out."""
    torch.manual_seed(seed)
    xtr, _, xva, _ = digits(seed, size=12)
    ptr = F.unfold(xtr, 3, stride=3).transpose(1, 2).contiguous()
    pva = F.unfold(xva, 3, stride=3).transpose(1, 2).contiguous()
    model = MAE()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.05)
    epochs = 18
    loader = DataLoader(TensorDataset(ptr), batch_size=64, shuffle=True)
    sched = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=20),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader) - 20),
        ],
        milestones=[20],
    )
    r2 = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            s = 0.0
            for (p,) in loader:
                rec, mask = model(p)
                err = (rec - p).pow(2).mean(-1)
                loss = (err * mask).sum() / mask.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=p, targets=p, outputs=rec)
                s += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                rec, mask = model(pva)
                mse = ((rec - pva).pow(2).mean(-1) * mask).sum() / mask.sum()
                base = ((pva - ptr.mean(0)).pow(2).mean(-1) * mask).sum() / mask.sum()
                r2 = (1 - mse / base).item()
            w.epoch(train={"loss": s}, val={"loss": mse.item()})
    return r2


def swa_with_update_bn(watch, seed, fault):
    """19. Stochastic weight averaging after a warm phase, SWALR, and update_bn before the averaged net is tested."""
    torch.manual_seed(seed)
    xtr, ytr = shapes(1000, 20, 5, seed + 11)
    xva, yva = shapes(300, 20, 5, seed + 10_011)
    xtr, xva = standardise(xtr, xva)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True)
    model = TinyResNet(width=8)
    swa_model = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9, weight_decay=5e-4)
    epochs, swa_start = 12, 8
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=swa_start, eta_min=0.02)
    swa_scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=1)
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            s, h = 0.0, 0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                s += loss.item() * len(y) / len(xtr)
                h += (out.argmax(1) == y).sum().item()
            if epoch >= swa_start:
                swa_model.update_parameters(model)
                swa_scheduler.step()
            else:
                scheduler.step()
            model.eval()
            with torch.no_grad():
                out = model(xva)
            w.epoch(
                train={"loss": s, "accuracy": h / len(xtr)},
                val={
                    "loss": F.cross_entropy(out, yva).item(),
                    "accuracy": (out.argmax(1) == yva).float().mean().item(),
                },
            )
    update_bn(loader, swa_model)
    swa_model.eval()
    with torch.no_grad():
        return (swa_model(xva).argmax(1) == yva).float().mean().item()


PROGRAMS = [simclr, byol, masked_autoencoder, swa_with_update_bn]
