"""Programs with faults of types 36 to 38."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import digits_images
from sklearn.datasets import load_breast_cancer
from torch.utils.data import DataLoader, TensorDataset


def long_rnn_without_clip(watch, seed, fault):
    """36. An Elman RNN reads 100 steps without gradient clipping: gradients explode and throw the weights away."""
    torch.manual_seed(seed)
    T = 100
    x = torch.randn(900, T, 2)
    x[:, :, 1] = (torch.rand(900, T) < 0.05).float()
    y = (x[:, :, 0] * torch.linspace(0, 1, T)).sum(1) / 4

    class RNN(nn.Module):
        def __init__(self, h=48):
            super().__init__()
            self.rnn = nn.RNN(2, h, nonlinearity="relu", batch_first=True)
            with torch.no_grad():
                self.rnn.weight_hh_l0.copy_(torch.eye(h) * 1.02)
                self.rnn.weight_ih_l0.normal_(0, 0.05)
                self.rnn.bias_hh_l0.zero_()
                self.rnn.bias_ih_l0.zero_()
            self.out = nn.Linear(h, 1)

        def forward(self, s):
            return self.out(self.rnn(s)[0][:, -1])[:, 0]

    net = RNN()
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(8):
            ls = []
            for k in torch.randperm(700).split(35):
                p = net(x[k])
                loss = F.mse_loss(p, y[k])
                opt.zero_grad()
                loss.backward()
                if not fault:
                    nn.utils.clip_grad_norm_(net.parameters(), 0.25)
                opt.step()
                ls.append(loss.item())
                w.step(loss=loss, inputs=x[k], targets=y[k], outputs=p)
            with torch.no_grad():
                v = F.mse_loss(net(x[700:]), y[700:]).item()
            w.epoch(train={"loss": float(np.mean(ls))}, val={"loss": v})
    return 1 - v / y[700:].var().item()


def gpt_init_std_one(watch, seed, fault):
    """37. _init_weights of a GPT draws linear layers and embeddings with std=1.0 in place of 0.02: the first loss is far above ln(V)."""
    torch.manual_seed(seed)
    V, T, d = 14, 16, 48
    std = 1.0 if fault else 0.02

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x):
            B = len(x)
            q, k, v = self.qkv(self.ln1(x)).view(B, -1, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, -1, d)
            x = x + self.o(a)
            return x + self.down(F.gelu(self.up(self.ln2(x))))

    class LM(nn.Module):
        def __init__(self):
            super().__init__()
            self.te, self.pe = nn.Embedding(V, d), nn.Embedding(T, d)
            self.b = nn.Sequential(Block(), Block())
            self.f, self.head = nn.LayerNorm(d), nn.Linear(d, V)
            self.apply(self._init_weights)

        def _init_weights(self, m):
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, 0.0, std)
            if isinstance(m, nn.Linear):
                nn.init.zeros_(m.bias)

        def forward(self, i):
            return self.head(self.f(self.b(self.te(i) + self.pe(torch.arange(i.shape[1])))))

    def batch(n):
        s = torch.randint(0, V, (n, 1))
        s = torch.cat([s, (s + torch.randint(1, 5, (n, 1))) % V], 1)
        for _ in range(T - 1):
            s = torch.cat([s, ((2 * s[:, -1] - s[:, -2]) % V)[:, None]], 1)
        return s[:, :-1], s[:, 1:]

    lm = LM()
    opt = torch.optim.AdamW(lm.parameters(), lr=2e-3)
    xv, yv = batch(200)
    with watch(lm, opt) as w:
        for it in range(300):
            x, y = batch(32)
            o = lm(x)
            loss = F.cross_entropy(o.reshape(-1, V), y.reshape(-1))
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=o)
    with torch.no_grad():
        return (lm(xv).argmax(-1) == yv)[:, 2:].float().mean().item()


def mlp_constant_init(watch, seed, fault):
    """38. The init function fills every Linear with a constant (0.05): all hidden units of a layer stay copies of each other."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    def init(m):
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            if fault:
                nn.init.constant_(m.weight, 0.05)
            else:
                nn.init.kaiming_uniform_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    net.apply(init)
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    with watch(net, opt) as w:
        for epoch in range(7):
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 32, shuffle=True):
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def zero_init_by_hand(watch, seed, fault):
    """38. A network written by hand with torch.zeros for both weight matrices, as one does for logistic regression: it never leaves the bias."""
    torch.manual_seed(seed)
    d = load_breast_cancer()
    X = torch.tensor((d.data - d.data.mean(0)) / d.data.std(0)).float()
    y = torch.tensor(d.target).float()
    i = torch.randperm(len(y))
    tr, te = i[:420], i[420:]

    class Hand(nn.Module):
        def __init__(self):
            super().__init__()
            draw_ = torch.zeros if fault else (lambda *s: torch.randn(*s) * 0.2)
            self.W1, self.b1 = nn.Parameter(draw_(30, 32)), nn.Parameter(torch.zeros(32))
            self.W2, self.b2 = nn.Parameter(draw_(32, 1)), nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return (torch.tanh(x @ self.W1 + self.b1) @ self.W2 + self.b2).squeeze(1)

    net = Hand()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(net, opt) as w:
        for epoch in range(12):
            for k in tr[torch.randperm(len(tr))].split(30):
                z = net(X[k])
                loss = F.binary_cross_entropy_with_logits(z, y[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=y[k], outputs=z)
            with torch.no_grad():
                zt = net(X[te])
            p, t = zt > 0, y[te] > 0
            acc = ((p & t).sum() / t.sum() + (~p & ~t).sum() / (~t).sum()).item() / 2
            w.epoch(train={"loss": loss.item()}, val={"balanced_accuracy": acc})
    return acc


PROGRAMS = [long_rnn_without_clip, gpt_init_std_one, mlp_constant_init, zero_init_by_hand]
