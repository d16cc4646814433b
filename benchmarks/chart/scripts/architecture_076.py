"""Programs with faults of types 76 to 78."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def lstm_without_batch_first(watch, seed, fault):
    """76. Series classifier: the data are (batch, time, features), but the LSTM is made without batch_first, so it runs along the batch."""
    torch.manual_seed(seed)
    r = np.random.RandomState(seed)

    def waves(n, T=24):
        k = r.randint(0, 3, n)
        t = np.arange(T)
        f, ph = r.uniform(0.4, 0.7, n)[:, None], r.uniform(0, 6.28, n)[:, None]
        s = np.sin(f * t + ph)
        s = np.where(k[:, None] == 1, np.sign(s), np.where(k[:, None] == 2, s * np.linspace(0.2, 1.5, T), s))
        s2 = np.roll(s, 1, 1)
        return torch.tensor(np.stack([s, s2], 2) + 0.1 * r.randn(n, T, 2), dtype=torch.float32), torch.tensor(k)

    X, Y = waves(900)
    Xv, Yv = waves(300)

    class SeqNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(2, 40, num_layers=1) if fault else nn.LSTM(2, 40, num_layers=1, batch_first=True)
            self.fc = nn.Linear(40, 3)

        def forward(self, x):
            out, (h, c) = self.lstm(x)
            return self.fc(out[:, -1, :])

    model = SeqNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            for seqs, labels in DataLoader(TensorDataset(X, Y), batch_size=30, shuffle=True):
                outputs = model(seqs)
                loss = criterion(outputs, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=seqs, targets=labels, outputs=outputs)
            model.eval()
            with torch.no_grad():
                acc = (model(Xv).argmax(1) == Yv).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


def pooled_to_one_pixel(watch, seed, fault):
    """77. A VGG layout for large pictures on 8x8 digits: after the first convolution the pools leave a single pixel, and the other 3x3 convolutions work on 1x1 maps."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    cfg = [8, "M", "M", "M", 32, 32, 32] if fault else [8, 16, "M", 32, 32, "M", 32]

    def make_layers(cfg):
        layers, c = [], 1
        for v in cfg:
            if v == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(c, v, 3, padding=1), nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
                c = v
        return nn.Sequential(*layers)

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = make_layers(cfg)
            self.classifier = nn.LazyLinear(10)

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    net = VGG()
    net(xtr[:2])
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    with watch(net, opt) as w:
        for epoch in range(7):
            net.train()
            for x, y in DataLoader(TensorDataset(xtr, ytr), 64, shuffle=True):
                opt.zero_grad()
                o = net(x)
                loss = F.cross_entropy(o, y)
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            net.eval()
            with torch.no_grad():
                acc = (net(xte).argmax(1) == yte).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


def width_mult_too_small(watch, seed, fault):
    """78. The width multiplier of the CNN is 0.06, so the stages have one or two channels: it underfits."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    width_mult = 0.06 if fault else 1.0

    def ch(c):
        return max(1, int(c * width_mult))

    class ScaledNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stage1 = nn.Sequential(nn.Conv2d(1, ch(16), 3, padding=1), nn.BatchNorm2d(ch(16)), nn.Hardswish())
            self.stage2 = nn.Sequential(nn.Conv2d(ch(16), ch(32), 3, 2, 1), nn.BatchNorm2d(ch(32)), nn.Hardswish())
            self.stage3 = nn.Sequential(nn.Conv2d(ch(32), ch(32), 3, 2, 1), nn.BatchNorm2d(ch(32)), nn.Hardswish())
            self.classifier = nn.Sequential(
                nn.Flatten(), nn.Linear(4 * ch(32), ch(64)), nn.Hardswish(), nn.Linear(ch(64), 10)
            )

        def forward(self, x):
            return self.classifier(self.stage3(self.stage2(self.stage1(x))))

    model = ScaledNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_fn = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            tl = ta = 0.0
            for idx in torch.randperm(1400).split(56):
                optimizer.zero_grad()
                out = model(xtr[idx])
                loss = loss_fn(out, ytr[idx])
                loss.backward()
                optimizer.step()
                tl += loss.item() / 25
                ta += (out.argmax(1) == ytr[idx]).float().mean().item() / 25
                w.step(loss=loss, inputs=xtr[idx], targets=ytr[idx], outputs=out)
            model.eval()
            with torch.no_grad():
                z = model(xte)
            acc = (z.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tl, "accuracy": ta}, val={"loss": loss_fn(z, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [lstm_without_batch_first, pooled_to_one_pixel, width_mult_too_small]
