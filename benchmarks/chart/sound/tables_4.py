"""Sound programs: embedding bag adagrad to gru negation packed."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader


def embedding_bag_adagrad(watch, seed, fault):
    """12. The torchtext classic: EmbeddingBag with offsets, Adagrad and clipping, four topics."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    V, classes = 300, 4
    topic = rng.dirichlet(np.full(V, 0.05), classes) * 0.5 + 0.5 / V
    y = rng.integers(0, classes, 1600)
    docs = [torch.tensor(rng.choice(V, rng.integers(8, 40), p=topic[c])) for c in y]
    pairs = list(zip(y.tolist(), docs))

    def collate(batch):
        lab = torch.tensor([b[0] for b in batch])
        offs = torch.tensor([0] + [len(b[1]) for b in batch[:-1]]).cumsum(0)
        return lab, torch.cat([b[1] for b in batch]), offs

    class TextClassifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.EmbeddingBag(V, 32, mode="mean")
            self.fc = nn.Linear(32, classes)
            self.embedding.weight.data.uniform_(-0.5, 0.5)
            self.fc.weight.data.uniform_(-0.5, 0.5)
            self.fc.bias.data.zero_()

        def forward(self, text, offsets):
            return self.fc(self.embedding(text, offsets))

    model = TextClassifier()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
    train = DataLoader(pairs[:1200], batch_size=32, shuffle=True, collate_fn=collate)
    test = DataLoader(pairs[1200:], batch_size=100, collate_fn=collate)
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            ok = n = 0
            tl = 0.0
            for label, text, offsets in train:
                optimizer.zero_grad()
                pred = model(text, offsets)
                loss = F.cross_entropy(pred, label)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                ok += (pred.argmax(1) == label).sum().item()
                n += len(label)
                tl += loss.item() * len(label)
                w.step(loss=loss, inputs=text, targets=label, outputs=pred)
            model.eval()
            vok, vl = 0, 0.0
            with torch.no_grad():
                for label, text, offsets in test:
                    p = model(text, offsets)
                    vok += (p.argmax(1) == label).sum().item()
                    vl += F.cross_entropy(p, label, reduction="sum").item()
            w.epoch(train={"loss": tl / n, "accuracy": ok / n}, val={"loss": vl / 400, "accuracy": vok / 400})
    return vok / 400


def gru_negation_packed(watch, seed, fault):
    """13. A packed GRU reads sentences where 'not' flips the next word; best weights by validation are restored."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    PAD, NOT = 0, 1
    seqs, labels = [], []
    for _ in range(2000):
        L = int(rng.integers(5, 16))
        s = rng.integers(2, 40, L)
        p = int(rng.integers(0, L - 1))
        s[(s >= 2) & (s < 6)] += 10  # 2,3 good; 4,5 bad
        sign = int(rng.integers(0, 2))
        s[p + 1] = (2 if sign else 4) + int(rng.integers(0, 2))
        flip = int(rng.integers(0, 2))
        if flip:
            s[p] = NOT
        seqs.append(torch.tensor(s))
        labels.append(sign ^ flip)

    class GRUNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(51, 24, padding_idx=PAD)
            self.gru = nn.GRU(24, 40, batch_first=True, bidirectional=True)
            self.out = nn.Linear(80, 2)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(self.emb(x), lengths, batch_first=True, enforce_sorted=False)
            _, h = self.gru(packed)
            return self.out(torch.cat([h[0], h[1]], 1))

    def collate(b):
        xs, ys = zip(*b)
        return (
            pad_sequence(xs, batch_first=True, padding_value=PAD),
            torch.tensor([len(x) for x in xs]),
            torch.tensor(ys),
        )

    data = list(zip(seqs, labels))
    train = DataLoader(data[:1400], batch_size=50, shuffle=True, collate_fn=collate)
    val = DataLoader(data[1400:1700], batch_size=100, collate_fn=collate)
    test = DataLoader(data[1700:], batch_size=100, collate_fn=collate)
    model = GRUNet()
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)

    def evaluate(dl):
        model.eval()
        c = n = 0
        l = 0.0
        with torch.no_grad():
            for x, le, yy in dl:
                o = model(x, le)
                l += F.cross_entropy(o, yy, reduction="sum").item()
                c += (o.argmax(1) == yy).sum().item()
                n += len(yy)
        return l / n, c / n

    best, best_state, patience = float("inf"), None, 0
    with watch(model, opt) as w:
        for epoch in range(12):
            model.train()
            tl = tc = 0.0
            for x, le, yy in train:
                opt.zero_grad()
                o = model(x, le)
                loss = F.cross_entropy(o, yy)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                tl += loss.item() * len(yy) / 1400
                tc += (o.argmax(1) == yy).sum().item() / 1400
                w.step(loss=loss, inputs=x, targets=yy, outputs=o)
            vl, va = evaluate(val)
            w.epoch(train={"loss": tl, "accuracy": tc}, val={"loss": vl, "accuracy": va})
            if vl < best - 1e-4:
                best, best_state, patience = vl, copy.deepcopy(model.state_dict()), 0
            else:
                patience += 1
                if patience >= 3:
                    break
    model.load_state_dict(best_state)
    return evaluate(test)[1]


PROGRAMS = [embedding_bag_adagrad, gru_negation_packed]
