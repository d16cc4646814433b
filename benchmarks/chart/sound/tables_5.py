"""Sound programs: char lstm tbptt to tcn adding."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def char_lstm_tbptt(watch, seed, fault):
    """14. A character LSTM over one long stream by truncated BPTT with carried state, RMSprop and value clipping."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    words = [
        "alder",
        "birch",
        "cedar",
        "douglas",
        "elm",
        "fir",
        "ginkgo",
        "hazel",
        "ironwood",
        "juniper",
        "larch",
        "maple",
    ]
    text = " ".join(rng.choice(words, 5000))
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text])
    V, B, T = len(chars), 20, 25
    split = int(0.9 * len(ids))

    def batchify(s, b):
        n = len(s) // b
        return s[: n * b].view(b, n)

    tr, va = batchify(ids[:split], B), batchify(ids[split:], 4)

    class CharLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(V, 16)
            self.r = nn.LSTM(16, 64, batch_first=True)
            self.o = nn.Linear(64, V)

        def forward(self, x, h=None):
            z, h = self.r(self.e(x), h)
            return self.o(z), h

    m = CharLSTM()
    opt = torch.optim.RMSprop(m.parameters(), lr=4e-3)

    def val_loss():
        m.eval()
        with torch.no_grad():
            lo, _ = m(va[:, :-1])
            r = F.cross_entropy(lo.reshape(-1, V), va[:, 1:].reshape(-1)).item()
        m.train()
        return r

    with watch(m, opt) as w:
        for epoch in range(4):
            state, losses = None, []
            for i in range(0, tr.size(1) - 1 - T, T):
                x, y = tr[:, i : i + T], tr[:, i + 1 : i + 1 + T]
                if state is not None:
                    state = tuple(s.detach() for s in state)
                logits, state = m(x, state)
                loss = F.cross_entropy(logits.reshape(-1, V), y.reshape(-1))
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_value_(m.parameters(), 0.5)
                opt.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            w.epoch(train={"loss": float(np.mean(losses))}, val={"loss": val_loss()})
    return math.log(V) - val_loss()


def tcn_adding(watch, seed, fault):
    """15. A causal dilated TCN solves the adding problem on freshly drawn sequences."""
    torch.manual_seed(seed)
    L = 30

    class Block(nn.Module):
        def __init__(self, ci, co, d):
            super().__init__()
            self.pad = 2 * d
            self.c1 = nn.utils.parametrizations.weight_norm(nn.Conv1d(ci, co, 3, dilation=d))
            self.c2 = nn.utils.parametrizations.weight_norm(nn.Conv1d(co, co, 3, dilation=d))
            self.skip = nn.Conv1d(ci, co, 1) if ci != co else nn.Identity()

        def forward(self, x):
            z = F.relu(self.c1(F.pad(x, (self.pad, 0))))
            z = F.relu(self.c2(F.pad(z, (self.pad, 0))))
            return F.relu(z + self.skip(x))

    class TCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(Block(2, 24, 1), Block(24, 24, 2), Block(24, 24, 4), Block(24, 24, 8))
            self.fc = nn.Linear(24, 1)

        def forward(self, x):
            return self.fc(self.net(x)[:, :, -1]).squeeze(1)

    def draw(n, gen):
        v = torch.rand(n, L, generator=gen)
        mask = torch.zeros(n, L)
        a = torch.randint(0, L // 2, (n,), generator=gen)
        b = torch.randint(L // 2, L, (n,), generator=gen)
        mask[torch.arange(n), a] = 1
        mask[torch.arange(n), b] = 1
        return torch.stack([v, mask], 1), (v * mask).sum(1)

    gen = torch.Generator().manual_seed(seed + 1)
    xv, yv = draw(500, torch.Generator().manual_seed(9999 + seed))
    model = TCN()
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    recent = []
    with watch(model, opt) as w:
        for step in range(1, 361):
            model.train()
            x, y = draw(64, gen)
            opt.zero_grad()
            o = model(x)
            loss = F.mse_loss(o, y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            recent.append(loss.item())
            w.step(loss=loss, inputs=x, targets=y, outputs=o)
            if step % 60 == 0:
                model.eval()
                with torch.no_grad():
                    v = F.mse_loss(model(xv), yv).item()
                w.epoch(train={"loss": sum(recent) / len(recent)}, val={"loss": v})
                recent = []
    return 1 - v / yv.var().item()


PROGRAMS = [char_lstm_tbptt, tcn_adding]
