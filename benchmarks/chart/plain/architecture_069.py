"""Programs with faults of types 69 to 71."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.architecture_parts import load
from torch.utils.data import DataLoader, TensorDataset


def layernorm_over_time(watch, seed, fault):
    """69. The hand-written LayerNorm normalises over dim 1 (time) instead of the features; the mean pooling behind it sees only zeros."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    n, T = 1200, 20
    y = rng.randint(0, 4, n)
    s = np.where(rng.rand(n, T) < 0.5, rng.randint(0, 20, (n, T)), y[:, None] * 5 + rng.randint(0, 5, (n, T)))
    s, y = torch.from_numpy(s), torch.from_numpy(y)

    class LayerNorm(nn.Module):
        def __init__(self, d, eps=1e-5):
            super().__init__()
            self.gamma, self.beta, self.eps = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d)), eps

        def forward(self, x):  # x: batch, time, features
            dim = 1 if fault else -1
            mu = x.mean(dim, keepdim=True)
            var = x.var(dim, keepdim=True, unbiased=False)
            return self.gamma * (x - mu) / torch.sqrt(var + self.eps) + self.beta

    class Encoder(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.emb = nn.Embedding(20, d)
            self.pos = nn.Parameter(torch.randn(T, d) * 0.02)
            self.attn = nn.MultiheadAttention(d, 4, batch_first=True)
            self.n1, self.n2 = LayerNorm(d), LayerNorm(d)
            self.ff = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, d))
            self.cls = nn.Linear(d, 4)

        def forward(self, tok):
            x = self.emb(tok) + self.pos
            x = self.n1(x + self.attn(x, x, x, need_weights=False)[0])
            x = self.n2(x + self.ff(x))
            return self.cls(x.mean(1))

    m = Encoder()
    o = torch.optim.Adam(m.parameters(), lr=2e-3)
    dl = DataLoader(TensorDataset(s[:900], y[:900]), batch_size=45, shuffle=True)
    with watch(m, o) as w:
        for epoch in range(5):
            for xb, yb in dl:
                logits = m(xb)
                loss = F.cross_entropy(logits, yb)
                o.zero_grad()
                loss.backward()
                o.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            with torch.no_grad():
                lv = m(s[900:])
                acc = (lv.argmax(1) == y[900:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(lv, y[900:]).item(), "accuracy": acc})
    return acc


def resnet_without_skip(watch, seed, fault):
    """70. The block of a deep residual net computes the shortcut but returns the branch without adding it."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = load(seed)

    class BasicBlock(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv1 = nn.Conv2d(c, c, 3, padding=1)
            self.conv2 = nn.Conv2d(c, c, 3, padding=1)
            self.gn = nn.GroupNorm(4, c)

        def forward(self, x):
            identity = x
            out = F.relu(self.conv1(self.gn(x)))
            out = self.conv2(out)
            if not fault:
                out = out + identity
            return out

    class DeepNet(nn.Module):
        def __init__(self, depth=14, c=12):
            super().__init__()
            self.stem = nn.Conv2d(1, c, 3, padding=1)
            self.blocks = nn.Sequential(*[BasicBlock(c) for _ in range(depth)])
            self.pool = nn.AvgPool2d(2)
            self.fc = nn.Linear(c * 16, 10)

        def forward(self, x):
            x = self.blocks(self.pool(self.stem(x)))
            return self.fc(F.relu(x).flatten(1))

    model = DeepNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, optimizer) as w:
        for epoch in range(4):
            tl = ta = 0.0
            for idx in torch.randperm(1400).split(40):
                out = model(xtr[idx])
                loss = F.cross_entropy(out, ytr[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tl += loss.item() / 35
                ta += (out.argmax(1) == ytr[idx]).sum().item() / 1400
                w.step(loss=loss, inputs=xtr[idx], targets=ytr[idx], outputs=out)
            with torch.no_grad():
                ov = model(xte)
                va = (ov.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tl, "accuracy": ta}, val={"loss": F.cross_entropy(ov, yte).item(), "accuracy": va})
    return va


def attention_unscaled(watch, seed, fault):
    """71. Self-written attention forgets the division by sqrt(d_k) with d_k = 128; the softmax is saturated from the start."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    n, T, V = 1200, 24, 12
    y = rng.randint(0, 2, n)
    p0 = np.full(V, 1 / V)
    p1 = p0.copy()
    p0[:6] *= 1.35
    p1[6:] *= 1.35
    p0, p1 = p0 / p0.sum(), p1 / p1.sum()
    seqs = torch.from_numpy(np.stack([rng.choice(V, T, p=p1 if c else p0) for c in y]))
    y = torch.from_numpy(y)
    yl = (seqs >= 6).sum(1).ge(T // 2 + 1).long()  # the label is the majority half of the alphabet

    class SelfAttention(nn.Module):
        def __init__(self, d_in, d_k):
            super().__init__()
            self.W_q, self.W_k, self.W_v = (nn.Linear(d_in, d_k, bias=False) for _ in range(3))
            for lin in (self.W_q, self.W_k, self.W_v):
                nn.init.normal_(lin.weight, std=d_in**-0.5)
            self.scale = 1.0 if fault else d_k**0.5

        def forward(self, x):
            q, k, v = self.W_q(x), self.W_k(x), self.W_v(x)
            att = torch.softmax(q @ k.transpose(-2, -1) / self.scale, dim=-1)
            return att @ v

    class Clf(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(V, 32)
            self.query = nn.Parameter(torch.randn(1, 1, 32))
            self.norm = nn.LayerNorm(32)
            self.att = SelfAttention(32, 128)
            self.fc = nn.Sequential(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, s):
            e = torch.cat([self.query.expand(len(s), -1, -1), self.emb(s)], 1)
            return self.fc(self.att(self.norm(e))[:, 0])

    model = Clf()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, opt) as w:
        for epoch in range(6):
            for i in torch.randperm(900).split(30):
                logits = model(seqs[i])
                loss = F.cross_entropy(logits, yl[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=seqs[i], targets=yl[i], outputs=logits)
            with torch.no_grad():
                lv = model(seqs[900:])
                acc = (lv.argmax(1) == yl[900:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(lv, yl[900:]).item(), "accuracy": acc})
    return acc


PROGRAMS = [layernorm_over_time, resnet_without_skip, attention_unscaled]
