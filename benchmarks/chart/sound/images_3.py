"""Sound programs: prototypical episodes to mixup digits."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.images_parts import _pretrain, digits, shapes, standardise
from torch.utils.data import DataLoader, TensorDataset


def prototypical_episodes(watch, seed, fault):
    """9. Prototypical networks, 5-way 5-shot episodes on digits 0-6; tested 3-way on the unseen digits 7-9."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xa, ya, xb, yb = digits(seed)
    x, y = torch.cat([xa, xb]), torch.cat([ya, yb])
    by_class = {c: torch.where(y == c)[0].numpy() for c in range(10)}
    encoder = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 32),
    )
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=60, gamma=0.5)

    def episode(classes, ways, shots, queries):
        chosen = rng.choice(classes, ways, replace=False)
        sup, qry = [], []
        for c in chosen:
            idx = rng.choice(by_class[c], shots + queries, replace=False)
            sup.append(x[idx[:shots]])
            qry.append(x[idx[shots:]])
        return torch.cat(sup), torch.cat(qry), torch.arange(ways).repeat_interleave(queries)

    def scores(sup, qry, ways, shots):
        z = encoder(torch.cat([sup, qry]))
        proto = z[: ways * shots].view(ways, shots, -1).mean(1)
        return -torch.cdist(z[ways * shots :], proto).pow(2) / math.sqrt(proto.shape[1])

    with watch(encoder, optimizer) as w:
        for it in range(150):
            encoder.train()
            s, q, t = episode(range(7), 5, 5, 10)
            logits = scores(s, q, 5, 5)
            loss = F.cross_entropy(logits, t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            w.step(loss=loss, inputs=q, targets=t, outputs=logits)
    encoder.eval()
    accs = []
    with torch.no_grad():
        for _ in range(30):
            s, q, t = episode([7, 8, 9], 3, 5, 15)
            accs.append((scores(s, q, 3, 5).argmax(1) == t).float().mean().item())
    return float(np.mean(accs))


def linear_probe_cached(watch, seed, fault):
    """10. A linear probe with Nesterov SGD on cached, standardised features of a frozen CNN."""
    torch.manual_seed(seed)
    net = _pretrain(seed, steps=70)
    xtr, ytr = shapes(1200, 20, 5, seed + 6)
    xva, yva = shapes(400, 20, 5, seed + 10_006)
    xtr, xva = standardise(xtr, xva)
    net.eval()
    with torch.no_grad():
        ftr = torch.cat([net.features(b) for b in xtr.split(200)])
        fva = torch.cat([net.features(b) for b in xva.split(200)])
    mu, sd = ftr.mean(0), ftr.std(0) + 1e-6
    ftr, fva = (ftr - mu) / sd, (fva - mu) / sd
    probe = nn.Linear(ftr.shape[1], 5)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.SGD(probe.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    loader = DataLoader(TensorDataset(ftr, ytr), batch_size=100, shuffle=True)
    acc = 0.0
    with watch(probe, optimizer) as w:
        for epoch in range(15):
            probe.train()
            tl = ta = 0.0
            for f, y in loader:
                out = probe(f)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=f, targets=y, outputs=out)
                tl += loss.item() / len(loader)
                ta += (out.argmax(1) == y).float().mean().item() / len(loader)
            scheduler.step()
            probe.eval()
            with torch.no_grad():
                out = probe(fva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": tl, "accuracy": ta}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


def mixup_digits(watch, seed, fault):
    """11. Mixup with soft targets on 12-pixel digits, a wide CNN, SGD with multi-step schedule."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    xtr, ytr, xva, yva = digits(seed, size=12)
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(48 * 9, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 8], gamma=0.2)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            tot = 0.0
            for x, y in loader:
                lam = float(np.random.beta(0.4, 0.4))
                perm = torch.randperm(len(x))
                x = lam * x + (1 - lam) * x[perm]
                t = F.one_hot(y, 10).float()
                t = lam * t + (1 - lam) * t[perm]
                out = model(x)
                loss = F.cross_entropy(out, t)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=t, outputs=out)
                tot += loss.item()
            scheduler.step()
            model.eval()
            with torch.no_grad():
                out = model(xva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": tot / len(loader)}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


PROGRAMS = [prototypical_episodes, linear_probe_cached, mixup_digits]
