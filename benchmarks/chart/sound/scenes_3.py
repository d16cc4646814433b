"""Sound programs: multilabel masks to yolo grid."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import UNet, cbr, det_data, f1_at_half, mask_of
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import box_convert, nms


def overlapping(n, size, seed):
    """Translucent shapes that may overlap: three independent binary masks."""
    rng = np.random.default_rng(seed)
    xs, ys = [], []
    for _ in range(n):
        img = rng.uniform(0.1, 0.2, (3, 1, 1)) * np.ones((3, size, size))
        ms = np.zeros((3, size, size), np.float32)
        for k in range(3):
            if rng.random() < 0.7:
                r = rng.uniform(0.15, 0.28) * size
                cy, cx = rng.uniform(r, size - r, 2)
                m = mask_of(k, cy, cx, r, size)
                ms[k] = m
                img[k] += 0.55 * m
        xs.append(img + rng.normal(0, 0.05, img.shape))
        ys.append(ms)
    x = torch.tensor(np.stack(xs), dtype=torch.float32)
    return (x - 0.25) / 0.2, torch.tensor(np.stack(ys))


def multilabel_masks(watch, seed, fault):
    """8. Three overlapping masks per picture, BCE per channel, a U-Net, AdamW with cosine restarts."""
    torch.manual_seed(seed)
    xtr, ytr = overlapping(500, 24, seed)
    xva, yva = overlapping(100, 24, seed + 10_000)
    model = UNet(3, 3, w=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=15, shuffle=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2 * len(loader))
    dice = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            run = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.binary_cross_entropy_with_logits(out, y)
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = F.binary_cross_entropy_with_logits(out, yva).item()
                p = (out.sigmoid() > 0.5).float()
                dice = (2 * (p * yva).sum() / (p.sum() + yva.sum())).item()
            w.epoch(train={"loss": run}, val={"loss": vl, "dice": dice})
    return dice


def imbalanced_pos_weight(watch, seed, fault):
    """9. Thin cracks on a noisy grey surface (3% positive) with BCE pos_weight and an encoder-decoder."""
    torch.manual_seed(seed)

    def cracks(n, s):
        rng = np.random.default_rng(s)
        xs = rng.normal(0, 0.5, (n, 1, 32, 32)).astype(np.float32)
        ys = np.zeros((n, 1, 32, 32), np.float32)
        for i in range(n):
            r, c = rng.integers(4, 28), 0
            while c < 32:
                ys[i, 0, r, c] = 1
                c += 1
                r = int(np.clip(r + rng.integers(-1, 2), 1, 30))
        xs -= 1.6 * ys
        return torch.from_numpy(xs), torch.from_numpy(ys)

    xtr, ytr = cracks(520, seed + 4)
    xva, yva = cracks(150, seed + 10_004)
    mu, sd = xtr.mean(), xtr.std()
    xtr, xva = (xtr - mu) / sd, (xva - mu) / sd
    pos_weight = torch.tensor(5.0)
    model = UNet(1, 1, w=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=16, shuffle=True, drop_last=True)
    f1 = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            run = 0.0
            for x, y in loader:
                logits = model(x)
                loss = F.binary_cross_entropy_with_logits(logits, y, pos_weight=pos_weight)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = F.binary_cross_entropy_with_logits(out, yva, pos_weight=pos_weight).item()
                p = (out > 0).float()
                f1 = (2 * (p * yva).sum() / (p.sum() + yva.sum())).item()
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": f1})
    return f1


def yolo_grid(watch, seed, fault):
    """10. A YOLO-like 6x6 grid: objectness, offsets, log sizes and classes with weighted loss terms."""
    torch.manual_seed(seed)
    S, G, C = 48, 6, 3
    kw = dict(n_obj=(1, 3), rmin=0.1, rmax=0.18, colour_by_class=True)
    xtr, ttr = det_data(700, S, seed + 5, **kw)
    xva, tva = det_data(100, S, seed + 10_005, **kw)
    cell = S / G

    def encode(ts):
        t = torch.zeros(len(ts), 5 + C, G, G)
        for i, d in enumerate(ts):
            b = box_convert(d["boxes"], "xyxy", "cxcywh")
            for (cx, cy, bw, bh), l in zip(b.tolist(), d["labels"].tolist()):
                gx, gy = min(int(cx / cell), G - 1), min(int(cy / cell), G - 1)
                t[i, :, gy, gx] = 0
                t[i, :5, gy, gx] = torch.tensor(
                    [1, cx / cell - gx, cy / cell - gy, math.log(bw / 12), math.log(bh / 12)]
                )
                t[i, 5 + l - 1, gy, gx] = 1
        return t

    ytr, yva = encode(ttr), encode(tva)
    model = nn.Sequential(cbr(3, 12, 2), cbr(12, 24, 2), cbr(24, 32, 2), cbr(32, 32), nn.Conv2d(32, 5 + C, 1))
    nn.init.constant_(model[-1].bias[0:1].data, -2.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

    def yolo_loss(out, t):
        obj = t[:, 0]
        n = obj.sum().clamp(min=1)
        l_obj = F.binary_cross_entropy_with_logits(out[:, 0], obj, reduction="sum") / n
        l_xy = ((torch.sigmoid(out[:, 1:3]) - t[:, 1:3]).pow(2).sum(1) * obj).sum() / n
        l_wh = ((out[:, 3:5] - t[:, 3:5]).pow(2).sum(1) * obj).sum() / n
        l_cls = (F.cross_entropy(out[:, 5:], t[:, 5:].argmax(1), reduction="none") * obj).sum() / n
        return l_obj + 5 * l_xy + 5 * l_wh + l_cls

    def decode(out):
        res = []
        gy, gx = torch.meshgrid(torch.arange(G), torch.arange(G), indexing="ij")
        for o in out:
            conf = o[0].sigmoid()
            keep = conf > 0.5
            cx = ((o[1].sigmoid() + gx) * cell)[keep]
            cy = ((o[2].sigmoid() + gy) * cell)[keep]
            bw, bh = (o[3].exp() * 12)[keep], (o[4].exp() * 12)[keep]
            boxes = box_convert(torch.stack([cx, cy, bw, bh], 1), "cxcywh", "xyxy")
            k = nms(boxes, conf[keep], 0.4)
            res.append((boxes[k], o[5:].argmax(0)[keep][k] + 1))
        return res

    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=28, shuffle=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            run = 0.0
            for x, t in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = yolo_loss(out, t)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=t, outputs=out)
                run += loss.item() / len(loader)
            sched.step()
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = yolo_loss(out, yva).item()
            score = f1_at_half(decode(out), tva)
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": score})
    return score


PROGRAMS = [multilabel_masks, imbalanced_pos_weight, yolo_grid]
