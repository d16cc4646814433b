"""Programs with faults of types 50 to 52."""

import numpy as np
import torch
import torch.nn as nn
from benchmarks.chart.plain.weights_parts import digits
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def digit_as_number(watch, seed, fault):
    """50. Ten classes are treated as a number: one output and nn.MSELoss against the class index."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits(seed)

    class LeNetish(nn.Module):
        def __init__(self, n_out):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Conv2d(8, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.AvgPool2d(2),
            )
            self.c = nn.Linear(64, n_out)

        def forward(self, x):
            return self.c(self.f(x).flatten(1))

    model = LeNetish(1 if fault else 10)
    crit = nn.MSELoss() if fault else nn.CrossEntropyLoss()
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)
    train_dl = DataLoader(TensorDataset(xtr, ytr), batch_size=48, shuffle=True)
    test_dl = DataLoader(TensorDataset(xte, yte), batch_size=200)

    def compute(xb, yb):
        pred = model(xb)
        if fault:
            pred = pred.squeeze(1)
            return pred, crit(pred, yb.float()), pred.round().long()
        return pred, crit(pred, yb), pred.argmax(1)

    with watch(model, opt) as w:
        for epoch in range(5):
            model.train()
            tl = ta = 0
            for xb, yb in train_dl:
                pred, loss, label = compute(xb, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() * len(xb)
                ta += (label == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            model.eval()
            vl = va = 0
            with torch.no_grad():
                for xb, yb in test_dl:
                    _, l, label = compute(xb, yb)
                    vl += l.item() * len(xb)
                    va += (label == yb).sum().item()
            w.epoch(
                train={"loss": tl / len(xtr), "accuracy": ta / len(xtr)},
                val={"loss": vl / len(xte), "accuracy": va / len(xte)},
            )
    return va / len(xte)


def diabetes_broadcast(watch, seed, fault):
    """51. Prediction is (N, 1), target is (N,): the squared difference broadcasts to N x N and the net learns the mean."""
    torch.manual_seed(seed)
    X, y = load_diabetes(return_X_y=True)
    rs = np.random.RandomState(seed).permutation(len(X))
    X, y = X[rs], y[rs]
    ntr = 340
    X = StandardScaler().fit(X[:ntr]).transform(X)
    y = (y - y[:ntr].mean()) / y[:ntr].std()
    Xt, yt = torch.FloatTensor(X[:ntr]), torch.FloatTensor(y[:ntr])
    Xe, ye = torch.FloatTensor(X[ntr:]), torch.FloatTensor(y[ntr:])

    class Regressor(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.hidden = nn.Linear(d, 20)
            self.predict = nn.Linear(20, 1)

        def forward(self, x):
            out = self.predict(torch.sigmoid(self.hidden(x)))
            return out if fault else out.squeeze(-1)

    reg = Regressor(10)
    opt = torch.optim.Adam(reg.parameters(), lr=1e-2, weight_decay=1e-4)
    with watch(reg, opt) as w:
        for epoch in range(15):
            for idx in torch.randperm(ntr).split(34):
                y_pred = reg(Xt[idx])
                loss = ((y_pred - yt[idx]) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=Xt[idx], targets=yt[idx], outputs=y_pred)
            with torch.no_grad():
                pe = reg(Xe)
                w.epoch(train={"loss": loss.item()}, val={"loss": ((pe - ye) ** 2).mean().item()})
    pe = pe.reshape(-1)
    return 1 - (((pe - ye) ** 2).sum() / ((ye - ye.mean()) ** 2).sum()).item()


def loglik_without_minus(watch, seed, fault):
    """52. Hand-written likelihood loss of a bag-of-words classifier lacks the minus: the likelihood is minimised."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    V, C, L = 200, 5, 20
    topics = rng.dirichlet(np.full(V, 0.15), size=C)

    def corpus(n):
        lab = rng.integers(0, C, n)
        docs = np.stack([rng.choice(V, L, p=0.5 * topics[c] + 0.5 / V) for c in lab])
        return torch.as_tensor(docs), torch.as_tensor(lab)

    docs, labels = corpus(1000)
    vdocs, vlabels = corpus(300)

    class TextModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.EmbeddingBag(V, 32, mode="mean")
            self.fc = nn.Linear(32, C)

        def forward(self, text):
            return self.fc(self.embedding(text))

    def batches(bs):
        perm = rng.permutation(len(docs))
        for i in range(0, len(docs), bs):
            j = torch.as_tensor(perm[i : i + bs])
            yield docs[j], labels[j]

    def loss_of(logits, target):
        log_p = logits - logits.logsumexp(dim=1, keepdim=True)
        ll = log_p[torch.arange(len(target)), target]
        return ll.mean() if fault else -ll.mean()

    model = TextModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    with watch(model, optimizer) as w:
        for epoch in range(6):
            hits = seen = 0
            for text, lab in batches(50):
                optimizer.zero_grad()
                logits = model(text)
                loss = loss_of(logits, lab)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                hits += (logits.argmax(1) == lab).sum().item()
                seen += len(lab)
                w.step(loss=loss, inputs=text, targets=lab, outputs=logits)
            with torch.no_grad():
                lv = model(vdocs)
                acc = (lv.argmax(1) == vlabels).float().mean().item()
            w.epoch(
                train={"loss": loss.item(), "accuracy": hits / seen},
                val={"loss": loss_of(lv, vlabels).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [digit_as_number, diabetes_broadcast, loglik_without_minus]
