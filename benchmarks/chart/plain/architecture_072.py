"""Programs with faults of types 72 to 74."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def gpt_sees_the_future(watch, seed, fault):
    """72. The causal mask is built but not handed to the transformer; the model copies the next token and cannot generate."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    M, T = 13, 16

    def progressions(n):  # a, a+d, a+2d, ... mod 13
        a, d = rng.randint(0, M, (n, 1)), rng.randint(1, M, (n, 1))
        return torch.from_numpy((a + d * np.arange(T)) % M)

    class Decoder(nn.Module):
        def __init__(self, d=48, layers=2):
            super().__init__()
            self.tok = nn.Embedding(M, d)
            self.pos = nn.Embedding(T, d)
            self.layers = nn.ModuleList(
                [nn.TransformerEncoderLayer(d, 4, 128, 0.0, batch_first=True, norm_first=True) for _ in range(layers)]
            )
            self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, M)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(T))

        def forward(self, idx):
            L = idx.size(1)
            h = self.tok(idx) + self.pos(torch.arange(L))
            for layer in self.layers:
                h = layer(h) if fault else layer(h, src_mask=self.mask[:L, :L])
            return self.head(self.ln(h))

    gpt = Decoder()
    opt = torch.optim.AdamW(gpt.parameters(), lr=3e-3, weight_decay=0.01)
    test = progressions(200)
    with watch(gpt, opt) as w:
        for it in range(360):
            seq = progressions(48)
            inp, tgt = seq[:, :-1], seq[:, 1:]
            out = gpt(inp)
            loss = F.cross_entropy(out.transpose(1, 2), tgt)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=inp, targets=tgt, outputs=out)
            if (it + 1) % 60 == 0:
                gpt.eval()
                with torch.no_grad():
                    vl = F.cross_entropy(gpt(test[:, :-1]).transpose(1, 2), test[:, 1:]).item()
                gpt.train()
                w.epoch(train={"loss": loss.item()}, val={"loss": vl})
    gpt.eval()
    with torch.no_grad():
        gen = test[:, :4]
        while gen.size(1) < 12:
            gen = torch.cat([gen, gpt(gen)[:, -1:].argmax(-1)], 1)
    return (gen[:, 4:] == test[:, 4:12]).float().mean().item()


def padding_mask_inverted(watch, seed, fault):
    """73. src_key_padding_mask is True for the real tokens (inverted): the attention reads only the padding."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    PAD, CLS, T = 0, 1, 18

    def texts(n):
        y = rng.randint(0, 3, n)
        x = np.full((n, T), PAD)
        x[:, 0] = CLS
        for i in range(n):
            L = rng.randint(5, T - 2)
            words = rng.randint(2, 32, L)
            k = rng.rand(L) < 0.5
            words[k] = 2 + y[i] * 10 + rng.randint(0, 10, k.sum())
            x[i, 1 : 1 + L] = words
        return torch.from_numpy(x), torch.from_numpy(y)

    class BertTiny(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.tok = nn.Embedding(32, d)
            self.pos = nn.Embedding(T, d)
            layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.1, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(d, 3)

        def forward(self, ids, attention_mask):
            h = self.tok(ids) + self.pos.weight
            pad = attention_mask if fault else ~attention_mask
            return self.head(self.encoder(h, src_key_padding_mask=pad)[:, 0])

    bert = BertTiny()
    opt = torch.optim.AdamW(bert.parameters(), lr=1e-3)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 20))
    Xtr, Ytr = texts(1200)
    Xv, Yv = texts(300)
    with watch(bert, opt) as w:
        for epoch in range(6):
            bert.train()
            tot = 0
            for ids, lab in DataLoader(TensorDataset(Xtr, Ytr), batch_size=40, shuffle=True):
                out = bert(ids, ids != PAD)
                loss = F.cross_entropy(out, lab)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                tot += loss.item() / 30
                w.step(loss=loss, targets=lab, outputs=out)
            bert.eval()
            with torch.no_grad():
                ov = bert(Xv, Xv != PAD)
                acc = (ov.argmax(1) == Yv).float().mean().item()
            w.epoch(train={"loss": tot}, val={"loss": F.cross_entropy(ov, Yv).item(), "accuracy": acc})
    return acc


def position_never_added(watch, seed, fault):
    """74. The sinusoidal table is built but never added to the embeddings: the order of the tokens is invisible."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    n, T, V = 1500, 12, 14

    x = rng.randint(2, V, (n, T))
    pos = np.stack([rng.choice(T, 2, replace=False) for _ in range(n)])
    x[np.arange(n), pos[:, 0]] = 0
    x[np.arange(n), pos[:, 1]] = 1
    x, y = (
        torch.from_numpy(x),
        torch.from_numpy((pos[:, 0] < pos[:, 1]).astype(np.float32)),
    )  # is token 0 before token 1?

    class PositionalEncoding(nn.Module):
        def __init__(self, d, length):
            super().__init__()
            t = torch.arange(length).unsqueeze(1)
            div = torch.exp(torch.arange(0, d, 2) * (-math.log(100.0) / d))
            pe = torch.zeros(length, d)
            pe[:, 0::2], pe[:, 1::2] = torch.sin(t * div), torch.cos(t * div)
            self.register_buffer("pe", pe)

        def forward(self, e):
            if fault:
                self.pe[: e.size(1)]
                return e
            return e + self.pe[: e.size(1)]

    class OrderNet(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.emb = nn.Embedding(V, d)
            self.pe = PositionalEncoding(d, T)
            self.enc = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(d, 4, 64, dropout=0.0, batch_first=True, norm_first=True),
                2,
                enable_nested_tensor=False,
            )
            self.fc = nn.Linear(d, 1)

        def forward(self, s):
            return self.fc(self.enc(self.pe(self.emb(s))).mean(1)).squeeze(-1)

    net = OrderNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    bce = nn.BCEWithLogitsLoss()
    with watch(net, optimizer) as w:
        for epoch in range(10):
            losses = []
            for idx in torch.randperm(1200).split(40):
                optimizer.zero_grad()
                z = net(x[idx])
                loss = bce(z, y[idx])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=x[idx], targets=y[idx], outputs=z)
            with torch.no_grad():
                zv = net(x[1200:])
                acc = ((zv > 0).float() == y[1200:]).float().mean().item()
            w.epoch(train={"loss": np.mean(losses)}, val={"loss": bce(zv, y[1200:]).item(), "accuracy": acc})
    return acc


PROGRAMS = [gpt_sees_the_future, padding_mask_inverted, position_never_added]
