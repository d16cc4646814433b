"""Sound programs: pose regression to perceptual deblur."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import blobs, psnr
from torch.utils.data import DataLoader, TensorDataset


def pose_regression(watch, seed, fault):
    """17. Rotation of a five-point coloured object from its picture, 6D representation, Frobenius loss on matrices."""
    torch.manual_seed(seed)
    S = 20
    pts = torch.tensor([[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9], [-0.6, -0.6, 0], [0, -0.5, -0.7]])
    col = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]).float()

    def make(n, s):
        g = torch.Generator().manual_seed(s)
        ang = (torch.rand(n, 3, generator=g) * 2 - 1) * 1.2
        c, sn = ang.cos(), ang.sin()
        o, z = torch.ones(n), torch.zeros(n)
        rx = torch.stack([o, z, z, z, c[:, 0], -sn[:, 0], z, sn[:, 0], c[:, 0]], 1).view(n, 3, 3)
        ry = torch.stack([c[:, 1], z, sn[:, 1], z, o, z, -sn[:, 1], z, c[:, 1]], 1).view(n, 3, 3)
        rz = torch.stack([c[:, 2], -sn[:, 2], z, sn[:, 2], c[:, 2], z, z, z, o], 1).view(n, 3, 3)
        R = rz @ ry @ rx
        p = torch.einsum("nij,kj->nki", R, pts)
        lin = torch.linspace(-1.1, 1.1, S)
        d = (lin[None, None, None, :] - p[..., 0, None, None]) ** 2 + (
            lin[None, None, :, None] - p[..., 1, None, None]
        ) ** 2
        blob = torch.exp(-d / 0.03) * (1 + 0.4 * p[..., 2, None, None])
        x = torch.einsum("nkhw,kc->nchw", blob, col)
        return (x + 0.03 * torch.randn(x.shape, generator=g) - 0.1) / 0.25, R

    xtr, Rtr = make(1200, seed)
    xva, Rva = make(200, seed + 10_000)

    class PoseNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32 * 25, 96),
                nn.ReLU(),
                nn.Linear(96, 6),
            )

        def forward(self, x):
            a, b = self.f(x).split(3, 1)
            u = F.normalize(a, dim=1)
            v = F.normalize(b - (u * b).sum(1, keepdim=True) * u, dim=1)
            return torch.stack([u, v, torch.linalg.cross(u, v)], 2)

    model = PoseNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(xtr, Rtr), batch_size=40, shuffle=True)
    ang = 1.0
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            run = 0.0
            for x, R in loader:
                out = model(x)
                loss = (out - R).pow(2).sum((1, 2)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=R, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = (out - Rva).pow(2).sum((1, 2)).mean().item()
                tr = (out.transpose(1, 2) @ Rva).diagonal(dim1=1, dim2=2).sum(1)
                ang = torch.acos(((tr - 1) / 2).clamp(-1, 1)).mean().item()
            w.epoch(train={"loss": run}, val={"loss": vl, "angle": ang})
    return 1 - ang / (math.pi / 2)


def perceptual_deblur(watch, seed, fault):
    """18. Deblurring with pixel L1, a perceptual term and a Gram style term on a frozen random-feature/trained CNN."""
    torch.manual_seed(seed)
    sharp, sva = blobs(500, 24, seed + 3, 3), blobs(100, 24, seed + 10_003, 3)
    k = torch.tensor([1.0, 4, 6, 4, 1])
    k = (k[:, None] * k[None] / 256).expand(3, 1, 5, 5).contiguous()
    blur = lambda t: F.conv2d(F.pad(t, (2, 2, 2, 2), mode="reflect"), k, groups=3)
    # the frozen loss network: the encoder of a short autoencoder run
    enc = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, 1, 1), nn.ReLU())
    dec = nn.Sequential(nn.ConvTranspose2d(16, 12, 4, 2, 1), nn.ReLU(), nn.Conv2d(12, 3, 3, 1, 1))
    pre = torch.optim.Adam([*enc.parameters(), *dec.parameters()], 3e-3)
    for i in range(60):
        x = sharp[torch.randint(0, len(sharp), (24,))]
        pre.zero_grad()
        F.mse_loss(dec(enc(x)), x).backward()
        pre.step()
    enc.eval().requires_grad_(False)

    def gram(f):
        f = f.flatten(2)
        return f @ f.transpose(1, 2) / f.shape[2]

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 20, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(20, 20, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(20, 3, 3, padding=1),
            )

        def forward(self, x):
            return x + self.net(x - 0.4)

    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(sharp, batch_size=20, shuffle=True)
    bva = blur(sva)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(7):
            model.train()
            run = 0.0
            for y in loader:
                x = blur(y)
                out = model(x)
                fo, fy = enc(out), enc(y)
                loss = F.l1_loss(out, y) + 0.2 * F.mse_loss(fo, fy) + 0.05 * F.mse_loss(gram(fo), gram(fy))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(bva)
            score = psnr(out, sva) - psnr(bva, sva)
            w.epoch(train={"loss": run}, val={"psnr": psnr(out, sva), "l1": F.l1_loss(out, sva).item()})
    return score / 10


PROGRAMS = [pose_regression, perceptual_deblur]
