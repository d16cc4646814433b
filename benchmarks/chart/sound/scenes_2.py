"""Sound programs: unet ignore border to focal small objects."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import UNet, cbr, scene
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import sigmoid_focal_loss


def seg_data(n, size, seed, n_obj=(1, 3), **kw):
    rng = np.random.default_rng(seed)
    xs, ys = [], []
    for _ in range(n):
        i, l, _, _ = scene(rng, size, int(rng.integers(n_obj[0], n_obj[1] + 1)), **kw)
        xs.append(i)
        ys.append(l)
    return (torch.from_numpy(np.stack(xs)) - 0.35) / 0.25, torch.from_numpy(np.stack(ys))


def mean_iou(pred, target, classes, ignore=None):
    keep = torch.ones_like(target, dtype=torch.bool) if ignore is None else target != ignore
    out = []
    for c in range(classes):
        a, b = (pred == c) & keep, (target == c) & keep
        u = (a | b).sum().item()
        if u:
            out.append((a & b).sum().item() / u)
    return float(np.mean(out))


def soft_dice_loss(logits, target, eps=1.0):
    p = torch.sigmoid(logits).flatten(1)
    t = target.flatten(1)
    return (1 - (2 * (p * t).sum(1) + eps) / (p.sum(1) + t.sum(1) + eps)).mean()


class ASPP(nn.Module):
    def __init__(self, c, o):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(c, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()),
                cbr(c, o, dil=2),
                cbr(c, o, dil=3),
            ]
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, o, 1), nn.ReLU())
        self.fuse = nn.Sequential(nn.Conv2d(4 * o, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout(0.1))

    def forward(self, x):
        hs = [b(x) for b in self.branches]
        hs.append(self.pool(x).expand(-1, -1, *x.shape[-2:]))
        return self.fuse(torch.cat(hs, 1))


def unet_ignore_border(watch, seed, fault):
    """4. A small U-Net segments drawn shapes into four classes; the rim of every shape is labelled 255 and ignored."""
    torch.manual_seed(seed)

    def with_border(y):
        f = (y > 0).float().unsqueeze(1)
        rim = F.max_pool2d(f, 3, 1, 1) - (1 - F.max_pool2d(1 - f, 3, 1, 1))
        return torch.where(rim[:, 0] > 0.5, torch.full_like(y, 255), y)

    xtr, ytr = seg_data(500, 24, seed, rmin=0.14, rmax=0.25, colour_by_class=True)
    xva, yva = seg_data(100, 24, seed + 10_000, rmin=0.14, rmax=0.25, colour_by_class=True)
    ytr, yva = with_border(ytr), with_border(yva)
    model = UNet(3, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=12, shuffle=True)
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            run = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
            score = mean_iou(out.argmax(1), yva, 4, ignore=255)
            w.epoch(train={"loss": run}, val={"loss": criterion(out, yva).item(), "iou": score})
    return score


def fcn_dice_bce(watch, seed, fault):
    """5. An FCN with a bilinear upsampling head segments foreground with BCE plus soft Dice."""
    torch.manual_seed(seed)
    xtr, ytr = seg_data(600, 32, seed + 1)
    xva, yva = seg_data(120, 32, seed + 10_001)
    ytr, yva = (ytr > 0).float().unsqueeze(1), (yva > 0).float().unsqueeze(1)

    class FCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.s1 = cbr(3, 12)
            self.s2 = cbr(12, 24, stride=2)
            self.s3 = cbr(24, 32, stride=2)
            self.h1, self.h2, self.h3 = nn.Conv2d(12, 1, 1), nn.Conv2d(24, 1, 1), nn.Conv2d(32, 1, 1)

        def forward(self, x):
            a = self.s1(x)
            b = self.s2(a)
            c = self.s3(b)
            up = lambda t, ref: F.interpolate(t, size=ref.shape[-2:], mode="bilinear", align_corners=False)
            return self.h1(a) + up(self.h2(b) + up(self.h3(c), b), a)

    model = FCN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=24, shuffle=True)
    dice = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(7):
            model.train()
            run = 0.0
            for x, y in loader:
                out = model(x)
                loss = F.binary_cross_entropy_with_logits(out, y) + soft_dice_loss(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = (F.binary_cross_entropy_with_logits(out, yva) + soft_dice_loss(out, yva)).item()
                p = (out > 0).float()
                dice = (2 * (p * yva).sum() / (p.sum() + yva.sum())).item()
            w.epoch(train={"loss": run}, val={"loss": vl, "dice": dice})
    return dice


def deeplab_poly(watch, seed, fault):
    """6. A DeepLab-like net with atrous pyramid pooling and an auxiliary head, SGD under a poly schedule."""
    torch.manual_seed(seed)
    kw = dict(rmin=0.16, rmax=0.26, colour_by_class=True)
    xtr, ytr = seg_data(500, 32, seed + 2, **kw)
    xva, yva = seg_data(100, 32, seed + 10_002, **kw)

    class DeepLab(nn.Module):
        def __init__(self):
            super().__init__()
            self.low = cbr(3, 16, stride=2)
            self.body = nn.Sequential(cbr(16, 24, stride=2), cbr(24, 32, dil=2))
            self.aspp = ASPP(32, 16)
            self.dec = nn.Sequential(cbr(32, 24), nn.Conv2d(24, 4, 1))
            self.aux = nn.Conv2d(32, 4, 1)

        def forward(self, x):
            low = self.low(x)
            h = self.body(low)
            d = F.interpolate(self.aspp(h), size=low.shape[-2:], mode="bilinear", align_corners=False)
            main = F.interpolate(
                self.dec(torch.cat([d, low], 1)), size=x.shape[-2:], mode="bilinear", align_corners=False
            )
            if not self.training:
                return main
            aux = F.interpolate(self.aux(h), size=x.shape[-2:], mode="bilinear", align_corners=False)
            return main, aux

    model = DeepLab()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    epochs = 8
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=20, shuffle=True)
    sched = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=epochs * len(loader), power=0.9)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                main, aux = model(x)
                loss = F.cross_entropy(main, y) + 0.4 * F.cross_entropy(aux, y)
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=main)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = F.cross_entropy(out, yva).item()
            score = mean_iou(out.argmax(1), yva, 4)
            w.epoch(train={"loss": run}, val={"loss": vl, "iou": score})
    return score


def focal_small_objects(watch, seed, fault):
    """7. Tiny blobs (about 2% of the pixels) segmented with focal loss and a prior on the last bias."""
    torch.manual_seed(seed)
    kw = dict(n_obj=(1, 3), rmin=0.05, rmax=0.08)
    xtr, ytr = seg_data(600, 32, seed + 3, **kw)
    xva, yva = seg_data(150, 32, seed + 10_003, **kw)
    ytr, yva = (ytr > 0).float().unsqueeze(1), (yva > 0).float().unsqueeze(1)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 1, 1),
    )
    nn.init.constant_(model[-1].bias, -math.log((1 - 0.05) / 0.05))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=20, shuffle=True)
    iou = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(7):
            model.train()
            run = 0.0
            for x, y in loader:
                logits = model(x)
                loss = sigmoid_focal_loss(logits, y, alpha=0.5, gamma=2.0, reduction="sum") / y.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = (sigmoid_focal_loss(out, yva, alpha=0.5, gamma=2.0, reduction="sum") / yva.sum()).item()
                p = out > 0
                iou = ((p & (yva > 0)).sum() / (p | (yva > 0)).sum()).item()
            w.epoch(train={"loss": run}, val={"loss": vl, "iou": iou})
    return iou


PROGRAMS = [unet_ignore_border, fcn_dice_bce, deeplab_poly, focal_small_objects]
