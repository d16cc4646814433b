"""Sound programs: masked lm to forecast lstm plateau."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def masked_lm(watch, seed, fault):
    """0. A masked language model with the 80/10/10 rule on sentences of a small Markov grammar."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    V, L, MASK = 24, 12, 24
    nxt = rng.permutation(V)

    def sentence():
        s = [rng.integers(0, V)]
        while len(s) < L:
            s.append(nxt[s[-1]] if rng.random() < 0.95 else rng.integers(0, V))
        return s

    corpus = torch.tensor(np.array([sentence() for _ in range(2200)]))
    train, val = corpus[:2000], corpus[2000:]

    def corrupt(x):
        x, y = x.clone(), x.clone()
        chosen = torch.rand(x.shape) < 0.15
        y[~chosen] = -100
        r = torch.rand(x.shape)
        x[chosen & (r < 0.8)] = MASK
        rand = chosen & (r >= 0.8) & (r < 0.9)
        x[rand] = torch.randint(0, V, (int(rand.sum()),))
        return x, y

    class MLM(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V + 1, d), nn.Embedding(L, d)
            self.body = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(d, 4, 64, 0.0, activation="gelu", batch_first=True), 2
            )
            self.bias = nn.Parameter(torch.zeros(V))
            nn.init.normal_(self.tok.weight, std=0.1)
            nn.init.normal_(self.pos.weight, std=0.1)

        def forward(self, x):
            h = self.body(self.tok(x) + self.pos.weight)
            return h @ self.tok.weight[:V].T + self.bias

    model = MLM()
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    steps = 340
    sch = torch.optim.lr_scheduler.SequentialLR(
        opt,
        [
            torch.optim.lr_scheduler.LinearLR(opt, 0.05, 1.0, total_iters=30),
            torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps - 30),
        ],
        milestones=[30],
    )
    vx, vy = corrupt(val)
    acc, tl = 0.0, []
    with watch(model, opt) as w:
        for step in range(1, steps + 1):
            x, y = corrupt(train[torch.randint(0, len(train), (48,))])
            logits = model(x)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            sch.step()
            tl.append(loss.item())
            w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            if step % 85 == 0:
                model.eval()
                with torch.no_grad():
                    lo = model(vx)
                    m = vy != -100
                    acc = (lo.argmax(-1)[m] == vy[m]).float().mean().item()
                    vl = F.cross_entropy(lo[m], vy[m]).item()
                model.train()
                w.epoch(train={"loss": float(np.mean(tl))}, val={"loss": vl, "accuracy": acc})
                tl = []
    return acc


def word2vec_sparse(watch, seed, fault):
    """1. word2vec with negative sampling, sparse embeddings and SparseAdam; groups of words must come together."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    V, groups = 60, 6
    stream = []
    for _ in range(2500):
        gidx = rng.integers(groups)
        stream.append(np.where(rng.random(8) < 0.85, gidx * 10 + rng.integers(0, 10, 8), rng.integers(0, V, 8)))
    pairs = np.array(
        [(s[i], s[j]) for s in stream for i in range(8) for j in range(max(0, i - 2), min(8, i + 3)) if i != j]
    )
    freq = torch.bincount(torch.tensor(pairs[:, 1]), minlength=V).float() ** 0.75

    class SGNS(nn.Module):
        def __init__(self, dim=16):
            super().__init__()
            self.center = nn.Embedding(V, dim, sparse=True)
            self.context = nn.Embedding(V, dim, sparse=True)
            nn.init.uniform_(self.center.weight, -0.5 / dim, 0.5 / dim)
            nn.init.zeros_(self.context.weight)

        def forward(self, c, o, neg):
            vc = self.center(c)
            pos = (vc * self.context(o)).sum(-1)
            ng = torch.bmm(self.context(neg), vc.unsqueeze(2)).squeeze(2)
            return -(F.logsigmoid(pos) + F.logsigmoid(-ng).sum(1)).mean()

    model = SGNS()
    opt = torch.optim.SparseAdam(list(model.parameters()), lr=0.01)
    loader = DataLoader(torch.tensor(pairs), batch_size=256, shuffle=True)
    with watch(model, opt) as w:
        for i, batch in enumerate(loader):
            if i == 300:
                break
            neg = torch.multinomial(freq, len(batch) * 5, replacement=True).view(-1, 5)
            loss = model(batch[:, 0], batch[:, 1], neg)
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=batch)
    e = F.normalize(model.center.weight.detach(), dim=1)
    sim = e @ e.T - 2 * torch.eye(V)
    return (sim.argmax(1) // 10 == torch.arange(V) // 10).float().mean().item()


def forecast_lstm_plateau(watch, seed, fault):
    """2. An LSTM forecasts six steps of a seasonal series, split by time, with ReduceLROnPlateau."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    t = np.arange(2000)
    s = np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(2 * np.pi * t / 168) + 0.1 * rng.normal(size=2000)
    s = (s - s[:1400].mean()) / s[:1400].std()
    s = torch.tensor(s).float()

    def windows(a):
        u = a.unfold(0, 54, 1)
        return u[:, :48, None], u[:, 48:]

    (xtr, ytr), (xva, yva), (xte, yte) = windows(s[:1400]), windows(s[1400:1700]), windows(s[1700:])

    class Forecaster(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(1, 32, batch_first=True)
            self.head = nn.Linear(32, 6)

        def forward(self, x):
            o, _ = self.lstm(x)
            return self.head(o[:, -1])

    net = Forecaster()
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.3, patience=1)
    dl = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            tot = 0
            for x, y in dl:
                opt.zero_grad()
                p = net(x)
                loss = F.mse_loss(p, y)
                loss.backward()
                opt.step()
                tot += loss.item() * len(x)
                w.step(loss=loss, inputs=x, targets=y, outputs=p)
            net.eval()
            with torch.no_grad():
                v = F.mse_loss(net(xva), yva).item()
            sched.step(v)
            w.epoch(train={"loss": tot / len(xtr)}, val={"loss": v})
    with torch.no_grad():
        return 1 - (F.mse_loss(net(xte), yte) / yte.var()).item()


PROGRAMS = [masked_lm, word2vec_sparse, forecast_lstm_plateau]
