"""Sound programs: pointnet solids to matrix factorisation."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset


def pointnet_solids(watch, seed, fault):
    """8. PointNet with a small T-Net and its orthogonality penalty on rotated solids."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def cloud(c):
        m = 64
        if c == 0:
            p = rng.normal(size=(m, 3))
            p /= np.linalg.norm(p, axis=1, keepdims=True)
        elif c == 1:
            p = rng.uniform(-1, 1, (m, 3))
            p[np.arange(m), rng.integers(0, 3, m)] = rng.choice([-1, 1], m)
        elif c == 2:
            t = rng.uniform(0, 2 * np.pi, m)
            p = np.c_[np.cos(t), np.sin(t), rng.uniform(-1.5, 1.5, m)]
        else:
            t, s = rng.uniform(0, 2 * np.pi, (2, m))
            p = np.c_[(1 + 0.3 * np.cos(s)) * np.cos(t), (1 + 0.3 * np.cos(s)) * np.sin(t), 0.3 * np.sin(s)]
        a = rng.uniform(0, 2 * np.pi)
        R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        p = p @ R.T + 0.03 * rng.normal(size=(m, 3))
        p -= p.mean(0)
        return p / np.linalg.norm(p, axis=1).max()

    y = rng.integers(0, 4, 1000)
    X = torch.tensor(np.stack([cloud(c) for c in y])).float().transpose(1, 2)
    y = torch.tensor(y)

    class TNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
            self.f = nn.Linear(32, 9)
            nn.init.zeros_(self.f.weight)
            self.f.bias.data = torch.eye(3).flatten()

        def forward(self, x):
            return self.f(self.c(x).amax(2)).view(-1, 3, 3)

    class PointNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.t = TNet()
            self.mlp = nn.Sequential(
                nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.BatchNorm1d(64), nn.ReLU()
            )
            self.cls = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 4))

        def forward(self, x):
            T = self.t(x)
            return self.cls(self.mlp(torch.bmm(T, x)).amax(2)), T

    net = PointNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    sch = torch.optim.lr_scheduler.StepLR(opt, 3, 0.5)
    dl = DataLoader(TensorDataset(X[:800], y[:800]), batch_size=32, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            tl = tc = 0
            for x, t in dl:
                o, T = net(x)
                reg = (torch.bmm(T, T.transpose(1, 2)) - torch.eye(3)).flatten(1).norm(dim=1).mean()
                loss = F.cross_entropy(o, t) + 0.01 * reg
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / len(dl)
                tc += (o.argmax(1) == t).sum().item() / 800
                w.step(loss=loss, inputs=x, targets=t, outputs=o)
            sch.step()
            net.eval()
            with torch.no_grad():
                o, _ = net(X[800:])
                acc = (o.argmax(1) == y[800:]).float().mean().item()
                w.epoch(
                    train={"loss": tl, "accuracy": tc},
                    val={"loss": F.cross_entropy(o, y[800:]).item(), "accuracy": acc},
                )
    return acc


def deep_sets_streaming(watch, seed, fault):
    """9. Deep sets of varying size predict a set's spread from an endless IterableDataset."""
    torch.manual_seed(seed)

    class Sets(IterableDataset):
        def __init__(self, s):
            self.s = s

        def __iter__(self):
            g = torch.Generator().manual_seed(self.s)
            while True:
                n = int(torch.randint(5, 21, (1,), generator=g))
                sd = 0.2 + 1.3 * torch.rand(1, generator=g)
                x = torch.zeros(20, 1)
                x[:n] = sd * torch.randn(n, 1, generator=g) + torch.randn(1, generator=g)
                m = torch.zeros(20, 1)
                m[:n] = 1
                yield x, m, x[:n].std(unbiased=False).view(1)

    class DeepSet(nn.Module):
        def __init__(self):
            super().__init__()
            self.phi = nn.Sequential(nn.Linear(1, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
            self.rho = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))

        def forward(self, x, m):
            return self.rho((self.phi(x) * m).sum(1) / m.sum(1))

    net = DeepSet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    val = next(iter(DataLoader(Sets(seed + 10_000), batch_size=400)))
    stream = iter(DataLoader(Sets(seed), batch_size=32))
    with watch(net, opt) as w:
        for it in range(1, 251):
            x, m, y = next(stream)
            pred = net(x, m)
            loss = (pred - y).abs().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=pred)
            if it % 50 == 0:
                with torch.no_grad():
                    v = (net(val[0], val[1]) - val[2]).abs().mean().item()
                w.epoch(val={"mae": v})
    return 1 - v / (val[2] - val[2].median()).abs().mean().item()


def matrix_factorisation(watch, seed, fault):
    """10. Ratings by matrix factorisation with biases and decay on the factors only, Adam, root mean squared error."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    U, I, K = 200, 120, 3
    P, Q = rng.normal(size=(U, K)), rng.normal(size=(I, K))
    bu, bi = 0.4 * rng.normal(size=U), 0.4 * rng.normal(size=I)
    R = 3.5 + 0.6 * P @ Q.T + bu[:, None] + bi[None] + 0.1 * rng.normal(size=(U, I))
    uu, ii = np.nonzero(rng.random((U, I)) < 0.35)
    r = torch.tensor(R[uu, ii]).float()
    u, i = torch.tensor(uu), torch.tensor(ii)
    order = torch.tensor(rng.permutation(len(r)))
    cut = int(0.85 * len(r))
    tr, te = order[:cut], order[cut:]

    class MF(nn.Module):
        def __init__(self, mean, k=6):
            super().__init__()
            self.p, self.q = nn.Embedding(U, k), nn.Embedding(I, k)
            self.bu, self.bi = nn.Embedding(U, 1), nn.Embedding(I, 1)
            self.register_buffer("mean", torch.tensor(mean))
            for e in (self.p, self.q):
                nn.init.normal_(e.weight, std=0.1)
            for e in (self.bu, self.bi):
                nn.init.zeros_(e.weight)

        def forward(self, u, i):
            return self.mean + (self.bu(u) + self.bi(i)).squeeze(-1) + (self.p(u) * self.q(i)).sum(-1)

    mf = MF(r[tr].mean().item())
    opt = torch.optim.Adam(
        [{"params": [mf.p.weight, mf.q.weight], "weight_decay": 1e-4}, {"params": [mf.bu.weight, mf.bi.weight]}],
        lr=1e-2,
    )
    with watch(mf, opt) as w:
        for epoch in range(15):
            tot = 0.0
            for b in tr[torch.randperm(cut)].split(256):
                pred = mf(u[b], i[b])
                loss = F.mse_loss(pred, r[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() * len(b)
                w.step(loss=loss, inputs=torch.stack([u[b], i[b]], 1), targets=r[b], outputs=pred)
            with torch.no_grad():
                v = F.mse_loss(mf(u[te], i[te]), r[te]).item()
            w.epoch(train={"rmse": math.sqrt(tot / cut)}, val={"rmse": math.sqrt(v)})
    return 1 - v / r[te].var().item()


PROGRAMS = [pointnet_solids, deep_sets_streaming, matrix_factorisation]
