"""Programs with faults of types 65 to 65."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import draw
from torch.utils.data import DataLoader, TensorDataset


def batch_of_two_with_bn(watch, seed, fault):
    """65. Size regression with BatchNorm up to the last layer, trained with batches of two because 'it did not fit into memory'."""
    torch.manual_seed(seed)
    X, _, _, B = draw(700, 24, seed)
    t = (B[:, 2] - 10.0) / 2.5
    bs = 2 if fault else 16

    class SizeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(3, 12, 3, 2, 1, bias=False),
                nn.BatchNorm2d(12),
                nn.ReLU(),
                nn.Conv2d(12, 24, 3, 2, 1, bias=False),
                nn.BatchNorm2d(24),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(3),
            )
            self.head = nn.Sequential(
                nn.Linear(216, 32, bias=False),
                nn.BatchNorm1d(32),
                nn.ReLU(),
                nn.Linear(32, 16, bias=False),
                nn.BatchNorm1d(16),
                nn.ReLU(),
                nn.Linear(16, 1),
            )

        def forward(self, x):
            return self.head(self.conv(x).flatten(1)).squeeze(-1)

    net = SizeNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(X[:560], t[:560]), batch_size=bs, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            ep = 0.0
            for x, y in loader:
                p = net(x)
                loss = F.mse_loss(p, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                ep += loss.item() / len(loader)
                w.step(loss=loss, inputs=x, targets=y, outputs=p)
            net.eval()
            with torch.no_grad():
                v = F.mse_loss(net(X[560:]), t[560:]).item()
            w.epoch(train={"loss": ep}, val={"loss": v})
    return 1 - v / t[560:].var().item()


PROGRAMS = [batch_of_two_with_bn]
