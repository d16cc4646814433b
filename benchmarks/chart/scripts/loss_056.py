"""Programs with faults of types 56 to 58."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def weights_by_frequency(watch, seed, fault):
    """56. Imbalanced defect classes: the class weights are proportional to the frequency instead of its inverse, so the rare classes are ignored."""
    torch.manual_seed(seed)
    img, k, _, _ = draw(3000, 24, seed, noise=0.27)
    keep = torch.cat([torch.where(k == c)[0][:n] for c, n in enumerate([600, 60, 50, 40])])
    X, Y = img[keep], k[keep]
    Xv, Yv, _, _ = draw(400, 24, seed + 1, noise=0.27)
    counts = torch.bincount(Y, minlength=4).float()
    if fault:
        cw = counts / counts.sum() * 4
    else:
        cw = counts.sum() / (4 * counts)

    class CNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 1, 1), nn.Conv2d(32, 32, 3, 1, 1)
            self.na, self.nb, self.nc = nn.BatchNorm2d(16), nn.BatchNorm2d(32), nn.BatchNorm2d(32)
            self.fc = nn.Linear(32, 4)

        def forward(self, x):
            x = F.max_pool2d(F.silu(self.na(self.a(x))), 2)
            x = F.max_pool2d(F.silu(self.nb(self.b(x))), 2)
            return self.fc(F.silu(self.nc(self.c(x))).amax((2, 3)))

    model = CNN()
    loss_func = nn.CrossEntropyLoss(weight=cw)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    train_dl = DataLoader(TensorDataset(X, Y), 32, shuffle=True, drop_last=True)
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            for xb, yb in train_dl:
                out = model(xb)
                loss = loss_func(out, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                p = model(Xv).argmax(1)
            bal = float(np.mean([(p[Yv == c] == c).float().mean().item() for c in range(4)]))
            w.epoch(val={"balanced_accuracy": bal})
    return bal


def smoothing_confidence_swapped(watch, seed, fault):
    """57. A hand-written label smoothing with smoothing and confidence swapped: smoothing 0.9, targets nearly uniform."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class LabelSmoothing(nn.Module):
        def __init__(self, classes, smoothing=0.1):
            super().__init__()
            self.cls, self.smoothing, self.confidence = classes, smoothing, 1.0 - smoothing
            if fault:
                self.confidence, self.smoothing = self.smoothing, self.confidence

        def forward(self, pred, target):
            logp = pred.log_softmax(-1)
            nll = -logp.gather(-1, target[:, None]).squeeze(1)
            smooth = -logp.mean(-1)
            return (self.confidence * nll + self.smoothing * smooth).mean()

    class Bottleneck(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.seq = nn.Sequential(
                nn.Conv2d(i, o, 3, s, 1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(),
                nn.Conv2d(o, o, 3, 1, 1, bias=False),
                nn.BatchNorm2d(o),
            )
            self.short = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))

        def forward(self, x):
            return F.relu(self.seq(x) + self.short(x))

    net = nn.Sequential(
        Bottleneck(1, 16, 1), Bottleneck(16, 32, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )
    crit = LabelSmoothing(10)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 6)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            for x, y in DataLoader(TensorDataset(xtr, ytr), 64, shuffle=True):
                opt.zero_grad()
                o = net(x)
                loss = crit(o, y)
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            sched.step()
            net.eval()
            with torch.no_grad():
                z = net(xte)
            conf = z.softmax(1).gather(1, yte[:, None]).mean().item()
            w.epoch(val={"loss": crit(z, yte).item(), "accuracy": (z.argmax(1) == yte).float().mean().item()})
    return conf  # mean probability given to the true class


def one_class_short(watch, seed, fault):
    """58. Segmentation masks hold 0 = background and 1..3 = objects, but the head has only three outputs (the number of objects)."""
    torch.manual_seed(seed)
    img, k, m, _ = draw(440, 24, seed, classes=3, noise=0.05)
    img = img + 0.6 * m[:, None] * F.one_hot(k, 3)[:, :, None, None]
    Y = (k[:, None, None] + 1) * m
    NUM_CLASSES = 3 if fault else 4

    class Seg(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(
                nn.Conv2d(3, 24, 3, 1, 1),
                nn.BatchNorm2d(24),
                nn.ReLU(),
                nn.Conv2d(24, 48, 3, 2, 1),
                nn.BatchNorm2d(48),
                nn.ReLU(),
                nn.Conv2d(48, 48, 3, 1, 2, dilation=2),
                nn.BatchNorm2d(48),
                nn.ReLU(),
            )
            self.up2 = nn.ConvTranspose2d(48, 24, 2, 2)
            self.cls = nn.Conv2d(24, NUM_CLASSES, 1)

        def forward(self, x):
            return self.cls(F.relu(self.up2(self.enc(x))))

    model = Seg()
    opt = torch.optim.Adam(model.parameters(), 5e-3)
    with watch(model, opt) as w:
        for epoch in range(10):
            model.train()
            for i in torch.randperm(400).split(20):
                o = model(img[i])
                loss = F.cross_entropy(o, Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=img[i], targets=Y[i], outputs=o)
            model.eval()
            with torch.no_grad():
                p = model(img[400:]).argmax(1)
            fg = Y[400:] > 0
            acc = (p == Y[400:])[fg].float().mean().item()
            w.epoch(val={"fg_accuracy": acc})
    return acc


PROGRAMS = [weights_by_frequency, smoothing_confidence_swapped, one_class_short]
