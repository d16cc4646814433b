"""Sound programs: cnn on digits to vit warmup cosine."""

import copy
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.images_parts import TinyResNet, digits, shapes, standardise
from torch.utils.data import DataLoader, TensorDataset


class SqueezeExcite(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.a = nn.Conv2d(c, c // r, 1)
        self.b = nn.Conv2d(c // r, c, 1)

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.b(F.silu(self.a(s))))


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expand=4):
        super().__init__()
        mid = cin * expand
        self.use_skip = stride == 1 and cin == cout
        self.net = nn.Sequential(
            nn.Conv2d(cin, mid, 1, bias=False),
            nn.BatchNorm2d(mid),
            nn.SiLU(),
            nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False),
            nn.BatchNorm2d(mid),
            nn.SiLU(),
            SqueezeExcite(mid),
            nn.Conv2d(mid, cout, 1, bias=False),
            nn.BatchNorm2d(cout),
        )

    def forward(self, x):
        return x + self.net(x) if self.use_skip else self.net(x)


class ViT(nn.Module):
    def __init__(self, size=8, patch=2, dim=48, depth=3, heads=4, classes=10, cin=1):
        super().__init__()
        n = (size // patch) ** 2
        self.embed = nn.Conv2d(cin, dim, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.zeros(1, n + 1, dim))
        nn.init.trunc_normal_(self.cls, std=0.02)
        nn.init.trunc_normal_(self.pos, std=0.02)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 2 * dim, dropout=0.05, activation="gelu", batch_first=True, norm_first=True
        )
        self.enc = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        t = self.embed(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1) + self.pos
        return self.head(self.norm(self.enc(t)[:, 0]))


def cnn_on_digits(watch, seed, fault):
    """0. A plain two-layer CNN with dropout learns the sklearn digits with Adam."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    val_loader = DataLoader(TensorDataset(xva, yva), batch_size=256)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run, hit, n = 0.0, 0, 0
            for x, y in train_loader:
                optimizer.zero_grad()
                out = model(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() * len(y)
                hit += (out.argmax(1) == y).sum().item()
                n += len(y)
            model.eval()
            vl, vh, vn = 0.0, 0, 0
            with torch.no_grad():
                for x, y in val_loader:
                    out = model(x)
                    vl += criterion(out, y).item() * len(y)
                    vh += (out.argmax(1) == y).sum().item()
                    vn += len(y)
            acc = vh / vn
            w.epoch(train={"loss": run / n, "accuracy": hit / n}, val={"loss": vl / vn, "accuracy": acc})
    return acc


def resnet_onecycle(watch, seed, fault):
    """1. A small ResNet with SGD, Nesterov momentum and a one-cycle schedule classifies drawn shapes."""
    torch.manual_seed(seed)
    xtr, ytr = shapes(1100, 20, 5, seed)
    xva, yva = shapes(400, 20, 5, seed + 10_000)
    xtr, xva = standardise(xtr, xva)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=48, shuffle=True, drop_last=True)
    model = TinyResNet()
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decay, "weight_decay": 5e-4}, {"params": no_decay, "weight_decay": 0.0}],
        lr=0.01,
        momentum=0.9,
        nesterov=True,
    )
    epochs = 6
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * len(loader))
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            losses, accs = [], []
            for x, y in loader:
                flip = torch.rand(len(x)) < 0.5
                x = torch.where(flip[:, None, None, None], x.flip(3), x)
                optimizer.zero_grad(set_to_none=True)
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                scheduler.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                losses.append(loss.item())
                accs.append((out.argmax(1) == y).float().mean().item())
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vloss = F.cross_entropy(out, yva).item()
                acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": np.mean(losses), "accuracy": np.mean(accs)}, val={"loss": vloss, "accuracy": acc})
    return acc


def mobilenet_with_ema(watch, seed, fault):
    """2. A MobileNet/EfficientNet-like net with RMSprop; an exponential moving average of the weights is evaluated."""
    torch.manual_seed(seed)
    xtr, ytr = shapes(1000, 20, 4, seed + 1)
    xva, yva = shapes(300, 20, 4, seed + 10_001)
    xtr, xva = standardise(xtr, xva)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1, bias=False),
        nn.BatchNorm2d(12),
        nn.SiLU(),
        InvertedResidual(12, 12, 1),
        InvertedResidual(12, 20, 2),
        InvertedResidual(20, 20, 1),
        nn.Conv2d(20, 48, 1, bias=False),
        nn.BatchNorm2d(48),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(48, 4),
    )
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.9, momentum=0.0, eps=1e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    gen = torch.Generator().manual_seed(seed)
    bs, step = 50, 0
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            tl, ta = 0.0, 0.0
            perm = torch.randperm(len(xtr), generator=gen)
            for i in range(0, len(xtr), bs):
                idx = perm[i : i + bs]
                out = model(xtr[idx])
                loss = F.cross_entropy(out, ytr[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                d = min(0.97, (1 + step) / (10 + step))
                with torch.no_grad():
                    for pe, p in zip(ema.parameters(), model.parameters()):
                        pe.lerp_(p, 1 - d)
                    for be, b in zip(ema.buffers(), model.buffers()):
                        be.copy_(b)
                w.step(loss=loss, inputs=xtr[idx], targets=ytr[idx], outputs=out)
                tl += loss.item() * len(idx) / len(xtr)
                ta += (out.argmax(1) == ytr[idx]).sum().item() / len(xtr)
            scheduler.step()
            with torch.no_grad():
                out = ema(xva)
                acc = (out.argmax(1) == yva).float().mean().item()
                vl = F.cross_entropy(out, yva).item()
            w.epoch(train={"loss": tl, "accuracy": ta}, val={"loss": vl, "accuracy": acc})
    return acc


def vit_warmup_cosine(watch, seed, fault):
    """3. A small ViT with label smoothing, AdamW, linear warm-up and cosine decay, gradient clipping."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    model = ViT(dim=40, depth=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.05)
    epochs = 11
    total = epochs * len(loader)
    warm = total // 10

    def factor(s):
        if s < warm:
            return (s + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (s - warm) / (total - warm)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            tot = 0.0
            for x, y in loader:
                logits = model(x)
                loss = F.cross_entropy(logits, y, label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
                tot += loss.item() * len(y)
            model.eval()
            with torch.no_grad():
                logits = model(xva)
                acc = (logits.argmax(1) == yva).float().mean().item()
                vl = F.cross_entropy(logits, yva).item()
            w.epoch(train={"loss": tot / len(xtr)}, val={"loss": vl, "accuracy": acc})
    return acc


PROGRAMS = [cnn_on_digits, resnet_onecycle, mobilenet_with_ema, vit_warmup_cosine]
