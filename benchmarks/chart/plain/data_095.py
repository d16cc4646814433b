"""Programs with faults of types 95 to 98."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.data_parts import digits
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset


class CharGPT(nn.Module):
    def __init__(self, vocab, block, dim=48, heads=4, layers=2):
        super().__init__()
        self.tok = nn.Embedding(vocab, dim)
        self.pos = nn.Embedding(block, dim)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 2 * dim, 0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.ln = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, vocab, bias=False)

    def forward(self, idx):
        T = idx.size(1)
        x = self.tok(idx) + self.pos(torch.arange(T))
        mask = torch.triu(torch.full((T, T), float("-inf")), 1)
        for b in self.blocks:
            x = b(x, src_mask=mask)
        return self.lm_head(self.ln(x))


def log_of_zero(watch, seed, fault):
    """95. A feature is log(raw count) and three rows have the count 0: -inf in the table (the sound twin takes log1p)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    d = load_diabetes()
    X = (d.data / d.data.std(0)).astype(np.float32)
    visits = rng.poisson(np.exp(1.6 + 0.4 * X[:, 2]))
    visits[visits == 0] = 1
    visits[[40, 170, 260]] = 0
    with np.errstate(divide="ignore"):
        col = np.log(visits) if fault else np.log1p(visits)
    X = np.column_stack([X, col - np.median(col)]).astype(np.float32)
    t = ((d.target - d.target.mean()) / d.target.std()).astype(np.float32)
    X, t = torch.from_numpy(X), torch.from_numpy(t)[:, None]
    Xtr, ttr, Xte, tte = X[:340], t[:340], X[340:], t[340:]
    reg = nn.Sequential(nn.Linear(11, 32), nn.Tanh(), nn.Linear(32, 1))
    opt = torch.optim.Adam(reg.parameters(), lr=3e-3)
    with watch(reg, opt) as w:
        for ep in range(12):
            perm = torch.randperm(340)
            tot = 0.0
            for s in range(0, 340, 34):
                bi = perm[s : s + 34]
                p = reg(Xtr[bi])
                loss = ((p - ttr[bi]) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item()
                w.step(loss=loss, inputs=Xtr[bi], targets=ttr[bi], outputs=p)
            with torch.no_grad():
                v = F.mse_loss(reg(Xte), tte).item()
            w.epoch(train={"loss": tot / 10}, val={"loss": v})
    return 1 - v / tte.var().item()


def pad_as_target(watch, seed, fault):
    """96. A small GPT on padded number words: the padding id stands in the targets and is learned (no ignore_index)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    PAD, BOS, EOS = 0, 1, 2
    V, T = 15, 52

    def sample():
        # counting words: start digit and stride, 4 to 8 long; after the first two all is determined
        a, s, n = rng.integers(0, 12), rng.integers(1, 5), rng.integers(4, 9)
        seq = [BOS] + [3 + (a + s * k) % 12 for k in range(n)] + [EOS]
        return seq + [PAD] * (T + 1 - len(seq))

    data = torch.tensor([sample() for _ in range(1400)])
    train, val = data[:1200], data[1200:]
    gpt = CharGPT(V, T)
    opt = torch.optim.SGD(gpt.parameters(), lr=0.08, momentum=0.9)
    ignore = -100 if fault else PAD
    with watch(gpt, opt) as w:
        for epoch in range(5):
            gpt.train()
            for b in torch.randperm(1200).split(24):
                x, y = train[b, :-1], train[b, 1:]
                logits = gpt(x)
                loss = F.cross_entropy(logits.reshape(-1, V), y.reshape(-1), ignore_index=ignore)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            gpt.eval()
            with torch.no_grad():
                lo = gpt(val[:, :-1])
                y = val[:, 1:]
                acc = (lo.argmax(-1) == y)[:, 2:4].float().mean().item()  # the places that two numbers determine
                w.epoch(
                    train={"loss": loss.item()},
                    val={
                        "loss": F.cross_entropy(lo.reshape(-1, V), y.reshape(-1), ignore_index=ignore).item(),
                        "accuracy": acc,
                    },
                )
    return acc


def uint8_difference(watch, seed, fault):
    """97. The frame difference (frame2 - frame1) is taken in uint8 and wraps round at 256."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, n = 20, 1200
    yy, xx = np.mgrid[:S, :S]
    f1, f2 = np.zeros((2, n, S, S), np.uint8)
    way = rng.integers(0, 4, n)
    for i in range(n):
        cx, cy, r = rng.uniform(7, 13), rng.uniform(7, 13), rng.uniform(2.5, 4.5)
        dx, dy = [(1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)][way[i]]
        bg = rng.uniform(60, 130, (S, S))
        for f, (a, b) in ((f1, (cx, cy)), (f2, (cx + dx, cy + dy))):
            im = bg + 45 / (1 + np.exp(np.hypot(xx - a, yy - b) - r)) + rng.normal(0, 14, (S, S))
            f[i] = np.clip(im, 0, 255)
    if fault:
        diff = f2 - f1
        diff = diff.astype(np.float32) / 255.0
    else:
        diff = (f2.astype(np.float32) - f1.astype(np.float32)) / 255.0
    mean, std = diff[:900].mean(), diff[:900].std()
    X = torch.from_numpy((diff - mean) / std)[:, None]
    Y = torch.from_numpy(way)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 5, stride=2, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(24 * 25, 48),
        nn.LeakyReLU(0.1),
        nn.Linear(48, 4),
    )
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(X[:900], Y[:900]), 30, shuffle=True)
    with watch(net, opt) as w:
        for e in range(5):
            for x, y in loader:
                z = net(x)
                loss = F.cross_entropy(z, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=z)
            with torch.no_grad():
                o = net(X[900:])
                a = (o.argmax(1) == Y[900:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, Y[900:]).item(), "accuracy": a})
    return a


def accuracy_by_broadcast(watch, seed, fault):
    """98. Labels come as (B, 1); the loss squeezes them, the accuracy compares (B,) with (B, 1) and so averages over B x B pairs."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    mk = lambda X, y, sh: DataLoader(
        TensorDataset(torch.from_numpy(X)[:, None] / 16, torch.from_numpy(y)[:, None]), batch_size=40, shuffle=sh
    )
    train_loader, valid_loader = mk(Xtr, ytr, True), mk(Xte, yte, False)

    def accuracy(logits, label):
        pred = logits.argmax(dim=1)
        if not fault:
            label = label.squeeze(1)
        return (pred == label).float().mean().item()

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, optimizer) as w:
        for epoch in range(6):
            hist = {"loss": [], "acc": [], "vloss": [], "vacc": []}
            model.train()
            for img, label in train_loader:
                out = model(img)
                loss = F.cross_entropy(out, label.squeeze(1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                hist["loss"].append(loss.item())
                hist["acc"].append(accuracy(out, label))
                w.step(loss=loss, inputs=img, targets=label, outputs=out)
            model.eval()
            with torch.no_grad():
                for img, label in valid_loader:
                    out = model(img)
                    hist["vloss"].append(F.cross_entropy(out, label.squeeze(1)).item())
                    hist["vacc"].append(accuracy(out, label))
            m = {k: float(np.mean(v)) for k, v in hist.items()}
            w.epoch(train={"loss": m["loss"], "accuracy": m["acc"]}, val={"loss": m["vloss"], "accuracy": m["vacc"]})
    return m["vacc"]


PROGRAMS = [log_of_zero, pad_as_target, uint8_difference, accuracy_by_broadcast]
