"""Sound programs: mc dropout regression to hypernetwork functions."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from sklearn.datasets import make_friedman2
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def mc_dropout_regression(watch, seed, fault):
    """4. Regression with dropout kept on at test time: thirty passes averaged; trained with Adafactor."""
    torch.manual_seed(seed)
    X, y = make_friedman2(1500, noise=30.0, random_state=seed)
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.2, random_state=seed)
    sx, sy = StandardScaler().fit(Xtr), StandardScaler().fit(ytr[:, None])
    f = lambda s, a: torch.tensor(s.transform(a)).float()
    Xtr, Xte, ytr, yte = f(sx, Xtr), f(sx, Xte), f(sy, ytr[:, None]), f(sy, yte[:, None])
    net = nn.Sequential(
        nn.Linear(4, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1)
    )
    opt = torch.optim.Adafactor(net.parameters(), lr=1e-2, d=1.0, weight_decay=0.0)
    dl = DataLoader(TensorDataset(Xtr, ytr), batch_size=60, shuffle=True)

    def mc(x, n=30):
        net.train()
        with torch.no_grad():
            s = torch.stack([net(x) for _ in range(n)])
        return s.mean(0), s.std(0)

    with watch(net, opt) as w:
        for epoch in range(15):
            net.train()
            run = 0.0
            for x, t in dl:
                opt.zero_grad()
                o = net(x)
                loss = F.mse_loss(o, t)
                loss.backward()
                opt.step()
                run += loss.item()
                w.step(loss=loss, inputs=x, targets=t, outputs=o)
            net.eval()
            with torch.no_grad():
                w.epoch(train={"loss": run / len(dl)}, val={"loss": F.mse_loss(net(Xte), yte).item()})
    m, s = mc(Xte)
    return float(r2_score(yte.numpy(), m.numpy()))


def ensemble_one_loop(watch, seed, fault):
    """5. Five classifiers on bootstrap weights trained side by side, each with its own AdamW, votes averaged."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)
    members = [nn.Sequential(nn.Linear(64, h), nn.ReLU(), nn.Linear(h, 10)) for h in (24, 32, 40, 48, 56)]
    opts = [torch.optim.AdamW(m.parameters(), lr=3e-3) for m in members]
    weights = torch.poisson(torch.ones(5, len(Xtr)))
    loader = DataLoader(TensorDataset(Xtr, ytr, torch.arange(len(Xtr))), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(members, opts) as w:
        for epoch in range(8):
            tl, ok = 0.0, 0
            for x, y, i in loader:
                total, votes = 0.0, 0.0
                for k, (m, o) in enumerate(zip(members, opts)):
                    out = m(x)
                    l = (F.cross_entropy(out, y, reduction="none") * weights[k, i]).mean()
                    o.zero_grad()
                    l.backward()
                    o.step()
                    total += l.item() / 5
                    votes = votes + out.detach().softmax(1) / 5
                tl += total / len(loader)
                ok += (votes.argmax(1) == y).sum().item()
                w.step(loss=total, inputs=x, targets=y)
            with torch.no_grad():
                p = torch.stack([m(Xte).softmax(1) for m in members]).mean(0)
            acc = (p.argmax(1) == yte).float().mean().item()
            w.epoch(
                train={"loss": tl, "accuracy": ok / len(Xtr)},
                val={"loss": F.nll_loss(p.log(), yte).item(), "accuracy": acc},
            )
    return acc


def mixture_of_experts(watch, seed, fault):
    """6. A sparse mixture of experts, top two of six, with noisy gates and a balance loss, on a piecewise function."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X = torch.tensor(rng.uniform(-1, 1, (3000, 4))).float()
    W = torch.tensor(rng.normal(size=(4, 4))).float()
    region = (X[:, 0] > 0).long() * 2 + (X[:, 1] > 0).long()
    Y = (X * W[region]).sum(1, keepdim=True) + 0.5 * torch.sin(4 * X[:, 2:3])
    Y = (Y - Y[:2400].mean()) / Y[:2400].std()

    class MoE(nn.Module):
        def __init__(self, E=6, k=2):
            super().__init__()
            self.k, self.E = k, E
            self.gate = nn.Linear(4, E)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 1)) for _ in range(E))

        def forward(self, x):
            g = self.gate(x)
            if self.training:
                g = g + torch.randn_like(g) * 0.3
            top, idx = g.topk(self.k, -1)
            wts = top.softmax(-1)
            y = torch.zeros(len(x), 1)
            for e, expert in enumerate(self.experts):
                row, slot = torch.where(idx == e)
                if len(row):
                    y = y.index_add(0, row, expert(x[row]) * wts[row, slot][:, None])
            load = F.one_hot(idx, self.E).float().sum(1).mean(0) / self.k
            return y, self.E * (load * g.softmax(-1).mean(0)).sum()

    moe = MoE()
    opt = torch.optim.Adam(moe.parameters(), lr=5e-3)
    dl = DataLoader(TensorDataset(X[:2400], Y[:2400]), batch_size=120, shuffle=True)
    with watch(moe, opt) as w:
        for epoch in range(18):
            moe.train()
            tot = 0.0
            for x, y in dl:
                out, balance = moe(x)
                mse = F.mse_loss(out, y)
                loss = mse + 0.01 * balance
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += mse.item() / len(dl)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            moe.eval()
            with torch.no_grad():
                v = F.mse_loss(moe(X[2400:])[0], Y[2400:]).item()
            w.epoch(train={"mse": tot}, val={"mse": v})
    return 1 - v / Y[2400:].var().item()


def hypernetwork_functions(watch, seed, fault):
    """7. A hypernetwork writes the weights of a small net from the description of a wave."""
    torch.manual_seed(seed)

    class Hyper(nn.Module):
        shapes = [(16, 1), (16,), (1, 16), (1,)]

        def __init__(self):
            super().__init__()
            self.sizes = [math.prod(s) for s in self.shapes]
            self.net = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, sum(self.sizes)))
            nn.init.normal_(self.net[-1].weight, std=0.02)
            nn.init.normal_(self.net[-1].bias, std=0.7)

        def forward(self, c, x):  # c (B,3), x (B,n,1)
            w1, b1, w2, b2 = (p.view(len(c), *s) for p, s in zip(self.net(c).split(self.sizes, 1), self.shapes))
            h = torch.tanh(x @ w1.transpose(1, 2) + b1[:, None])
            return h @ w2.transpose(1, 2) + b2[:, None]

    def wave(n, g):
        c = torch.rand(n, 3, generator=g) * 2 - 1
        x = torch.rand(n, 20, 1, generator=g) * 4 - 2
        amp, fr, ph = 1 + 0.5 * c[:, :1, None], 1.5 + 0.5 * c[:, 1:2, None], c[:, 2:, None]
        return c, x, amp * torch.sin(fr * x + ph)

    g = torch.Generator().manual_seed(seed)
    cv, xv, yv = wave(300, torch.Generator().manual_seed(seed + 31))
    net = Hyper()
    opt = torch.optim.RAdam(net.parameters(), lr=5e-3)
    with watch(net, opt) as w:
        for it in range(450):
            c, x, y = wave(32, g)
            out = net(c, x)
            loss = F.mse_loss(out, y)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            w.step(loss=loss, inputs=c, targets=y, outputs=out)
    with torch.no_grad():
        return 1 - (F.mse_loss(net(cv, xv), yv) / yv.var()).item()


PROGRAMS = [mc_dropout_regression, ensemble_one_loop, mixture_of_experts, hypernetwork_functions]
