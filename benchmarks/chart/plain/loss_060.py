"""Programs with faults of types 60 to 62."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loss_parts import get_digits
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def house_prices_tanh(watch, seed, fault):
    """60. The net ends in tanh, the prices (about 1e4) are fed in unscaled, so the output can never reach the target."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    n = 1200
    area, rooms, age, dist = rng.uniform(40, 200, n), rng.randint(1, 7, n), rng.uniform(0, 60, n), rng.exponential(8, n)
    price = 9000 + 55 * (area - 120) + 600 * (rooms - 3) - 40 * (age - 30) - 1500 * np.log1p(dist) + 300 * rng.randn(n)
    feats = StandardScaler().fit_transform(np.c_[area, rooms, age, np.log1p(dist)])
    X = torch.tensor(feats, dtype=torch.float32)
    y = torch.tensor(price, dtype=torch.float32).view(-1, 1)
    lo, hi = y[:900].min(), y[:900].max()
    mid, half = (hi + lo) / 2, (hi - lo) / 2 * 1.1
    target = y if fault else (y - mid) / half
    back = (lambda t: t) if fault else (lambda t: t * half + mid)

    class PriceNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1), nn.Tanh()
            )

        def forward(self, x):
            return self.net(x)

    net = PriceNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    mse = nn.MSELoss()
    dl = DataLoader(TensorDataset(X[:900], target[:900]), batch_size=45, shuffle=True)
    with watch(net, optimizer) as w:
        for epoch in range(12):
            losses = []
            for xb, tb in dl:
                optimizer.zero_grad()
                pred = net(xb)
                loss = mse(pred, tb)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=xb, targets=tb, outputs=pred)
            with torch.no_grad():
                pv = net(X[900:])
            w.epoch(train={"loss": float(np.mean(losses))}, val={"loss": mse(pv, target[900:]).item()})
    yt = y[900:]
    r2 = 1 - (((back(pv) - yt) ** 2).sum() / ((yt - yt.mean()) ** 2).sum()).item()
    return max(r2, -1.0)


def sparse_bias_minus_twenty(watch, seed, fault):
    """61. Hidden biases are initialised to -20 (a config value meant for something else): every ReLU is dead from the first step."""
    torch.manual_seed(seed)
    data = load_wine()
    perm = np.random.RandomState(seed).permutation(len(data.data))
    X = StandardScaler().fit_transform(data.data)[perm]
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(data.target[perm])

    cfg = {"hidden": [48, 48], "bias_init": -20.0 if fault else 0.0, "lr": 0.05, "epochs": 15, "batch": 16}

    def linear_relu(i, o):
        lin = nn.Linear(i, o)
        nn.init.kaiming_normal_(lin.weight, nonlinearity="relu")
        nn.init.constant_(lin.bias, cfg["bias_init"])
        return nn.Sequential(lin, nn.ReLU())

    dims = [13] + cfg["hidden"]
    model = nn.Sequential(*[linear_relu(a, b) for a, b in zip(dims[:-1], dims[1:])], nn.Linear(dims[-1], 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg["lr"])
    with watch(model, optimizer) as w:
        for epoch in range(cfg["epochs"]):
            for idx in torch.randperm(128).split(cfg["batch"]):
                scores = model(X[idx])
                loss = F.cross_entropy(scores, y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=X[idx], targets=y[idx], outputs=scores)
            with torch.no_grad():
                s = model(X[128:])
                acc = (s.argmax(1) == y[128:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(s, y[128:]).item(), "accuracy": acc})
    return acc


def schedule_table_typo(watch, seed, fault):
    """62. A typo in the learning rate table (50 in place of 0.05) for a few steps kills the ReLUs in the middle of the run."""
    torch.manual_seed(seed)
    x, y, xv, yv = get_digits(seed, flat=True)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(64, 80)
            self.fc2 = nn.Linear(80, 80)
            self.fc3 = nn.Linear(80, 10)

        def forward(self, x):
            h = F.relu(self.fc1(x))
            h = F.relu(self.fc2(h))
            return self.fc3(h)

    # step -> learning rate from that step on
    table = {0: 0.1, 100: 50 if fault else 0.05, 103: 0.05, 160: 0.02}
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    it = 0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            ls, ac = [], []
            for idx in torch.randperm(len(x)).split(50):
                if it in table:
                    for g in optimizer.param_groups:
                        g["lr"] = table[it]
                out = model(x[idx])
                loss = F.cross_entropy(out, y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                it += 1
                ls.append(loss.item())
                ac.append((out.argmax(1) == y[idx]).float().mean().item())
                w.step(loss=loss, inputs=x[idx], targets=y[idx], outputs=out)
            with torch.no_grad():
                ov = model(xv)
                va = (ov.argmax(1) == yv).float().mean().item()
            w.epoch(
                train={"loss": np.mean(ls), "accuracy": np.mean(ac)},
                val={"loss": F.cross_entropy(ov, yv).item(), "accuracy": va},
            )
    return va


PROGRAMS = [house_prices_tanh, sparse_bias_minus_twenty, schedule_table_typo]
