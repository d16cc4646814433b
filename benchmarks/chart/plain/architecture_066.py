"""Programs with faults of types 66 to 68."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.architecture_parts import load
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def bn_momentum_from_tf(watch, seed, fault):
    """66. A momentum of 0.9995 in the TensorFlow sense was turned into momentum=0.0005: the running statistics never get there."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = load(seed, scale=1.0)
    MOM = 0.0005 if fault else 0.1

    def conv_bn(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o, momentum=MOM), nn.ReLU())

    net = nn.Sequential(
        conv_bn(1, 16),
        conv_bn(16, 16),
        nn.MaxPool2d(2),
        conv_bn(16, 32),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    ce = nn.CrossEntropyLoss()
    dl = DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            agg = np.zeros(2)
            for x, y in dl:
                opt.zero_grad()
                out = net(x)
                loss = ce(out, y)
                loss.backward()
                opt.step()
                agg += loss.item(), (out.argmax(1) == y).float().mean().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(xte)
                acc = (o.argmax(1) == yte).float().mean().item()
            agg /= len(dl)
            w.epoch(train={"loss": agg[0], "accuracy": agg[1]}, val={"loss": ce(o, yte).item(), "accuracy": acc})
    return acc


def never_back_to_train(watch, seed, fault):
    """67. validate() puts the model into eval mode, and train() was called only once before the epochs."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = load(seed, shape=(64,))
    xtr, ytr = xtr[:500], ytr[:500]

    class Experiment:
        def __init__(self):
            self.net = nn.Sequential(
                nn.Linear(64, 128),
                nn.BatchNorm1d(128),
                nn.ReLU(),
                nn.Dropout(0.4),
                nn.Linear(128, 64),
                nn.BatchNorm1d(64),
                nn.ReLU(),
                nn.Dropout(0.4),
                nn.Linear(64, 10),
            )
            self.optim = torch.optim.SGD(self.net.parameters(), lr=0.05, momentum=0.9)

        def validate(self):
            self.net.eval()
            with torch.no_grad():
                o = self.net(xte)
            return {"loss": F.cross_entropy(o, yte).item(), "accuracy": (o.argmax(1) == yte).float().mean().item()}

        def run_epoch(self, w):
            if not fault:
                self.net.train()
            total = 0.0
            for i in torch.randperm(500).split(50):
                o = self.net(xtr[i])
                loss = F.cross_entropy(o, ytr[i])
                self.optim.zero_grad()
                loss.backward()
                self.optim.step()
                total += loss.item() / 10
                w.step(loss=loss, inputs=xtr[i], targets=ytr[i], outputs=o)
            return {"loss": total}

    exp = Experiment()
    exp.net.train()
    with watch(exp.net, exp.optim) as w:
        for epoch in range(12):
            tr = exp.run_epoch(w)
            va = exp.validate()
            w.epoch(train=tr, val=va)
    return va["accuracy"]


def validation_in_train_mode(watch, seed, fault):
    """68. Nobody calls model.eval() before the validation and the final test: dropout stays on there."""
    torch.manual_seed(seed)
    data = load_breast_cancer()
    p = np.random.RandomState(seed).permutation(569)
    X = StandardScaler().fit_transform(data.data)[p].astype(np.float32)
    y = data.target[p].astype(np.int64)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    Xtr, Xva, ytr, yva = X[:400], X[400:], y[:400], y[400:]

    class Tab(nn.Module):
        def __init__(self, drop=0.6):
            super().__init__()
            self.inp = nn.Linear(30, 32)
            self.mid = nn.Linear(32, 32)
            self.out = nn.Linear(32, 2)
            self.drop_in, self.drop = nn.Dropout(0.3), nn.Dropout(drop)

        def forward(self, x):
            x = self.drop(F.relu(self.inp(self.drop_in(x))))
            x = self.drop(F.relu(self.mid(x)))
            return self.out(x)

    clf = Tab()
    adam = torch.optim.Adam(clf.parameters(), lr=3e-3)
    with watch(clf, adam) as w:
        for epoch in range(15):
            clf.train()
            tl = []
            for a in range(0, 400, 40):
                logits = clf(Xtr[a : a + 40])
                loss = F.cross_entropy(logits, ytr[a : a + 40])
                adam.zero_grad()
                loss.backward()
                adam.step()
                tl.append(loss.item())
                w.step(loss=loss, inputs=Xtr[a : a + 40], targets=ytr[a : a + 40], outputs=logits)
            if not fault:
                clf.eval()
            with torch.no_grad():
                vo = clf(Xva)
            w.epoch(
                train={"loss": np.mean(tl)},
                val={"loss": F.cross_entropy(vo, yva).item(), "accuracy": (vo.argmax(1) == yva).float().mean().item()},
            )
    with torch.no_grad():
        return float(np.mean([(clf(Xva).argmax(1) == yva).float().mean().item() for _ in range(5)]))


PROGRAMS = [bn_momentum_from_tf, never_back_to_train, validation_in_train_mode]
