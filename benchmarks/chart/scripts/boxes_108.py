"""Programs with faults of types 108 to 110."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from torch.utils.data import DataLoader, TensorDataset


def threshold_hides_all(watch, seed, fault):
    """108. The detector's heat map finds the objects, but the post-processing keeps only scores above 0.995, which focal-like training never gives."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 32
    CONF_THRES = 0.995 if fault else 0.3
    X, Hm, P = [], [], []
    yy, xx = np.mgrid[:16, :16]
    for _ in range(300):
        im, _m, (x1, y1, x2, y2) = draw(rng, rng.integers(0, 4), S, rng.uniform(0.5, 1, 3), noise=0.1)
        cx, cy = (x1 + x2) / 4, (y1 + y2) / 4
        X.append(im.transpose(2, 0, 1))
        Hm.append(np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / 2.0)[None])
        P.append((cx, cy))
    X, Hm, P = torch.tensor(np.stack(X)).float(), torch.tensor(np.stack(Hm)).float(), torch.tensor(P)

    class CenterNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
            self.down = nn.Sequential(
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.Conv2d(32, 32, 3, 1, 2, 2),
                nn.BatchNorm2d(32),
                nn.ReLU(),
            )
            self.up = nn.ConvTranspose2d(32, 16, 2, 2)
            self.head = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))

        def forward(self, x):
            a = self.stem(x)
            return self.head(self.up(self.down(a)) + a)

    net = CenterNet()
    nn.init.constant_(net.head[-1].bias, -2.2)
    opt = torch.optim.Adam(net.parameters(), 3e-3)

    def detect(x):
        with torch.no_grad():
            h = net(x).sigmoid()
        h = h * (F.max_pool2d(h, 3, 1, 1) == h)
        out = []
        for m in h[:, 0]:
            ys, xs = torch.where(m > CONF_THRES)
            out.append(torch.stack([xs, ys, m[ys, xs]], 1) if len(ys) else torch.zeros(0, 3))
        return out

    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            for ix in torch.randperm(240).split(12):
                z = net(X[ix])
                p, t = z.sigmoid().clamp(1e-4, 1 - 1e-4), Hm[ix]
                pos = (t > 0.85).float()
                loss = -(
                    pos * (1 - p) ** 2 * p.log() + (1 - pos) * (1 - t) ** 4 * p**2 * (1 - p).log()
                ).sum() / pos.sum().clamp(min=1)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[ix], targets=t, outputs=z)
            net.eval()
            found = tot = 0
            for d, g in zip(detect(X[240:]), P[240:]):
                tot += len(d)
                found += bool(len(d)) and bool(((d[:, :2] - g).norm(dim=1) < 2).any())
            rec, prec = found / 60, found / max(tot, 1)
            f1 = 2 * rec * prec / max(rec + prec, 1e-9)
            w.epoch(train={"loss": loss.item()}, val={"recall": rec, "precision": prec, "f1": f1})
    return f1


def half_overflow(watch, seed, fault):
    """109. Autocast to float16 makes the sum-pooled bilinear features overflow (above 65504); the same net in float32 is finite and learns."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    X, Xt = torch.tensor(Xa)[:, None] / 16, torch.tensor(Xb)[:, None] / 16
    Y, Yt = torch.tensor(ya), torch.tensor(yb)

    class BilinearCNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
            self.scale = 200.0
            self.fc = nn.Linear(24 * 24, 10)

        def forward(self, x):
            with torch.autocast("cpu", enabled=False):  # half-precision convolutions are slow here
                f = F.relu(self.c2(F.relu(self.c1(x)))) * self.scale
            f = f.flatten(2)
            g = torch.bmm(f, f.transpose(1, 2)).flatten(1)  # sum over positions, not the mean
            g = torch.sqrt(g + 1.0)
            return self.fc(F.normalize(g, dim=1) * 10)

    net = BilinearCNN()
    opt = torch.optim.Adam(net.parameters(), 3e-3)
    with watch(net, opt) as w:
        for epoch in range(8):
            tl = 0.0
            for ix in torch.randperm(len(X)).split(64):
                opt.zero_grad()
                with torch.autocast("cpu", dtype=torch.float16, enabled=fault):
                    out = net(X[ix])
                    loss = F.cross_entropy(out.float(), Y[ix])
                loss.backward()
                opt.step()
                tl += loss.item() * len(ix)
                w.step(loss=loss, inputs=X[ix], targets=Y[ix], outputs=out)
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16, enabled=fault):
                acc = (net(Xt).argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": tl / len(X)}, val={"accuracy": acc})
    return acc


def lr_of_eight_gpus(watch, seed, fault):
    """110. The learning rate 0.8 belongs to 8 GPUs x 64 pictures; here one process trains with batches of 8 and the same rate."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    cfg = {"lr": 0.8, "momentum": 0.9, "weight_decay": 1e-4, "ref_batch": 8 * 64, "samples_per_gpu": 8}
    lr = cfg["lr"] if fault else cfg["lr"] * cfg["samples_per_gpu"] / cfg["ref_batch"]
    tr = DataLoader(
        TensorDataset(torch.tensor(Xa)[:, None] / 16, torch.tensor(ya)),
        cfg["samples_per_gpu"],
        shuffle=True,
        drop_last=True,
    )
    vx, vy = torch.tensor(Xb)[:, None] / 16, torch.tensor(yb)

    class Res(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a, self.b = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.Conv2d(c, c, 3, 1, 1, bias=False)
            self.na, self.nb = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

        def forward(self, x):
            return F.relu(x + self.nb(self.b(F.relu(self.na(self.a(x))))))

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Res(16),
        nn.MaxPool2d(2),
        Res(16),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=cfg["momentum"], weight_decay=cfg["weight_decay"])
    with watch(net, opt) as w:
        for epoch in range(3):
            net.train()
            s = 0.0
            for x, y in tr:
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            net.eval()
            with torch.no_grad():
                o = net(vx)
                acc = (o.argmax(1) == vy).float().mean().item()
            w.epoch(train={"loss": s / len(tr)}, val={"loss": F.cross_entropy(o, vy).item(), "accuracy": acc})
    return acc


PROGRAMS = [threshold_hides_all, half_overflow, lr_of_eight_gpus]
