"""Programs with faults of types 66 to 68."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def draw(n, size, seed, classes=4, noise=0.1):
    """coloured shapes: returns pictures (n,3,s,s), class, mask (n,s,s), box cxcywh in pixels"""
    r = np.random.RandomState(seed)
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    k = r.randint(0, classes, n)
    rad = r.uniform(size * 0.14, size * 0.28, n).astype(np.float32)
    cx = r.uniform(rad + 1, size - rad - 1).astype(np.float32)
    cy = r.uniform(rad + 1, size - rad - 1).astype(np.float32)
    dx = (xx[None] - cx[:, None, None]) / rad[:, None, None]
    dy = (yy[None] - cy[:, None, None]) / rad[:, None, None]
    sq = (abs(dx) <= 1) & (abs(dy) <= 1)
    forms = [sq, dx**2 + dy**2 <= 1, sq & ((abs(dx) < 0.33) | (abs(dy) < 0.33)), sq & (dy >= 2 * abs(dx) - 1)]
    m = np.zeros((n, size, size), bool)
    for c in range(classes):
        m[k == c] = forms[c][k == c]
    col = r.uniform(0.5, 1.0, (n, 3, 1, 1))
    img = r.uniform(0, 0.3, (n, 3, 1, 1)) * np.ones((n, 3, size, size))
    img = np.where(m[:, None], col, img) + noise * r.randn(n, 3, size, size)
    return (
        torch.tensor(img, dtype=torch.float32),
        torch.tensor(k),
        torch.tensor(m),
        torch.tensor(np.stack([cx, cy, 2 * rad, 2 * rad], 1), dtype=torch.float32),
    )


def keras_bn_momentum(watch, seed, fault):
    """66. EfficientNet-like net ported from Keras: BN momentum 0.999 was turned into 1 - 0.999, but training has only two hundred steps, so running statistics hardly move."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    xtr, xte = xtr * 2 + 1, xte * 2 + 1
    mom = 1 - 0.999 if fault else 1 - 0.9

    class MBConv(nn.Module):
        def __init__(self, i, o, s, t=3):
            super().__init__()
            h = i * t
            self.expand = nn.Sequential(nn.Conv2d(i, h, 1, bias=False), nn.BatchNorm2d(h, momentum=mom), nn.SiLU())
            self.dw = nn.Sequential(
                nn.Conv2d(h, h, 3, s, 1, groups=h, bias=False), nn.BatchNorm2d(h, momentum=mom), nn.SiLU()
            )
            self.se = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(h, 8, 1), nn.SiLU(), nn.Conv2d(8, h, 1), nn.Sigmoid()
            )
            self.project = nn.Sequential(nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o, momentum=mom))
            self.skip = i == o and s == 1

        def forward(self, x):
            z = self.dw(self.expand(x))
            z = self.project(z * self.se(z))
            return x + z if self.skip else z

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16, momentum=mom),
        nn.SiLU(),
        MBConv(16, 16, 1),
        MBConv(16, 24, 2),
        MBConv(24, 24, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True)
    with watch(model, optimizer) as w:
        for epoch in range(7):
            model.train()
            tr = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                tr += loss.item() / len(loader)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tr}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def eval_mode_stays_on(watch, seed, fault):
    """67. evaluate() is called every 15 steps and switches to eval mode; nobody switches back, so dropout is off and BN is frozen for the rest of the training."""
    torch.manual_seed(seed)
    X, Y, _, _ = draw(700, 24, seed)
    Xv, Yv, _, _ = draw(300, 24, seed + 1)
    X, Xv = X * 4, Xv * 4

    def conv_block(i, o):
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.1)
        )

    net = nn.Sequential(
        conv_block(3, 16),
        conv_block(16, 32),
        conv_block(32, 64),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)

    @torch.no_grad()
    def evaluate():
        net.eval()
        o = net(Xv)
        return {"loss": F.cross_entropy(o, Yv).item(), "accuracy": (o.argmax(1) == Yv).float().mean().item()}

    net.train()
    step = 0
    with watch(net, opt) as w:
        for epoch in range(8):
            for i in torch.randperm(700).split(50):
                o = net(X[i])
                loss = F.cross_entropy(o, Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[i], targets=Y[i], outputs=o)
                step += 1
                if step % 15 == 0:
                    res = evaluate()
                    w.epoch(val=res)
                    if not fault:
                        net.train()
    return evaluate()["accuracy"]


def validation_in_train_mode(watch, seed, fault):
    """68. The validation loop has no model.eval(): dropout runs, and BN normalises with (and absorbs) batches sorted by class."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    o = yte.argsort(stable=True)
    val_loader = DataLoader(TensorDataset(xte[o], yte[o]), batch_size=20)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=70, shuffle=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block1 = nn.Sequential(nn.Conv2d(1, 20, 3, 1, 1), nn.BatchNorm2d(20), nn.ELU())
            self.block2 = nn.Sequential(nn.Conv2d(20, 40, 3, 2, 1), nn.BatchNorm2d(40), nn.ELU())
            self.drop = nn.Dropout(0.4)
            self.fc = nn.Linear(640, 10)

        def forward(self, x):
            return self.fc(self.drop(self.block2(self.block1(x)).flatten(1)))

    class Trainer:
        def __init__(self):
            self.model = Net()
            self.opt = torch.optim.Adam(self.model.parameters(), 2e-3)
            self.crit = nn.CrossEntropyLoss()

        def validate(self):
            if not fault:
                self.model.eval()
            loss = hit = n = 0
            with torch.no_grad():
                for x, y in val_loader:
                    z = self.model(x)
                    loss += self.crit(z, y).item() * len(y)
                    hit += (z.argmax(1) == y).sum().item()
                    n += len(y)
            return {"loss": loss / n, "accuracy": hit / n}

        def run(self, epochs):
            with watch(self.model, self.opt) as w:
                for _ in range(epochs):
                    self.model.train()
                    loss = hit = 0
                    for x, y in train_loader:
                        self.opt.zero_grad()
                        z = self.model(x)
                        l = self.crit(z, y)
                        l.backward()
                        self.opt.step()
                        w.step(loss=l, inputs=x, targets=y, outputs=z)
                        loss += l.item() * len(y) / 1400
                        hit += (z.argmax(1) == y).sum().item() / 1400
                    v = self.validate()
                    w.epoch(train={"loss": loss, "accuracy": hit}, val=v)
            return v["accuracy"]

    return Trainer().run(7)


PROGRAMS = [keras_bn_momentum, eval_mode_stays_on, validation_in_train_mode]
