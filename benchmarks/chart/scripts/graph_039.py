"""Programs with faults of types 39 to 39."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import shape_pictures


def vgg_init_too_small(watch, seed, fault):
    """39. VGG-like net without norm: all conv and linear weights drawn with std 1e-4, the signal dies layer by layer and the logits stay at 0."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(560, seed + 12, size=24, noise=0.1, rmin=5, rmax=9)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(432, 64),
        nn.ReLU(),
        nn.Linear(64, 4),
    )
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            if fault:
                nn.init.normal_(m.weight, std=1e-4)
            else:
                nn.init.kaiming_normal_(m.weight)
            nn.init.zeros_(m.bias)
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(15):
            for k in torch.randperm(480).split(24):
                o = net(X[k])
                loss = F.cross_entropy(o, Y[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=Y[k], outputs=o)
            with torch.no_grad():
                o = net(X[480:])
            acc = (o.argmax(1) == Y[480:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, Y[480:]).item(), "accuracy": acc})
    return acc


PROGRAMS = [vgg_init_too_small]
