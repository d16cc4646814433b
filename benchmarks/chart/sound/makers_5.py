"""Sound programs: crnn ctc to arcface."""

import itertools
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def _retrieval(ztr, ytr, zva, yva):
    nearest = torch.cdist(zva, ztr).argmin(1)
    return (ytr[nearest] == yva).float().mean().item()


class ArcFace(nn.Module):
    def __init__(self, dim, classes, s=16.0, margin=0.25):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim))
        nn.init.xavier_uniform_(self.weight)
        self.s, self.margin = s, margin

    def forward(self, z, y=None):
        cos = F.linear(F.normalize(z), F.normalize(self.weight))
        if y is None:
            return self.s * cos
        theta = torch.acos(cos.clamp(-1 + 1e-6, 1 - 1e-6))
        hit = F.one_hot(y, cos.shape[1]).bool()
        return self.s * torch.where(hit, torch.cos((theta + self.margin).clamp(max=math.pi)), cos)


def crnn_ctc(watch, seed, fault):
    """12. A CRNN reads strips of two to four 8-pixel digits with CTC; score is one minus the character error rate."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)

    def strips(x, y, n, s):
        rng = np.random.default_rng(s)
        imgs = torch.zeros(n, 1, 8, 40)
        labels, lens = torch.zeros(n, 4, dtype=torch.long), torch.zeros(n, dtype=torch.long)
        for i in range(n):
            L = rng.integers(2, 5)
            pos = int(rng.integers(0, 3))
            for j in range(L):
                k = int(rng.integers(0, len(y)))
                imgs[i, :, :, pos : pos + 8] = x[k]
                labels[i, j] = y[k] + 1
                pos += 8 + int(rng.integers(0, 2))
            lens[i] = L
        return (imgs - 0.25) / 0.35, labels, lens

    tr = strips(xtr, ytr, 1200, seed)
    va = strips(xva, yva, 200, seed + 1)

    class CRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.MaxPool2d((2, 1)),
            )
            self.rnn = nn.GRU(64, 48, bidirectional=True, batch_first=True)
            self.fc = nn.Linear(96, 11)

        def forward(self, x):
            h = self.cnn(x).permute(0, 3, 1, 2).flatten(2)
            return self.fc(self.rnn(h)[0]).log_softmax(-1).transpose(0, 1)

    def edit(a, b):
        d = list(range(len(b) + 1))
        for i, ca in enumerate(a, 1):
            prev, d[0] = d[0], i
            for j, cb in enumerate(b, 1):
                prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (ca != cb))
        return d[-1]

    model = CRNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    ctc = nn.CTCLoss(blank=0, zero_infinity=True)
    loader = DataLoader(TensorDataset(*tr), batch_size=40, shuffle=True)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            run = 0.0
            for x, y, n in loader:
                lp = model(x)
                loss = ctc(lp, y, torch.full((len(x),), lp.shape[0], dtype=torch.long), n)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=lp)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                lp = model(va[0])
                vl = ctc(lp, va[1], torch.full((len(va[0]),), lp.shape[0], dtype=torch.long), va[2]).item()
            err = tot = 0
            for seq, y, n in zip(lp.argmax(-1).T.tolist(), va[1].tolist(), va[2].tolist()):
                err += edit([k for k, _ in itertools.groupby(seq) if k != 0], y[:n])
                tot += n
            score = 1 - err / tot
            w.epoch(train={"loss": run}, val={"loss": vl, "cer": err / tot})
    return score


def triplet_batch_hard(watch, seed, fault):
    """13. Triplet loss with batch-hard mining on P-K batches of rotated digits; score is nearest-neighbour accuracy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    xtr, ytr, xva, yva = digits(seed)
    m, s = xtr.mean(), xtr.std()
    xtr, xva = (xtr - m) / s, (xva - m) / s
    by = [np.where(ytr.numpy() == c)[0] for c in range(10)]
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(384, 24),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    with watch(net, optimizer) as w:
        for it in range(240):
            net.train()
            idx = np.concatenate([rng.choice(by[c], 6, replace=False) for c in rng.choice(10, 8, replace=False)])
            x, y = xtr[idx], ytr[idx]
            z = F.normalize(net(x), dim=1)
            d = (2 - 2 * z @ z.T).clamp(min=1e-6).sqrt()
            same = y[:, None] == y[None]
            hardest_pos = d.masked_fill(~same, 0).max(1).values
            hardest_neg = d.masked_fill(same, 9).min(1).values
            loss = F.relu(hardest_pos - hardest_neg + 0.3).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=z)
            if (it + 1) % 60 == 0:
                net.eval()
                with torch.no_grad():
                    acc = _retrieval(F.normalize(net(xtr), dim=1), ytr, F.normalize(net(xva), dim=1), yva)
                w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


def arcface(watch, seed, fault):
    """14. ArcFace margins on digit embeddings, SGD with weight decay, separate backbone and head modules."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed, -1, 1)
    backbone = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.PReLU(24),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.PReLU(32),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.BatchNorm1d(32),
    )
    head = ArcFace(32, 10)
    optimizer = torch.optim.SGD(
        list(backbone.parameters()) + list(head.parameters()), lr=0.05, momentum=0.9, weight_decay=5e-4
    )
    sched = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 9], 0.1)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    acc = 0.0
    with watch([backbone, head], optimizer) as w:
        for epoch in range(10):
            backbone.train()
            head.train()
            run = 0.0
            for x, y in loader:
                logits = head(backbone(x), y)
                loss = F.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
                run += loss.item() / len(loader)
            sched.step()
            backbone.eval()
            head.eval()
            with torch.no_grad():
                out = head(backbone(xva))
                acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


PROGRAMS = [crnn_ctc, triplet_batch_hard, arcface]
