"""Programs with faults of types 35 to 39."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.graph_parts import get_digits
from torch.utils.data import DataLoader, TensorDataset


class ReluRNN(nn.Module):
    def __init__(self, n_in, hidden, n_out):
        super().__init__()
        self.rnn = nn.RNN(n_in, hidden, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(hidden, n_out)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(0.97 * torch.eye(hidden))
            self.rnn.weight_ih_l0.normal_(0, 0.1)
            self.rnn.bias_hh_l0.zero_()
            self.rnn.bias_ih_l0.zero_()

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.fc(out[:, -1])


class TinyLM(nn.Module):
    def __init__(self, V, T, d, init_std):
        super().__init__()
        self.tok, self.pos = nn.Embedding(V, d), nn.Embedding(T, d)
        self.att = nn.MultiheadAttention(d, 2, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.out = nn.Linear(d, V)
        self.register_buffer("mask", torch.triu(torch.ones(T, T, dtype=torch.bool), 1))
        self.init_std = init_std
        self.apply(self._init_weights)

    def _init_weights(self, m):
        if isinstance(m, (nn.Linear, nn.Embedding)):
            nn.init.normal_(m.weight, mean=0.0, std=self.init_std)
        if isinstance(m, nn.Linear) and m.bias is not None:
            nn.init.zeros_(m.bias)

    def forward(self, s):
        h = self.tok(s) + self.pos.weight[: s.shape[1]]
        h = h + self.att(h, h, h, attn_mask=self.mask, need_weights=False)[0]
        h = h + self.ff(h)
        return self.out(h)


def twelve_sigmoid_layers(watch, seed, fault):
    """35. Twelve hidden layers with sigmoid activations: the gradient vanishes towards the input (the twin has ReLU)."""
    torch.manual_seed(seed)
    x, y, xt, yt = get_digits(seed, shape=(64,))
    act = nn.Sigmoid if fault else nn.ReLU
    sizes = [64] + [48] * 12
    layers = []
    for i, o in zip(sizes[:-1], sizes[1:]):
        lin = nn.Linear(i, o)
        nn.init.kaiming_normal_(lin.weight)
        nn.init.zeros_(lin.bias)
        layers += [lin, act()]
    deep = nn.Sequential(*layers, nn.Linear(48, 10))
    optimizer = torch.optim.SGD(deep.parameters(), lr=0.02, momentum=0.9)
    loader = DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True)
    with watch(deep, optimizer) as w:
        for epoch in range(12):
            tot, good = 0.0, 0
            for xb, yb in loader:
                optimizer.zero_grad()
                z = deep(xb)
                loss = F.cross_entropy(z, yb)
                loss.backward()
                optimizer.step()
                tot += loss.item()
                good += (z.argmax(1) == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=z)
            with torch.no_grad():
                z = deep(xt)
                acc = (z.argmax(1) == yt).float().mean().item()
            w.epoch(
                train={"loss": tot / len(loader), "accuracy": good / 1350},
                val={"loss": F.cross_entropy(z, yt).item(), "accuracy": acc},
            )
    return acc


def long_rnn_without_clipping(watch, seed, fault):
    """36. A ReLU RNN adds up a sequence of 60 noisy increments (low, middle or high sum); the gradients explode, since nobody clips them."""
    torch.manual_seed(seed)
    n, T = 1600, 60
    inc = 0.5 * torch.randn(n + 400, T, 1)
    bos = torch.zeros(n + 400, T, 1)
    bos[:, 0] = 1
    total = inc.sum((1, 2))
    labels = torch.bucketize(total, total.quantile(torch.tensor([1 / 3, 2 / 3])))
    seqs = torch.cat([inc, bos], -1)
    x, y, xt, yt = seqs[:n], labels[:n], seqs[n:], labels[n:]
    rnn = ReluRNN(2, 24, 3)
    opt = torch.optim.SGD(rnn.parameters(), lr=0.01, momentum=0.9)
    epochs = 12
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda e: 1 - e / epochs)
    with watch(rnn, opt) as w:
        for epoch in range(epochs):
            rnn.train()
            ls, hit = [], 0
            for b in torch.randperm(n).split(40):
                logits = rnn(x[b])
                loss = F.cross_entropy(logits, y[b])
                opt.zero_grad()
                loss.backward()
                if not fault:
                    nn.utils.clip_grad_norm_(rnn.parameters(), 0.5)
                opt.step()
                ls.append(loss.item())
                hit += (logits.argmax(1) == y[b]).sum().item()
                w.step(loss=loss, inputs=x[b], targets=y[b], outputs=logits)
            sched.step()
            rnn.eval()
            with torch.no_grad():
                o = rnn(xt)
                acc = (o.argmax(1) == yt).float().mean().item()
            w.epoch(
                train={"loss": np.mean(ls), "accuracy": hit / n},
                val={"loss": F.cross_entropy(o, yt).item(), "accuracy": acc},
            )
    return acc


def language_model_with_std_five(watch, seed, fault):
    """37. The language model's weights are drawn with std 5 instead of 0.1 (50 times): huge logits, loss far above ln(vocabulary)."""
    torch.manual_seed(seed)
    V, T = 12, 10
    table = torch.stack([torch.randperm(V)[:3] for _ in range(V)])  # a Markov chain, three followers each

    def sample(n):
        s = torch.randint(0, V, (n, 1))
        for _ in range(T):
            nxt = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), n, replacement=True)
            s = torch.cat([s, table[s[:, -1], nxt][:, None]], 1)
        return s

    train, val = sample(1500), sample(300)
    model = TinyLM(V, T, 32, init_std=5.0 if fault else 0.1)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model, opt) as w:
        for epoch in range(5):
            tl = 0.0
            for b in torch.randperm(1500).split(30):
                s = train[b]
                logits = model(s[:, :-1])
                loss = F.cross_entropy(logits.flatten(0, 1), s[:, 1:].flatten())
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / 50
                w.step(loss=loss, inputs=s[:, :-1], targets=s[:, 1:].flatten(), outputs=logits.flatten(0, 1))
            with torch.no_grad():
                o = model(val[:, :-1])
                vl = F.cross_entropy(o.flatten(0, 1), val[:, 1:].flatten()).item()
                acc = (o.argmax(-1) == val[:, 1:]).float().mean().item()
            w.epoch(train={"loss": tl}, val={"loss": vl, "accuracy": acc})
    return acc


