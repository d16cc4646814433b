"""Programs with faults of types 83 to 86."""

import os
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.labels_parts import digits
from sklearn.datasets import load_breast_cancer
from torch.utils.data import DataLoader, TensorDataset


class FraudTrainer:
    def __init__(self, model, opt, loss_fn, watcher):
        self.model, self.opt, self.loss_fn, self.w = model, opt, loss_fn, watcher

    def run(self, loader, val, epochs):
        for _ in range(epochs):
            self.model.train()
            tl = tc = tn = 0
            for rows, flag in loader:
                self.opt.zero_grad()
                logits = self.model(rows)
                loss = self.loss_fn(logits, flag)
                loss.backward()
                self.opt.step()
                tl += loss.item() * len(flag)
                tc += (logits.argmax(1) == flag).sum().item()
                tn += len(flag)
                self.w.step(loss=loss, inputs=rows, targets=flag, outputs=logits)
            self.model.eval()
            with torch.no_grad():
                o = self.model(val[0])
                self.w.epoch(
                    train={"loss": tl / tn, "accuracy": tc / tn},
                    val={
                        "loss": self.loss_fn(o, val[1]).item(),
                        "accuracy": (o.argmax(1) == val[1]).float().mean().item(),
                    },
                )


def labels_from_resorted_csv(watch, seed, fault):
    """83. The label column was shuffled on its own (the table and the labels no longer belong together)."""
    torch.manual_seed(seed)
    random.seed(seed)
    wine_like = load_breast_cancer()
    feats = (wine_like.data - wine_like.data.mean(0)) / wine_like.data.std(0)
    labels = list(wine_like.target)
    rows = list(feats)
    if fault:
        random.shuffle(rows)
        random.shuffle(labels)
    else:
        both = list(zip(rows, labels))
        random.shuffle(both)
        rows, labels = zip(*both)
    X = torch.tensor(np.stack(rows), dtype=torch.float32)
    Y = torch.tensor(labels, dtype=torch.float32)
    ntr = 430
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    optim = torch.optim.Adam(model.parameters(), lr=1e-3)
    bce = nn.BCEWithLogitsLoss()
    acc = 0.0
    with watch(model, optim) as w:
        for e in range(12):
            order = np.random.RandomState(seed * 100 + e).permutation(ntr)
            s = 0.0
            for j in range(0, ntr, 20):
                idx = order[j : j + 20]
                z = model(X[idx]).squeeze(1)
                l = bce(z, Y[idx])
                optim.zero_grad()
                l.backward()
                optim.step()
                s += l.item() * len(idx)
                w.step(loss=l, inputs=X[idx], targets=Y[idx], outputs=z)
            with torch.no_grad():
                z = model(X[ntr:]).squeeze(1)
                acc = ((z > 0).float() == Y[ntr:]).float().mean().item()
                w.epoch(train={"loss": s / ntr}, val={"loss": bce(z, Y[ntr:]).item(), "accuracy": acc})
    # balanced accuracy on the held-out rows
    p, q = (z > 0).float(), Y[ntr:]
    return 0.5 * ((p[q == 1] == 1).float().mean() + (p[q == 0] == 0).float().mean()).item()


