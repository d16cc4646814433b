"""Programs with faults of types 31 to 32."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


def layer3_never_called(watch, seed, fault):
    """31. Copy and paste in forward(): layer2 is called twice and layer3 never, its parameters have no gradient (slip, score hardly moves)."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    class ResBlock(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(c, c, 3, 1, 1, bias=False),
                nn.BatchNorm2d(c),
                nn.ReLU(),
                nn.Conv2d(c, c, 3, 1, 1, bias=False),
                nn.BatchNorm2d(c),
            )

        def forward(self, x):
            return F.relu(x + self.f(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = cbr(1, 24)
            self.layer1, self.layer2, self.layer3 = ResBlock(24), ResBlock(24), ResBlock(24)
            self.fc = nn.Linear(24, 10)

        def forward(self, x):
            x = self.layer1(self.stem(x))
            x = F.max_pool2d(x, 2)
            x = self.layer2(x)
            x = self.layer2(x) if fault else self.layer3(x)
            return self.fc(x.mean((2, 3)))

    net = ResNet()
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 48, shuffle=True):
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            net.eval()
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def deep_branch_result_dropped(watch, seed, fault):
    """31. Segmentation with two branches: forward computes only the local one, the context branch is built but its call was commented out."""
    torch.manual_seed(seed)
    X, _, M, _ = shape_pictures(300, seed, size=24, noise=0.1, rmin=4, rmax=8)

    class TwoBranch(nn.Module):
        def __init__(self):
            super().__init__()
            self.local = nn.Sequential(cbr(3, 16), cbr(16, 16))
            self.context = nn.Sequential(
                cbr(3, 16, 2), cbr(16, 32, 2), cbr(32, 32), cbr(32, 16), nn.Upsample(scale_factor=4, mode="bilinear")
            )
            self.predict = nn.Conv2d(16, 5, 1)

        def forward(self, x):
            f = self.local(x)
            if not fault:
                f = f + self.context(x)
            return self.predict(f)

    net = TwoBranch()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    with watch(net, opt) as w:
        for epoch in range(14):
            net.train()
            for k in torch.randperm(240).split(24):
                p = net(X[k])
                loss = F.cross_entropy(p, M[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=M[k], outputs=p)
            net.eval()
            with torch.no_grad():
                p = net(X[240:])
            fg = M[240:] > 0
            s = (p.argmax(1) == M[240:])[fg].float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(p, M[240:]).item(), "fg_accuracy": s})
    return s


def vit_blocks_in_list(watch, seed, fault):
    """32. A transformer for sequence copying keeps its blocks in a plain Python list: they are not in parameters() and stay random."""
    torch.manual_seed(seed)
    V, T = 10, 8

    class Encoder(nn.Module):
        def __init__(self, d=32, depth=3):
            super().__init__()
            self.emb, self.pos = nn.Embedding(V, d), nn.Parameter(torch.randn(T, d))
            layers = [
                nn.TransformerEncoderLayer(d, 4, 64, 0.0, batch_first=True, norm_first=True) for _ in range(depth)
            ]
            self.layers = layers if fault else nn.ModuleList(layers)
            self.head = nn.Linear(d, V)

        def forward(self, s):
            z = self.emb(s) + self.pos
            for l in self.layers:
                z = l(z)
            return self.head(z)

    def make(n):
        s = torch.randint(0, V, (n, T))
        return s, s.flip(1)

    net = Encoder()
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    xv, yv = make(200)
    with watch(net, opt) as w:
        for epoch in range(5):
            tot = 0
            for _ in range(70):
                x, y = make(32)
                o = net(x)
                loss = F.cross_entropy(o.transpose(1, 2), y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() / 70
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            with torch.no_grad():
                o = net(xv)
            acc = (o.argmax(-1) == yv).float().mean().item()
            w.epoch(train={"loss": tot}, val={"loss": F.cross_entropy(o.transpose(1, 2), yv).item(), "accuracy": acc})
    return acc


def attribute_heads_in_dict(watch, seed, fault):
    """32. A picture net with a head per attribute (shape, left/right, big/small): the heads sit in a plain dict instead of ModuleDict (small drop)."""
    torch.manual_seed(seed)
    X, Y, _, B = shape_pictures(500, seed + 3, size=24, noise=0.05, rmin=4, rmax=9)
    T = {"shape": Y, "side": (B[:, 0] > 12).long(), "size": (B[:, 2] > 6).long()}
    heads = {"shape": nn.Linear(32, 4), "side": nn.Linear(32, 2), "size": nn.Linear(32, 2)}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(cbr(3, 16, 2), cbr(16, 32, 2), nn.Flatten(), nn.Linear(32 * 36, 32), nn.ReLU())
            self.heads = heads if fault else nn.ModuleDict(heads)

        def forward(self, x):
            z = self.trunk(x)
            return {k: h(z) for k, h in self.heads.items()}

    net = Net()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            for k in torch.randperm(400).split(25):
                out = net(X[k])
                loss = sum(F.cross_entropy(out[n], T[n][k]) for n in out)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k])
            net.eval()
            with torch.no_grad():
                out = net(X[400:])
            acc = float(np.mean([(out[n].argmax(1) == T[n][400:]).float().mean().item() for n in out]))
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


PROGRAMS = [layer3_never_called, deep_branch_result_dropped, vit_blocks_in_list, attribute_heads_in_dict]
