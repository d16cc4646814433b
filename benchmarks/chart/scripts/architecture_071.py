"""Programs with faults of types 71 to 73."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def unscaled_attention(watch, seed, fault):
    """71. A hand-written attention forgets the division by sqrt(d); with one head of 64 channels the softmax is saturated from the start."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    D = 64

    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))
            for l in (self.q, self.k):
                nn.init.normal_(l.weight, 0, D**-0.5)

        def forward(self, x):
            scores = self.q(x) @ self.k(x).transpose(-2, -1)
            if not fault:
                scores = scores / math.sqrt(D)
            return self.o(torch.softmax(scores, -1) @ self.v(x))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Conv2d(1, D, 2, 2)
            self.cls = nn.Parameter(torch.randn(1, 1, D))
            self.pos = nn.Parameter(torch.randn(1, 17, D) * 0.5)
            self.ln = nn.ModuleList([nn.LayerNorm(D) for _ in range(3)])
            self.att = nn.ModuleList([SelfAttention() for _ in range(2)])
            self.head = nn.Linear(D, 10)

        def forward(self, x):
            x = self.tok(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
            for ln, a in zip(self.ln, self.att):
                x = x + a(ln(x))
            return self.head(self.ln[2](x)[:, 0])

    net = Encoder()
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            for i in torch.randperm(1400).split(50):
                z = net(xtr[i])
                loss = F.cross_entropy(z, ytr[i])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                opt.step()
                w.step(loss=loss, inputs=xtr[i], targets=ytr[i], outputs=z)
            net.eval()
            with torch.no_grad():
                a = (net(xte).argmax(1) == yte).float().mean().item()
            w.epoch(val={"accuracy": a})
    return a


def causal_mask_lost(watch, seed, fault):
    """72. A small GPT builds the causal mask but does not pass it on to the encoder; it sees the next token and cannot generate."""
    torch.manual_seed(seed)
    V, T = 31, 16
    r = np.random.RandomState(seed)

    def batch(n):
        s = np.zeros((n, T + 1), int)
        s[:, :2] = r.randint(0, V, (n, 2))
        for t in range(2, T + 1):
            s[:, t] = (s[:, t - 1] + 3 * (s[:, t - 1] % 2) + 1) % V
        return torch.tensor(s)

    class GPT(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V, d), nn.Embedding(T, d)
            layer = nn.TransformerEncoderLayer(
                d, 4, 4 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, V)

        def forward(self, ids):
            n = ids.size(1)
            h = self.tok(ids) + self.pos(torch.arange(n))
            mask = nn.Transformer.generate_square_subsequent_mask(n)
            if fault:
                h = self.enc(h)
            else:
                h = self.enc(h, mask=mask)
            return self.head(self.ln(h))

    gpt = GPT()
    opt = torch.optim.AdamW(gpt.parameters(), lr=2e-3)
    with watch(gpt, opt) as w:
        for step in range(200):
            b = batch(32)
            x, y = b[:, :-1], b[:, 1:]
            logits = gpt(x)
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=logits)
    gpt.eval()
    truth = batch(64)
    seq = truth[:, :4]
    with torch.no_grad():
        while seq.size(1) <= T:
            seq = torch.cat([seq, gpt(seq)[:, -1].argmax(-1, keepdim=True)], 1)
    return (seq[:, 4:] == truth[:, 4:]).float().mean().item()


def padding_mask_inverted(watch, seed, fault):
    """73. Sentiment transformer: src_key_padding_mask gets ids != PAD (an attention mask as in Hugging Face) where True means ignore, so CLS attends to padding only."""
    torch.manual_seed(seed)
    PAD, CLS, V, L = 0, 1, 60, 20
    r = np.random.RandomState(seed)

    def corpus(n):
        ids = np.zeros((n, L), int)
        lab = np.zeros(n, int)
        for i in range(n):
            k = r.randint(5, L - 2)
            lab[i] = r.randint(0, 2)
            words = np.where(
                r.rand(k) < 0.3,
                np.where(r.rand(k) < 0.9, lab[i], 1 - lab[i]) * 10 + 2 + r.randint(0, 10, k),
                r.randint(22, V, k),
            )
            ids[i, 0], ids[i, 1 : k + 1] = CLS, words
        return torch.tensor(ids), torch.tensor(lab)

    X, Y = corpus(1200)
    Xv, Yv = corpus(400)

    class Sentiment(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.emb = nn.Embedding(V, d, padding_idx=PAD)
            self.pos = nn.Parameter(torch.zeros(1, L, d))
            self.enc = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(d, 2, 64, 0.0, batch_first=True), 1, enable_nested_tensor=False
            )
            self.out = nn.Linear(d, 2)

        def forward(self, ids):
            m = (ids != PAD) if fault else (ids == PAD)
            return self.out(self.enc(self.emb(ids) + self.pos, src_key_padding_mask=m)[:, 0])

    model = Sentiment()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for ids, lab in DataLoader(TensorDataset(X, Y), 40, shuffle=True):
                out = model(ids)
                loss = F.cross_entropy(out, lab)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=ids, targets=lab, outputs=out)
            with torch.no_grad():
                model.eval()
                o = model(Xv)
                acc = (o.argmax(1) == Yv).float().mean().item()
                w.epoch(val={"loss": F.cross_entropy(o, Yv).item(), "accuracy": acc})
    return acc


PROGRAMS = [unscaled_attention, causal_mask_lost, padding_mask_inverted]
