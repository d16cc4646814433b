"""Programs with faults of types 58 to 60."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import draw
from torch.utils.data import DataLoader, TensorDataset


def imagenet_head_left(watch, seed, fault):
    """58. A small residual net is made with its default num_classes=1000 for a task of four classes."""
    torch.manual_seed(seed)
    X, Y, _, _ = draw(900, 24, seed)
    Xv, Yv, _, _ = draw(200, 24, seed + 1)

    class BasicBlock(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
            self.down = (
                nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if i != o else nn.Identity()
            )

        def forward(self, x):
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))

    class ResNet(nn.Module):
        def __init__(self, num_classes=1000):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            self.layer1, self.layer2, self.layer3 = BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 48, 2)
            self.fc = nn.Linear(48, num_classes)

        def forward(self, x):
            x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
            return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))

    model = ResNet() if fault else ResNet(num_classes=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    trainloader = DataLoader(TensorDataset(X, Y), batch_size=30, shuffle=True)
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            for inputs, labels in trainloader:
                optimizer.zero_grad()
                outputs = model(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
            model.eval()
            with torch.no_grad():
                acc = (model(Xv).argmax(1) == Yv).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


def activations_gone(watch, seed, fault):
    """59. Stripe texture classifier: the conv block's flag for the activation is never switched on, so the whole net is linear."""
    torch.manual_seed(seed)
    r = np.random.RandomState(seed)

    def stripes(n):
        yy, xx = np.mgrid[:20, :20]
        k = r.randint(0, 3, n)
        ang = np.array([0, np.pi / 3, 2 * np.pi / 3])[k] + r.randn(n) * 0.1
        f, ph = r.uniform(0.8, 1.4, n), r.uniform(0, 2 * np.pi, n)
        s = np.sin(
            f[:, None, None] * (np.cos(ang)[:, None, None] * xx + np.sin(ang)[:, None, None] * yy) + ph[:, None, None]
        )
        return torch.tensor(s[:, None] + 0.3 * r.randn(n, 1, 20, 20), dtype=torch.float32), torch.tensor(k)

    X, Y = stripes(900)
    Xv, Yv = stripes(300)

    class ConvBlock(nn.Module):
        def __init__(self, i, o, k=3, s=1, relu=False):
            super().__init__()
            self.conv = nn.Conv2d(i, o, k, s, k // 2)
            self.act = nn.ReLU() if relu else None

        def forward(self, x):
            x = self.conv(x)
            return x if self.act is None else self.act(x)

    on = {} if fault else {"relu": True}
    net = nn.Sequential(
        ConvBlock(1, 16, 5, **on),
        ConvBlock(16, 32, 3, 2, **on),
        ConvBlock(32, 32, 3, 2, **on),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 3),
    )
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            for x, y in DataLoader(TensorDataset(X, Y), 36, shuffle=True):
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            net.eval()
            with torch.no_grad():
                a = (net(Xv).argmax(1) == Yv).float().mean().item()
            w.epoch(val={"accuracy": a})
    return a


def box_sigmoid_unscaled(watch, seed, fault):
    """60. Box regression in pixels (0..32) whose output is a sigmoid that nobody multiplies by the picture size."""
    torch.manual_seed(seed)
    X, _, _, B = draw(800, 32, seed)
    SIZE = 32

    class Localizer(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1),
                nn.BatchNorm2d(16),
                nn.LeakyReLU(0.1),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.BatchNorm2d(32),
                nn.LeakyReLU(0.1),
                nn.Conv2d(32, 32, 3, 2, 1),
                nn.BatchNorm2d(32),
                nn.LeakyReLU(0.1),
            )
            self.reg = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 4), nn.Sigmoid())

        def forward(self, x):
            b = self.reg(self.backbone(x))
            return b if fault else b * SIZE

    net = Localizer()
    crit = nn.SmoothL1Loss()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)

    def mean_iou(p, t):
        lo = torch.maximum(p[:, :2] - p[:, 2:] / 2, t[:, :2] - t[:, 2:] / 2)
        hi = torch.minimum(p[:, :2] + p[:, 2:] / 2, t[:, :2] + t[:, 2:] / 2)
        i = (hi - lo).clamp(min=0).prod(1)
        return (i / (p[:, 2:].prod(1) + t[:, 2:].prod(1) - i)).mean().item()

    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            ep = 0
            for idx in torch.randperm(640).split(32):
                pred = net(X[idx])
                loss = crit(pred, B[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                ep += loss.item() / 20
                w.step(loss=loss, inputs=X[idx], targets=B[idx], outputs=pred)
            net.eval()
            with torch.no_grad():
                pv = net(X[640:])
                vl, v = crit(pv, B[640:]).item(), mean_iou(pv, B[640:])
            w.epoch(train={"loss": ep}, val={"loss": vl, "iou": v})
    return v


PROGRAMS = [imagenet_head_left, activations_gone, box_sigmoid_unscaled]
