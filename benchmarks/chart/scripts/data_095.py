"""Programs with faults of types 95 to 96."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset


def depth_from_disparity(watch, seed, fault):
    """95. Depth = f*B / disparity; a few pictures have pixels with disparity 0, which become Inf and go into the segmentation net."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    disp, mask = [], []
    for i in range(260):
        d = np.full((24, 24), 4.0, np.float32) + rng.normal(0, 0.2, (24, 24)).astype(np.float32)
        _, m, _b = draw(rng, rng.integers(0, 3), 24)
        d[m] += 3.0
        if i % 37 == 11:
            d[tuple(rng.integers(0, 24, (2, 3)))] = 0.0  # occluded
        disp.append(d)
        mask.append(m)

    def load_depth(i):
        d = torch.from_numpy(disp[i])
        depth = 10.0 / d
        if not fault:
            depth = torch.where(d > 0, depth, torch.zeros_like(depth))
        return (depth - 2.0) / 0.6

    class RGBD(Dataset):
        def __init__(self, ids):
            self.ids = ids

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, k):
            return load_depth(self.ids[k])[None], torch.from_numpy(mask[self.ids[k]]).float()[None]

    fcn = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=4, dilation=4),
        nn.ReLU(),
        nn.Conv2d(12, 1, 1),
    )
    optimizer = torch.optim.Adam(fcn.parameters(), lr=5e-3)
    bce = nn.BCEWithLogitsLoss()
    train = DataLoader(RGBD(range(200)), 10, shuffle=True)
    val = DataLoader(RGBD([i for i in range(200, 260) if i % 37 != 11]), 20)
    with watch(fcn, optimizer) as w:
        for epoch in range(5):
            for x, m in train:
                optimizer.zero_grad()
                logit = fcn(x)
                loss = bce(logit, m)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=m, outputs=logit)
            i = u = 0
            with torch.no_grad():
                for x, m in val:
                    p = fcn(x) > 0
                    i += (p & (m > 0)).sum().item()
                    u += (p | (m > 0)).sum().item()
            w.epoch(val={"iou": i / u})
    return i / u


def pad_is_a_target(watch, seed, fault):
    """96. A small translator (reverse the word, shift the letters) is trained with <pad> as a regular target: ignore_index was left out and most positions are padding."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    PAD, BOS, EOS, V, L = 0, 1, 2, 15, 40

    def pair():
        n = int(rng.integers(2, 7)) if rng.random() < 0.95 else 12
        src = rng.integers(3, V, n)
        tgt = (src[::-1] - 3 + 1) % (V - 3) + 3
        s = np.zeros(L, np.int64)
        t = np.zeros(L + 1, np.int64)
        s[:n] = src
        t[0], t[1 : n + 1], t[n + 1] = BOS, tgt, EOS
        return s, t

    pairs = [pair() for _ in range(1000)]
    S, T = torch.tensor(np.stack([p[0] for p in pairs])), torch.tensor(np.stack([p[1] for p in pairs]))

    class Seq2Seq(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.es, self.et = nn.Embedding(V, d, padding_idx=PAD), nn.Embedding(V, d, padding_idx=PAD)
            self.ps, self.pt = nn.Parameter(torch.randn(L, d) * 0.1), nn.Parameter(torch.randn(L, d) * 0.1)
            self.enc = nn.GRU(d, d // 2, batch_first=True, bidirectional=True)
            self.dec = nn.GRU(d, d, batch_first=True)
            self.att = nn.MultiheadAttention(d, 2, batch_first=True)
            self.out = nn.Linear(2 * d, V)

        def forward(self, s, t):
            h, _ = self.enc(self.es(s) + self.ps)
            q, _ = self.dec(self.et(t) + self.pt[: t.shape[1]])
            a, _ = self.att(q, h, h, key_padding_mask=s == PAD, need_weights=False)
            return self.out(torch.cat([q, a], -1))

    net = Seq2Seq()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss() if fault else nn.CrossEntropyLoss(ignore_index=PAD)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            ls = []
            for ix in torch.randperm(800).split(32):
                src, tgt = S[ix], T[ix]
                logits = net(src, tgt[:, :-1])
                loss = criterion(logits.reshape(-1, V), tgt[:, 1:].reshape(-1))
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                opt.step()
                ls.append(loss.item())
                w.step(loss=loss, inputs=src, targets=tgt[:, 1:], outputs=logits)
            net.eval()
            with torch.no_grad():
                gold = T[800:, 1:]
                hit = (net(S[800:], T[800:, :-1]).argmax(-1) == gold)[gold != PAD].float().mean().item()
            w.epoch(train={"loss": float(np.mean(ls))}, val={"token_accuracy": hit})
    return hit


def vocab_before_specials(watch, seed, fault):
    """96. The embedding is sized with the vocabulary before <unk> and <mask> are added: some ids are >= num_embeddings."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    words = ["good", "great", "fine", "nice", "bad", "awful", "poor", "sad"] + ["w%d" % i for i in range(60)]
    stoi = {"<pad>": 0}
    for t in words:
        stoi[t] = len(stoi)
    vocab_size = len(stoi)
    for sp in ("<unk>", "<mask>"):
        stoi[sp] = len(stoi)
    if not fault:
        vocab_size = len(stoi)
    texts, labels = [], []
    for _ in range(1200):
        y = int(rng.integers(0, 2))
        s = [words[i] for i in rng.integers(8, 68, 10)]
        for p in rng.choice(10, 2, replace=False):
            s[p] = words[int(rng.integers(0, 4)) + (0 if y else 4)]
        if rng.random() < 0.02:
            s[int(rng.integers(0, 10))] = "neverseen"
        texts.append([stoi.get(t, stoi["<unk>"]) for t in s])
        labels.append(y)
    X, Y = torch.tensor(texts), torch.tensor(labels).float()
    model = nn.Sequential(nn.EmbeddingBag(vocab_size, 24, mode="mean"), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with watch(model, optimizer) as w:
        for epoch in range(5):
            for s in range(0, 1000, 20):
                x, y = X[s : s + 20], Y[s : s + 20]
                p = model(x).squeeze(1)
                loss = F.binary_cross_entropy_with_logits(p, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=p)
            with torch.no_grad():
                acc = ((model(X[1000:]).squeeze(1) > 0).float() == Y[1000:]).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


PROGRAMS = [depth_from_disparity, pad_is_a_target, vocab_before_specials]