def sloppy_annotators(watch, seed, fault):
    """84. 30 % of the training labels are random (sloppy annotators), in a small CNN on digits."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 7)
    Xtr, Xte, ytr, yte = digits(seed)
    if fault:
        sloppy = rng.random(len(ytr)) < 0.30
        ytr = ytr.copy()
        ytr[sloppy] = (ytr[sloppy] + rng.integers(1, 10, sloppy.sum())) % 10
    xt = torch.from_numpy(Xtr)[:, None] / 8 - 1
    xv = torch.from_numpy(Xte)[:, None] / 8 - 1
    yt, yv = torch.from_numpy(ytr), torch.from_numpy(yte)

    cnn = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48 * 16, 96),
        nn.ReLU(),
        nn.Linear(96, 10),
    )
    opt = torch.optim.SGD(cnn.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12)
    loader = DataLoader(TensorDataset(xt, yt), batch_size=50, shuffle=True, drop_last=True)
    best = acc = 0
    with watch(cnn, opt) as w:
        for epoch in range(12):
            cnn.train()
            tot = cor = num = 0
            for inp, tgt in loader:
                opt.zero_grad()
                logit = cnn(inp)
                loss = F.cross_entropy(logit, tgt)
                loss.backward()
                opt.step()
                tot += loss.item() * len(tgt)
                cor += (logit.argmax(1) == tgt).sum().item()
                num += len(tgt)
                w.step(loss=loss, inputs=inp, targets=tgt, outputs=logit)
            sched.step()
            cnn.eval()
            with torch.no_grad():
                o = cnn(xv)
                acc = (o.argmax(1) == yv).float().mean().item()
            w.epoch(
                train={"loss": tot / num, "accuracy": cor / num},
                val={"loss": F.cross_entropy(o, yv).item(), "accuracy": acc},
            )
    return acc


def label_from_path(watch, seed, fault):
    """85. The label is read from the path with `'cat' in path`, and every path holds 'dogs_vs_cats': all labels are 1."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:16, :16]
    paths, pics = [], []
    for i in range(900):
        kind = rng.integers(0, 2)
        im = rng.normal(0, 0.2, (16, 16))
        cx, cy = rng.uniform(5, 11, 2)
        if kind:  # a ring
            d = np.hypot(xx - cx, yy - cy)
            im[(d > 2.5) & (d < 4.2)] += 1
        else:  # a cross
            im[(abs(xx - cx) < 1) & (abs(yy - cy) < 4)] += 1
            im[(abs(yy - cy) < 1) & (abs(xx - cx) < 4)] += 1
        paths.append(f"data/dogs_vs_cats/train/{'cat' if kind else 'dog'}.{i}.jpg")
        pics.append(im.astype(np.float32))

    def label_of(path):
        if fault:
            return 1 if "cat" in path else 0
        return 1 if os.path.basename(path).startswith("cat") else 0

    x = torch.from_numpy(np.stack(pics))[:, None]
    y = torch.tensor([label_of(p) for p in paths])
    truth = torch.tensor([int("/cat." in p) for p in paths])
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 32),
        nn.ReLU(),
        nn.Linear(32, 2),
    )
    opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            hits = n = 0
            for idx in torch.randperm(700).split(25):
                out = net(x[idx])
                loss = F.nll_loss(F.log_softmax(out, 1), y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                hits += (out.argmax(1) == y[idx]).sum().item()
                n += len(idx)
                w.step(loss=loss, inputs=x[idx], targets=y[idx], outputs=out)
            with torch.no_grad():
                o = net(x[700:])
            w.epoch(
                train={"loss": loss.item(), "accuracy": hits / n},
                val={
                    "loss": F.cross_entropy(o, y[700:]).item(),
                    "accuracy": (o.argmax(1) == y[700:]).float().mean().item(),
                },
            )
    return (o.argmax(1) == truth[700:]).float().mean().item()


def rare_fraud(watch, seed, fault):
    """86. Fraud detection with 1 % positives and plain cross entropy; the sound twin has as many of each class."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def rows(n, share):
        y = (rng.random(n) < share).astype(np.int64)
        X = rng.normal(0, 1, (n, 12))
        X[:, :4] += y[:, None] * 0.85
        X[:, 4] = np.where(y == 1, np.abs(X[:, 4]) * 1.2, X[:, 4])
        return torch.tensor(X, dtype=torch.float32), torch.tensor(y)

    share = 0.01 if fault else 0.5
    Xt, yt = rows(4000, share)
    Xv, yv = rows(1500, share)
    Xq, yq = rows(2000, 0.5)  # audit set
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, opt) as w:
        FraudTrainer(model, opt, nn.CrossEntropyLoss(), w).run(
            DataLoader(TensorDataset(Xt, yt), batch_size=100, shuffle=True), (Xv, yv), epochs=6
        )
    model.eval()
    with torch.no_grad():
        p = model(Xq).argmax(1)
    return 0.5 * ((p[yq == 1] == 1).float().mean() + (p[yq == 0] == 0).float().mean()).item()


PROGRAMS = [labels_from_resorted_csv, sloppy_annotators, label_from_path, rare_fraud]
