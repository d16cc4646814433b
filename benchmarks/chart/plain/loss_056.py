"""Programs with faults of types 56 to 59."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loss_parts import get_digits
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def fraud_weights_not_inverted(watch, seed, fault):
    """56. Class weights are the class frequencies themselves instead of their inverse: the rare classes hardly count."""
    torch.manual_seed(seed)
    X, y = make_classification(
        2400,
        12,
        n_informative=6,
        n_redundant=0,
        n_classes=3,
        n_clusters_per_class=1,
        weights=[0.85, 0.1, 0.05],
        class_sep=0.8,
        flip_y=0.02,
        random_state=seed,
    )
    X = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
    y = torch.tensor(y)
    Xtr, ytr, Xte, yte = X[:1800], y[:1800], X[1800:], y[1800:]
    freq = torch.bincount(ytr).float() / len(ytr)
    weight = freq if fault else 1.0 / freq
    weight = weight / weight.sum() * 3
    criterion = nn.CrossEntropyLoss(weight=weight)

    net = nn.Sequential(nn.Linear(12, 32), nn.LeakyReLU(), nn.Linear(32, 16), nn.LeakyReLU(), nn.Linear(16, 3))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)

    def balanced(o):
        p = o.argmax(1)
        return np.mean([(p[yte == c] == c).float().mean().item() for c in range(3)])

    with watch(net, opt) as w:
        for epoch in range(8):
            ep = 0
            for xb, yb in DataLoader(TensorDataset(Xtr, ytr), batch_size=60, shuffle=True):
                out = net(xb)
                loss = criterion(out, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                ep += loss.item() / 30
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            with torch.no_grad():
                o = net(Xte)
            w.epoch(train={"loss": ep}, val={"loss": criterion(o, yte).item(), "balanced_accuracy": balanced(o)})
    return balanced(o)


def label_smoothing_typo(watch, seed, fault):
    """57. label_smoothing=0.9 (someone meant 'keep 0.9'): the targets are almost uniform."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = get_digits(seed)

    class ResBlock(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c1, self.b1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
            self.c2, self.b2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)

        def forward(self, x):
            h = F.relu(self.b1(self.c1(x)))
            return F.relu(x + self.b2(self.c2(h)))

    resnet = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        ResBlock(16),
        nn.MaxPool2d(2),
        ResBlock(16),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    config = dict(lr=0.02, epochs=4, batch_size=50, smoothing=0.9 if fault else 0.1)
    optimizer = torch.optim.SGD(resnet.parameters(), lr=config["lr"], momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config["epochs"] * 28)
    criterion = nn.CrossEntropyLoss(label_smoothing=config["smoothing"])
    with watch(resnet, optimizer) as w:
        for epoch in range(config["epochs"]):
            resnet.train()
            tl = tc = 0
            for idx in torch.randperm(1400).split(config["batch_size"]):
                x, y = xtr[idx], ytr[idx]
                optimizer.zero_grad()
                out = resnet(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                sched.step()
                tl += loss.item()
                tc += (out.argmax(1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            resnet.eval()
            with torch.no_grad():
                o = resnet(xte)
                acc = (o.argmax(1) == yte).float().mean().item()
                conf_loss = F.cross_entropy(o, yte).item()
            w.epoch(train={"loss": tl / 28, "accuracy": tc / 1400}, val={"loss": conf_loss, "accuracy": acc})
    return -conf_loss  # log likelihood on the test set: calibration matters to this user


def num_classes_is_max_label(watch, seed, fault):
    """58. num_classes = int(y.max()) is one too small; the rare top class falls out of the head (crash when it first turns up)."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = get_digits(seed, flat=True)
    # nines are rare in this shop's data: 2 stay in the training set, found late in the file
    nine = (ytr == 9).nonzero().flatten()
    rest = (ytr != 9).nonzero().flatten()
    order = torch.cat([rest[:1100], nine[:2], rest[1100:]])
    xtr, ytr = xtr[order], ytr[order]
    keep = yte != 9
    xte, yte = xte[keep], yte[keep]

    num_classes = int(ytr.max()) if fault else int(ytr.max()) + 1
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(64, 64))
    model.add_module("act1", nn.ELU())
    model.add_module("fc2", nn.Linear(64, 32))
    model.add_module("act2", nn.ELU())
    model.add_module("out", nn.Linear(32, num_classes))
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(6):
            for data, target in DataLoader(TensorDataset(xtr, ytr), batch_size=25):  # logged order, no shuffle
                optimizer.zero_grad()
                output = model(data)
                loss = F.nll_loss(F.log_softmax(output, 1), target)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=data, targets=target, outputs=output)
            with torch.no_grad():
                o = model(xte)
                acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def rings_without_activation(watch, seed, fault):
    """59. self.act is created but forward() chains the Linear layers without calling it: the network is linear."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)

    def rings(n):
        lab = rng.randint(0, 2, n)
        r = np.where(lab == 0, 0.6, 1.5) + 0.15 * rng.randn(n)
        a = rng.uniform(0, 2 * np.pi, n)
        return torch.tensor(np.c_[r * np.cos(a), r * np.sin(a)], dtype=torch.float32), torch.tensor(
            lab, dtype=torch.float32
        )

    X, y = rings(1000)
    Xv, yv = rings(400)

    class RingNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.l1, self.l2, self.l3 = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)
            self.act = nn.SiLU()

        def forward(self, x):
            if fault:
                x = self.l1(x)
                x = self.l2(x)
            else:
                x = self.act(self.l1(x))
                x = self.act(self.l2(x))
            return self.l3(x).squeeze(1)

    net, lossf = RingNet(), nn.BCEWithLogitsLoss()
    opt = torch.optim.Adam(net.parameters(), 5e-3)
    with watch(net, opt) as w:
        for step in range(200):
            i = torch.randint(0, 1000, (64,))
            z = net(X[i])
            loss = lossf(z, y[i])
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=X[i], targets=y[i], outputs=z)
            if (step + 1) % 40 == 0:
                with torch.no_grad():
                    zv = net(Xv)
                    va = ((zv > 0).float() == yv).float().mean().item()
                w.epoch(train={"loss": loss.item()}, val={"loss": lossf(zv, yv).item(), "accuracy": va})
    return va


PROGRAMS = [fraud_weights_not_inverted, label_smoothing_typo, num_classes_is_max_label, rings_without_activation]
