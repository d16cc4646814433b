"""Programs with faults of types 9 to 11."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def transformer_lr_off_by_hundred(watch, seed, fault):
    """9. A transformer encoder is trained with Adam at a learning rate 100 times too high (percent written as a fraction)."""
    torch.manual_seed(seed)
    seqs = torch.randint(0, 16, (2000, 12))
    first_is_later = (seqs[:, 0:1] == seqs[:, 1:]).any(1)
    target = first_is_later.long()
    train_x, test_x, train_y, test_y = seqs[:1600], seqs[1600:], target[:1600], target[1600:]

    class Enc(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(16, 32), nn.Embedding(12, 32)
            self.enc = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True),
                2,
                enable_nested_tensor=False,
            )
            self.lin = nn.Linear(32, 2)

        def forward(self, s):
            return self.lin(self.enc(self.tok(s) + self.pos.weight)[:, 0])

    net = Enc()
    lr = 0.3 if fault else 0.003
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    with watch(net, optimizer) as w:
        for ep in range(10):
            net.train()
            total, right = 0.0, 0
            for i in torch.randperm(1600).split(64):
                s, t = train_x[i], train_y[i]
                out = net(s)
                loss = F.cross_entropy(out, t)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
                right += (out.argmax(1) == t).sum().item()
                w.step(loss=loss, inputs=s, targets=t, outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(test_x)
            a = (o.argmax(1) == test_y).float().mean().item()
            w.epoch(
                train={"loss": total / 25, "accuracy": right / 1600},
                val={"loss": F.cross_entropy(o, test_y).item(), "accuracy": a},
            )
    return a


def box_regressor_with_a_tiny_lr(watch, seed, fault):
    """10. The learning rate of a box detector is 1e-4 times what it should be (1e-3 * 1e-4), nothing is learnt."""
    torch.manual_seed(seed)
    g = np.random.default_rng(seed)

    def scenes(n, S=20):
        ims, boxes = np.zeros((n, 1, S, S), np.float32), np.zeros((n, 4), np.float32)
        for k in range(n):
            bw, bh = g.integers(5, 11, 2)
            x0, y0 = g.integers(0, S - bw), g.integers(0, S - bh)
            ims[k, 0, y0 : y0 + bh, x0 : x0 + bw] = 1.0
            boxes[k] = x0 / S, y0 / S, (x0 + bw) / S, (y0 + bh) / S
        return torch.from_numpy(ims + g.normal(0, 0.2, ims.shape).astype(np.float32)), torch.from_numpy(boxes)

    train_im, train_bx = scenes(640)
    val_im, val_bx = scenes(160)
    detector = nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(600, 64),
        nn.ReLU(),
        nn.Linear(64, 4),
    )
    cfg = {"lr": 2e-3, "lr_scale": 1e-4 if fault else 1.0, "epochs": 10, "bs": 32}
    opt = torch.optim.Adam(detector.parameters(), lr=cfg["lr"] * cfg["lr_scale"])

    def iou(p, t):
        lt, rb = torch.max(p[:, :2], t[:, :2]), torch.min(p[:, 2:], t[:, 2:])
        inter = (rb - lt).clamp(min=0).prod(1)
        return inter / ((p[:, 2:] - p[:, :2]).clamp(min=0).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - inter + 1e-6)

    ds = DataLoader(TensorDataset(train_im, train_bx), cfg["bs"], shuffle=True)
    with watch(detector, opt) as w:
        for e in range(cfg["epochs"]):
            detector.train()
            hist = []
            for im, bx in ds:
                pred = detector(im)
                loss = F.smooth_l1_loss(pred, bx, beta=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                hist.append(float(loss.detach()))
                w.step(loss=loss, inputs=im, targets=bx, outputs=pred)
            detector.eval()
            with torch.no_grad():
                pv = detector(val_im)
            score = iou(pv, val_bx).mean().item()
            w.epoch(
                train={"loss": np.mean(hist)},
                val={"loss": F.smooth_l1_loss(pv, val_bx, beta=0.05).item(), "iou": score},
            )
    return score


def linear_decay_by_integer_division(watch, seed, fault):
    """11. The lambda of a linear decay uses // instead of /, so the learning rate is 0 from the second step on (multi-label)."""
    torch.manual_seed(seed)
    n = 1500
    X = torch.randn(n, 20)
    teacher = torch.randn(20, 6) * 0.7
    Y = ((X @ teacher + 0.3 * torch.randn(n, 6)) > 0.5).float()
    Xt, Yt, Xv, Yv = X[:1200], Y[:1200], X[1200:], Y[1200:]
    tagger = nn.Sequential(nn.Linear(20, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 6))
    opt = torch.optim.AdamW(tagger.parameters(), lr=5e-3, weight_decay=1e-2)
    epochs, bs = 8, 50
    total_steps = epochs * (len(Xt) // bs)
    if fault:
        schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: max(0, (total_steps - s) // total_steps))
    else:
        schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: max(0, (total_steps - s) / total_steps))
    bce = nn.BCEWithLogitsLoss()
    with watch(tagger, opt) as w:
        for epoch in range(epochs):
            tagger.train()
            run = 0.0
            for x, y in DataLoader(TensorDataset(Xt, Yt), bs, shuffle=True):
                opt.zero_grad()
                z = tagger(x)
                loss = bce(z, y)
                loss.backward()
                opt.step()
                schedule.step()
                run += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=z)
            tagger.eval()
            with torch.no_grad():
                zv = tagger(Xv)
                tp = ((zv > 0) * Yv).sum()
                f1 = (2 * tp / ((zv > 0).sum() + Yv.sum()).clamp(min=1)).item()
            w.epoch(train={"loss": run * bs / len(Xt)}, val={"loss": bce(zv, Yv).item(), "f1": f1})
    return f1


PROGRAMS = [transformer_lr_off_by_hundred, box_regressor_with_a_tiny_lr, linear_decay_by_integer_division]
