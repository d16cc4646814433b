"""Programs with faults of types 47 to 49."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def lstm_nll_on_logits(watch, seed, fault):
    """47. The LSTM returns raw scores, the criterion is nn.NLLLoss; the LogSoftmax of the tutorial was left out."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    # "names": strings over 12 letters from 4 languages (different letter statistics)
    langs = rng.dirichlet(np.full(12, 0.7), size=4)

    def make(n):
        y = rng.randint(0, 4, n)
        x = np.stack([rng.choice(12, size=10, p=langs[c]) for c in y])
        return torch.from_numpy(x), torch.from_numpy(y)

    X, Y = make(800)
    Xv, Yv = make(300)

    class NameLSTM(nn.Module):
        def __init__(self, hidden=32):
            super().__init__()
            self.emb = nn.Embedding(12, 16)
            self.rnn = nn.LSTM(16, hidden, batch_first=True)
            self.out = nn.Linear(hidden, 4)
            self.log_softmax = nn.LogSoftmax(dim=-1)

        def forward(self, seq):
            _, (h, _) = self.rnn(self.emb(seq))
            z = self.out(h[-1])
            return z if fault else self.log_softmax(z)

    rnn = NameLSTM()
    criterion = nn.NLLLoss()
    optimizer = torch.optim.Adam(rnn.parameters(), lr=0.005)
    with watch(rnn, optimizer) as w:
        for epoch in range(8):
            total = 0.0
            order = rng.permutation(800)
            for k in range(0, 800, 40):
                idx = torch.from_numpy(order[k : k + 40])
                output = rnn(X[idx])
                loss = criterion(output, Y[idx])
                rnn.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
                w.step(loss=loss, inputs=X[idx], targets=Y[idx], outputs=output)
            with torch.no_grad():
                o = rnn(Xv)
                acc = (o.argmax(1) == Yv).double().mean().item()
            w.epoch(train={"loss": total / 20}, val={"loss": criterion(o, Yv).item(), "accuracy": acc})
    return acc


def tagger_double_sigmoid(watch, seed, fault):
    """48. Multi-label tagger: the net already ends in a sigmoid and is trained with BCEWithLogitsLoss."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    K = 6
    proto = torch.randn(K, 40, generator=g)

    def make(n):
        t = (torch.rand(n, K, generator=g) < 0.25).float()
        return t @ proto + 0.7 * torch.randn(n, 40, generator=g), t

    X, T = make(1500)
    Xv, Tv = make(400)

    class TagNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(40, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, K))

        def forward(self, x):
            return torch.sigmoid(self.body(x))

    net = TagNet()
    bce = nn.BCEWithLogitsLoss() if fault else nn.BCELoss()
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)

    def f1(p, t):
        p = (p > 0.5).float()
        return (2 * (p * t).sum() / (p.sum() + t.sum() + 1e-9)).item()

    dl = DataLoader(TensorDataset(X, T), batch_size=100, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            run = 0.0
            for xb, tb in dl:
                opt.zero_grad()
                prob = net(xb)
                loss = bce(prob, tb)
                loss.backward()
                opt.step()
                run += loss.item()
                w.step(loss=loss, inputs=xb, targets=tb, outputs=prob)
            net.eval()
            with torch.no_grad():
                pv = net(Xv)
            w.epoch(train={"loss": run / len(dl)}, val={"loss": bce(pv, Tv).item(), "f1": f1(pv, Tv)})
    return f1(pv, Tv)


def cancer_ce_single_logit(watch, seed, fault):
    """49. Binary classifier with ONE output column trained with cross_entropy on (N, 1) float targets: loss is always 0."""
    torch.manual_seed(seed)
    ds = load_breast_cancer()
    p = np.random.RandomState(seed).permutation(len(ds.data))
    tr, te = p[:420], p[420:]
    sc = StandardScaler().fit(ds.data[tr])
    X = torch.tensor(sc.transform(ds.data), dtype=torch.float32)
    y = torch.tensor(ds.target, dtype=torch.float32).unsqueeze(1)

    model = nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
    loss_function = F.cross_entropy if fault else F.binary_cross_entropy_with_logits
    with watch(model, optimizer) as w:
        for epoch in range(12):
            idx = np.random.RandomState(100 * seed + epoch).permutation(tr)
            for part in np.array_split(idx, 14):
                features, target = X[part], y[part]
                prediction = model(features)
                loss = loss_function(prediction, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=features, targets=target, outputs=prediction)
            with torch.no_grad():
                pt = model(X[te])
                acc = ((pt > 0).float() == y[te]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": loss_function(pt, y[te]).item(), "accuracy": acc})
    return acc


PROGRAMS = [lstm_nll_on_logits, tagger_double_sigmoid, cancer_ce_single_logit]
