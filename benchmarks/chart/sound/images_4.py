"""Sound programs: cutmix shapes to distillation."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.images_parts import TinyResNet, digits, shapes, standardise
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler


class AugmentedShapes(Dataset):
    def __init__(self, x, y, augment):
        self.x, self.y, self.augment = x, y, augment

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        img = self.x[i]
        if self.augment:
            if torch.rand(()) < 0.5:
                img = img.flip(2)
            dy, dx = torch.randint(-2, 3, (2,)).tolist()
            img = torch.roll(img, (dy, dx), (1, 2))
        return {"image": img, "label": self.y[i]}


def cutmix_shapes(watch, seed, fault):
    """12. CutMix with half the batches mixed, a VGG-like net, Adam and a loss of two weighted terms."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xtr, ytr = shapes(1200, 24, 4, seed + 7)
    xva, yva = shapes(300, 24, 4, seed + 10_007)
    xtr, xva = standardise(xtr, xva)

    def block(i, o):
        return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

    model = nn.Sequential(*block(3, 16), *block(16, 32), *block(32, 48), nn.Flatten(), nn.Linear(48 * 9, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            tot, n = 0.0, 0
            for x, y in loader:
                lam, y2 = 1.0, y
                if rng.random() < 0.5:
                    lam = rng.beta(1.0, 1.0)
                    S = x.shape[-1]
                    side = int(S * math.sqrt(1 - lam))
                    cy, cx = rng.integers(0, S, 2)
                    a, b = max(cy - side // 2, 0), min(cy + side // 2, S)
                    c, d = max(cx - side // 2, 0), min(cx + side // 2, S)
                    perm = torch.randperm(len(x))
                    x = x.clone()
                    x[:, :, a:b, c:d] = x[perm][:, :, a:b, c:d]
                    lam = 1 - (b - a) * (d - c) / (S * S)
                    y2 = y[perm]
                optimizer.zero_grad()
                out = model(x)
                loss = lam * F.cross_entropy(out, y) + (1 - lam) * F.cross_entropy(out, y2)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, outputs=out)
                tot += loss.item() * len(y)
                n += len(y)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                acc = (out.argmax(1) == yva).float().mean().item()
                vl = F.cross_entropy(out, yva).item()
            w.epoch(train={"loss": tot / n}, val={"loss": vl, "accuracy": acc})
    return acc


def class_weights_long_tail(watch, seed, fault):
    """13. Long-tailed shapes (500/250/120/60) with effective-number class weights; balanced accuracy on balanced data."""
    torch.manual_seed(seed)
    counts = np.array([500, 250, 120, 60])
    xtr, ytr = shapes(counts.sum(), 24, 4, seed + 8, labels=np.repeat(np.arange(4), counts))
    xva, yva = shapes(320, 24, 4, seed + 10_008, labels=np.tile(np.arange(4), 80))
    xtr, xva = standardise(xtr, xva)
    beta = 0.99
    weights = torch.tensor((1 - beta) / (1 - beta**counts), dtype=torch.float32)
    weights = weights / weights.mean()
    criterion = nn.CrossEntropyLoss(weight=weights)
    model = TinyResNet(classes=4, width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=32, shuffle=True, drop_last=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8 * len(loader))
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            tl = []
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                scheduler.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                tl.append(loss.item())
            model.eval()
            with torch.no_grad():
                out = model(xva)
                pred = out.argmax(1)
                score = np.mean([(pred[yva == c] == c).float().mean().item() for c in range(4)])
                vl = criterion(out, yva).item()
            w.epoch(train={"loss": float(np.mean(tl))}, val={"loss": vl, "accuracy": float(score)})
    return float(score)


def balanced_sampler(watch, seed, fault):
    """14. The same kind of long tail with a WeightedRandomSampler, flips and shifts, dictionaries as batches."""
    torch.manual_seed(seed)
    counts = np.array([60, 450, 100, 250])
    xtr, ytr = shapes(counts.sum(), 20, 4, seed + 9, labels=np.repeat(np.arange(4), counts))
    xva, yva = shapes(240, 20, 4, seed + 10_009, labels=np.tile(np.arange(4), 60))
    xtr, xva = standardise(xtr, xva)
    per_row = (1.0 / torch.tensor(counts, dtype=torch.double))[ytr]
    sampler = WeightedRandomSampler(per_row, num_samples=len(ytr), replacement=True)
    loader = DataLoader(AugmentedShapes(xtr, ytr, True), batch_size=40, sampler=sampler, drop_last=True)
    vloader = DataLoader(AugmentedShapes(xva, yva, False), batch_size=120)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 1, 1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, 2, 1),
        nn.GroupNorm(4, 48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(12):
            model.train()
            agg = {"loss": 0.0, "accuracy": 0.0}
            for batch in loader:
                x, y = batch["image"], batch["label"]
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                agg["loss"] += loss.item() / len(loader)
                agg["accuracy"] += (out.argmax(1) == y).float().mean().item() / len(loader)
            model.eval()
            vl, hit = 0.0, 0
            with torch.no_grad():
                for batch in vloader:
                    out = model(batch["image"])
                    vl += F.cross_entropy(out, batch["label"], reduction="sum").item()
                    hit += (out.argmax(1) == batch["label"]).sum().item()
            acc = hit / len(yva)
            w.epoch(train=agg, val={"loss": vl / len(yva), "accuracy": acc})
    return acc


def distillation(watch, seed, fault):
    """15. Knowledge distillation: a small student learns from a CNN teacher's softened logits (T=3) and the labels."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    teacher = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    topt = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for i in range(120):
        idx = torch.randint(0, len(xtr), (64,))
        topt.zero_grad()
        F.cross_entropy(teacher(xtr[idx]), ytr[idx]).backward()
        topt.step()
    teacher.eval().requires_grad_(False)

    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.LeakyReLU(0.1), nn.Linear(24, 10))
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    T, alpha = 3.0, 0.7
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(student, optimizer) as w:
        for epoch in range(12):
            student.train()
            run = 0.0
            for x, y in loader:
                with torch.no_grad():
                    t = teacher(x)
                s = student(x)
                kd = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="batchmean") * T * T
                loss = alpha * kd + (1 - alpha) * F.cross_entropy(s, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=s)
                run += loss.item() * len(y) / len(xtr)
            student.eval()
            with torch.no_grad():
                acc = (student(xva).argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": run}, val={"accuracy": acc})
    return acc


PROGRAMS = [cutmix_shapes, class_weights_long_tail, balanced_sampler, distillation]
