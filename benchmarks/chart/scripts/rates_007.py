"""Programs with faults of types 7 to 8."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import conv_bn, digits_images
from torch.utils.data import DataLoader, TensorDataset


def freeze_condition_inverted(watch, seed, fault):
    """7. Fine-tuning on the other digits: the batch norms were to be frozen, `not in` turned it round, so only norm parameters and no weights train."""
    torch.manual_seed(seed)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(1, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24)
            self.conv2, self.bn2 = nn.Conv2d(24, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48)
            self.conv3, self.bn3 = nn.Conv2d(48, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48)
            self.fc = nn.Linear(48, 5)

        def forward(self, x):
            x = F.relu(self.bn1(self.conv1(x)))
            x = F.relu(self.bn2(self.conv2(x)))
            x = F.relu(self.bn3(self.conv3(x)))
            return self.fc(x.mean((2, 3)))

    X, Y, _, _ = digits_images(seed, keep=[0, 1, 2, 3, 4])
    model = Net()
    o = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(4):
        for i in range(0, len(X), 32):
            loss = F.cross_entropy(model(X[i : i + 32]), Y[i : i + 32])
            o.zero_grad()
            loss.backward()
            o.step()
    X, Y, Xt, Yt = digits_images(seed, keep=[5, 6, 7, 8, 9])
    for name, p in model.named_parameters():
        if fault:
            if "bn" not in name:
                p.requires_grad = False
        else:
            if "bn" in name:
                p.requires_grad = False
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02, momentum=0.9)
    with watch(model, optimizer) as w:
        for epoch in range(4):
            model.train()
            for xb, yb in DataLoader(TensorDataset(X, Y), batch_size=32, shuffle=True):
                logits = model(xb)
                loss = F.cross_entropy(logits, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            model.eval()
            with torch.no_grad():
                lo = model(Xt)
            acc = (lo.argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(lo, Yt).item(), "accuracy": acc})
    return acc


def bitfit_left_on(watch, seed, fault):
    """7. A transformer on token order is trained from scratch with the left-over 'only bias and LayerNorm' filter of an earlier experiment."""
    torch.manual_seed(seed)
    V, T = 20, 12
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(2, V, (1500, T), generator=g)
    y = ((x < 8).sum(1) > (x > 13).sum(1)).long() + 2 * (x[:, 0] < x[:, -1]).long()

    class Clf(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.tok = nn.Embedding(V, d)
            self.pos = nn.Parameter(torch.zeros(T, d))
            self.layers = nn.ModuleList(
                [nn.TransformerEncoderLayer(d, 4, 64, 0.0, batch_first=True, norm_first=True) for _ in range(2)]
            )
            self.norm = nn.LayerNorm(d)
            self.out = nn.Linear(d * T, 4)

        def forward(self, t):
            h = self.tok(t) + self.pos
            for l in self.layers:
                h = l(h)
            return self.out(self.norm(h).flatten(1))

    net = Clf()
    if fault:
        for n, p in net.named_parameters():
            p.requires_grad_(n.endswith("bias") or "norm" in n)
    optim = torch.optim.Adam(filter(lambda p: p.requires_grad, net.parameters()), lr=2e-3)
    xt, yt, xv, yv = x[:1200], y[:1200], x[1200:], y[1200:]
    with watch(net, optim) as w:
        for ep in range(6):
            for k in torch.randperm(1200).split(40):
                optim.zero_grad()
                out = net(xt[k])
                loss = F.cross_entropy(out, yt[k])
                loss.backward()
                optim.step()
                w.step(loss=loss, inputs=xt[k], targets=yt[k], outputs=out)
            with torch.no_grad():
                a = (net(xv).argmax(1) == yv).float().mean().item()
            w.epoch(val={"accuracy": a})
    return a


def require_grad_typo(watch, seed, fault):
    """8. The pretrained backbone was meant to be frozen, but `p.require_grad = False` is a typo; the head's high learning rate overwrites it and the old head no longer works (score: mean of old and new task)."""
    torch.manual_seed(seed)
    X, Y, Xold, Yold = digits_images(seed, keep=[0, 1, 2, 3, 4])

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                conv_bn(1, 16), conv_bn(16, 32, 2), conv_bn(32, 64), nn.AdaptiveAvgPool2d(2), nn.Flatten()
            )

        def forward(self, x):
            return self.body(x)

    backbone = Backbone()
    tmp = nn.Linear(256, 5)
    o = torch.optim.Adam([*backbone.parameters(), *tmp.parameters()], 2e-3)
    for _ in range(4):
        for k in torch.randperm(len(X)).split(32):
            l = F.cross_entropy(tmp(backbone(X[k])), Y[k])
            o.zero_grad()
            l.backward()
            o.step()
    backbone.eval()
    X, Y, Xt, Yt = digits_images(seed, keep=[5, 6, 7, 8, 9])
    X, Y = X[:60], Y[:60]
    for p in backbone.parameters():
        if fault:
            p.require_grad = False
        else:
            p.requires_grad = False
    head = nn.Linear(256, 5)
    model = nn.Sequential()
    model.add_module("backbone", backbone)
    model.add_module("head", head)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with watch(model, optimizer) as w:
        for epoch in range(15):
            for k in torch.randperm(60).split(15):
                logits = model(X[k])
                loss = F.cross_entropy(logits, Y[k])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=X[k], targets=Y[k], outputs=logits)
            with torch.no_grad():
                lo = model(Xt)
            acc = (lo.argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(lo, Yt).item(), "accuracy": acc})
    with torch.no_grad():
        old = (tmp(backbone(Xold)).argmax(1) == Yold).float().mean().item()
    return (acc + old) / 2


PROGRAMS = [freeze_condition_inverted, bitfit_left_on, require_grad_typo]
