"""Programs with faults of types 78 to 78."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.architecture_parts import load


def width_multiplier_too_small(watch, seed, fault):
    """78. A width multiplier of 0.05 leaves one channel per layer: the net has too few parameters for the task."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = load(seed)
    width_mult = 0.05 if fault else 1.0
    ch = lambda c: max(1, int(c * width_mult))

    class MobileNetTiny(nn.Module):
        def __init__(self):
            super().__init__()
            a, b, c = ch(16), ch(24), ch(32)
            self.features = nn.Sequential(
                nn.Conv2d(1, a, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(b, c, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1),
            )
            self.classifier = nn.Linear(4 * c, 10)

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    net = MobileNetTiny()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    with watch(net, opt) as w:
        for epoch in range(8):
            stats = []
            for idx in torch.randperm(len(xtr)).split(64):
                out = net(xtr[idx])
                loss = F.cross_entropy(out, ytr[idx])
                net.zero_grad()
                loss.backward()
                opt.step()
                stats.append((loss.item(), (out.argmax(1) == ytr[idx]).float().mean().item()))
                w.step(loss=loss, inputs=xtr[idx], targets=ytr[idx], outputs=out)
            l, a = np.mean(stats, 0)
            with torch.no_grad():
                ov = net(xte)
                va = (ov.argmax(1) == yte).float().mean().item()
            w.epoch(
                train={"loss": float(l), "accuracy": float(a)},
                val={"loss": F.cross_entropy(ov, yte).item(), "accuracy": va},
            )
    return va


PROGRAMS = [width_multiplier_too_small]