def constant_initial_weights(watch, seed, fault):
    """38. reset_parameters fills the weight matrices with one constant, so all hidden units stay the same unit."""
    torch.manual_seed(seed)
    x, y, xt, yt = get_digits(seed, shape=(64,))

    class Dense(nn.Module):
        def __init__(self, n_in, n_out):
            super().__init__()
            self.W = nn.Parameter(torch.empty(n_in, n_out))
            self.b = nn.Parameter(torch.zeros(n_out))
            if fault:
                nn.init.constant_(self.W, 1.0 / n_in)
            else:
                nn.init.xavier_uniform_(self.W)

        def forward(self, x):
            return x @ self.W + self.b

    model = nn.Sequential(Dense(64, 40), nn.Tanh(), Dense(40, 40), nn.Tanh(), Dense(40, 10))
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    with watch(model, opt) as w:
        for epoch in range(8):
            tot = n = ok = 0
            for feats, cls in loader:
                out = model(feats)
                loss = F.cross_entropy(out, cls)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() * len(cls)
                n += len(cls)
                ok += (out.argmax(1) == cls).sum().item()
                w.step(loss=loss, inputs=feats, targets=cls, outputs=out)
            with torch.no_grad():
                o = model(xt)
                acc = (o.argmax(1) == yt).float().mean().item()
            w.epoch(
                train={"loss": tot / n, "accuracy": ok / n},
                val={"loss": F.cross_entropy(o, yt).item(), "accuracy": acc},
            )
    return acc


def weights_shrunk_by_thousand(watch, seed, fault):
    """39. The init function scales He's initial weights by 1e-3: the signal dies out layer by layer and the CNN does not start."""
    torch.manual_seed(seed)
    x, y, xt, yt = get_digits(seed)
    gain = 1e-3 if fault else 1.0

    def init_(m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            m.weight.data.mul_(gain)
            m.bias.data.zero_()

    cnn = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )
    cnn.apply(init_)
    optimizer = torch.optim.SGD(cnn.parameters(), lr=0.05, momentum=0.9)
    with watch(cnn, optimizer) as w:
        for ep in range(6):
            perm, losses, right = torch.randperm(len(x)), [], 0
            for start in range(0, len(x), 45):
                sel = perm[start : start + 45]
                optimizer.zero_grad()
                pred = cnn(x[sel])
                loss = nn.functional.cross_entropy(pred, y[sel])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                right += (pred.argmax(1) == y[sel]).sum().item()
                w.step(loss=loss, inputs=x[sel], targets=y[sel], outputs=pred)
            with torch.no_grad():
                p = cnn(xt)
                acc = (p.argmax(1) == yt).float().mean().item()
            w.epoch(
                train={"loss": np.mean(losses), "accuracy": right / len(x)},
                val={"loss": F.cross_entropy(p, yt).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [
    twelve_sigmoid_layers,
    long_rnn_without_clipping,
    language_model_with_std_five,
    constant_initial_weights,
    weights_shrunk_by_thousand,
]
