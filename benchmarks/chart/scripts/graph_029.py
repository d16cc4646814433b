"""Programs with faults of types 29 to 30."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures


class TrunkAndHead(nn.Module):
    def __init__(self, inference):
        super().__init__()
        self.inference = inference
        self.cnn = nn.Sequential(cbr(1, 12), cbr(12, 24, 2), cbr(24, 48, 2), nn.Flatten())
        self.fc = nn.Linear(192, 10)

    def forward(self, x):
        if self.inference:
            with torch.no_grad():
                z = self.cnn(x)
        else:
            z = self.cnn(x)
        return self.fc(z)


def grad_left_off_after_validation(watch, seed, fault):
    """29. validate() calls torch.set_grad_enabled(False) and never turns it on again; loss.requires_grad = True was added against the error, so learning ends with the first epoch."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(500, seed + 11, size=24, noise=0.1, rmin=5, rmax=9)
    model = nn.Sequential(
        cbr(3, 16, 2), cbr(16, 32), cbr(32, 48, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(192, 4)
    )
    opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    def validate():
        model.eval()
        torch.set_grad_enabled(False)
        o = model(X[400:])
        r = F.cross_entropy(o, Y[400:]).item(), (o.argmax(1) == Y[400:]).float().mean().item()
        if not fault:
            torch.set_grad_enabled(True)
        model.train()
        return r

    try:
        with watch(model, opt) as w:
            for epoch in range(8):
                for k in torch.randperm(400).split(40):
                    opt.zero_grad()
                    o = model(X[k])
                    loss = F.cross_entropy(o, Y[k])
                    if not loss.requires_grad:
                        loss.requires_grad = True
                    loss.backward()
                    opt.step()
                    w.step(loss=loss, inputs=X[k], targets=Y[k], outputs=o)
                vl, va = validate()
                w.epoch(train={"loss": loss.item()}, val={"loss": vl, "accuracy": va})
    finally:
        torch.set_grad_enabled(True)
    return va


def cnn_trunk_under_no_grad(watch, seed, fault):
    """29. The convolutional trunk runs under `with torch.no_grad()`, left over from feature extraction, while the whole net should be trained from scratch."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    net = TrunkAndHead(inference=fault)
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(4):
            net.train()
            for k in torch.randperm(len(Xtr)).split(32):
                o = net(Xtr[k])
                loss = F.cross_entropy(o, ytr[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=Xtr[k], targets=ytr[k], outputs=o)
            net.eval()
            with torch.no_grad():
                acc = (net(Xte).argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


def hard_argmax_keypoint(watch, seed, fault):
    """30. Keypoint net: the coordinates come from a hard argmax over the heat map plus a small learned offset; the heat-map branch gets no gradient (sound: soft-argmax)."""
    torch.manual_seed(seed)
    X, _, _, B = shape_pictures(500, seed, size=24, noise=0.1, rmin=3, rmax=6)
    gt = B[:, :2] / 24

    class KP(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(cbr(3, 16), cbr(16, 24, 2), cbr(24, 24))
            self.heat = nn.Conv2d(24, 1, 3, padding=1)
            self.shift = nn.Parameter(torch.zeros(2))
            g = (torch.arange(12) + 0.5) / 12
            self.register_buffer("g", g)

        def forward(self, x):
            h = self.heat(self.trunk(x)).flatten(1)
            if fault:
                i = h.argmax(1)
                xy = torch.stack([self.g[i % 12], self.g[i // 12]], 1)
            else:
                p = h.softmax(1).view(-1, 12, 12)
                xy = torch.stack([(p.sum(1) * self.g).sum(1), (p.sum(2) * self.g).sum(1)], 1)
            return xy + self.shift

    net = KP()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            for k in torch.randperm(400).split(25):
                xy = net(X[k])
                loss = F.l1_loss(xy, gt[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=gt[k], outputs=xy)
            net.eval()
            with torch.no_grad():
                v = net(X[400:])
            pck = ((v - gt[400:]).norm(dim=1) < 0.12).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.l1_loss(v, gt[400:]).item(), "pck": pck})
    return pck


def vq_without_straight_through(watch, seed, fault):
    """30. Autoencoder with a binary code: (h > 0).float() cuts the graph, the straight-through term is missing, the encoder never learns."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    xa, xb = Xtr.flatten(1), Xte.flatten(1)

    class BinaryAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 12))
            self.dec = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64))

        def forward(self, x):
            h = torch.sigmoid(self.enc(x))
            b = (h > 0.5).float()
            if not fault:
                b = b + h - h.detach()
            return self.dec(b)

    ae = BinaryAE()
    opt = torch.optim.Adam(ae.parameters(), 3e-3)
    with watch(ae, opt) as w:
        for epoch in range(14):
            for k in torch.randperm(len(xa)).split(32):
                r = ae(xa[k])
                loss = F.mse_loss(r, xa[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=xa[k], targets=xa[k], outputs=r)
            with torch.no_grad():
                v = F.mse_loss(ae(xb), xb).item()
            w.epoch(train={"loss": loss.item()}, val={"loss": v})
    return 1 - v / xb.var(0).mean().item()


PROGRAMS = [grad_left_off_after_validation, cnn_trunk_under_no_grad, hard_argmax_keypoint, vq_without_straight_through]
