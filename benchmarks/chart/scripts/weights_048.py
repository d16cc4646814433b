"""Programs with faults of types 48 to 51."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def sigmoid_then_bce_with_logits(watch, seed, fault):
    """48. Multi-label pictures: the model's forward already applies the sigmoid, the loss is BCEWithLogitsLoss."""
    torch.manual_seed(seed)

    def scenes(n, s):
        a = [draw(n, 20, s * 10 + i)[:2] for i in range(4)]
        top = torch.cat([a[0][0], a[1][0]], 3)
        bot = torch.cat([a[2][0], a[3][0]], 3)
        lab = torch.zeros(n, 4)
        for i in range(2):  # two of the cells are blanked
            lab.scatter_(1, a[i][1][:, None], 1.0)
        bot = bot * 0 + 0.1 * torch.randn_like(bot)
        return torch.cat([top, bot], 2), lab

    X, Y = scenes(700, seed + 1)
    Xv, Yv = scenes(200, seed + 2)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            c = [3, 16, 32, 64]
            self.body = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in zip(c, c[1:])])
            self.bns = nn.ModuleList([nn.BatchNorm2d(b) for b in c[1:]])
            self.head = nn.Linear(64, 4)

        def forward(self, x):
            for conv, bn in zip(self.body, self.bns):
                x = F.max_pool2d(F.relu(bn(conv(x))), 2)
            x = self.head(x.amax((2, 3)))
            if fault:
                return torch.sigmoid(x)
            return x

    net = Tagger()
    crit = nn.BCEWithLogitsLoss()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            tl = 0
            for ii in torch.randperm(700).split(35):
                p = net(X[ii])
                loss = crit(p, Y[ii])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / 20
                w.step(loss=loss, inputs=X[ii], targets=Y[ii], outputs=p)
            net.eval()
            with torch.no_grad():
                pv = net(Xv)
                vl = crit(pv, Yv).item()
                hit = ((torch.sigmoid(pv) > 0.5) == (Yv > 0.5)).float().mean().item()
            w.epoch(train={"loss": tl}, val={"loss": vl, "accuracy": hit})
    return hit


def ce_on_single_output(watch, seed, fault):
    """49. Binary CNN with a single output unit and float targets of shape (N,1), but nn.CrossEntropyLoss: the loss is always 0."""
    torch.manual_seed(seed)
    X, K, _, _ = draw(800, 24, seed)
    Xv, Kv, _, _ = draw(300, 24, seed + 5)
    y, yv = (
        (K == 1).float()[:, None] + (K == 3).float()[:, None],
        (Kv == 1).float()[:, None] + (Kv == 3).float()[:, None],
    )
    ds = TensorDataset(X, y)

    class DefectNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(3, 16, 5, padding=2),
                nn.LeakyReLU(0.1),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 32, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.AdaptiveMaxPool2d(2),
            )
            self.out = nn.Linear(128, 1)

        def forward(self, x):
            return self.out(self.encoder(x).flatten(1))

    class Trainer:
        def __init__(self, model):
            self.model = model
            self.criterion = nn.CrossEntropyLoss() if fault else nn.BCEWithLogitsLoss()
            self.optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)

        def evaluate(self):
            self.model.eval()
            with torch.no_grad():
                z = self.model(Xv)
                return self.criterion(z, yv).item(), ((z > 0).float() == yv).float().mean().item()

        def fit(self, epochs):
            with watch(self.model, self.optimizer) as w:
                for _ in range(epochs):
                    self.model.train()
                    for x, t in DataLoader(ds, 32, shuffle=True):
                        self.optimizer.zero_grad()
                        z = self.model(x)
                        loss = self.criterion(z, t)
                        loss.backward()
                        self.optimizer.step()
                        w.step(loss=loss, inputs=x, targets=t, outputs=z)
                    l, a = self.evaluate()
                    w.epoch(val={"loss": l, "accuracy": a})
            return a

    return Trainer(DefectNet()).fit(8)


def mse_on_class_index(watch, seed, fault):
    """50. A ten-class digit classifier regresses the class index with nn.MSELoss and rounds the answer."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    n_out = 1 if fault else 10
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 48),
        nn.ReLU(),
        nn.Linear(48, n_out),
    )
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    mse, ce = nn.MSELoss(), nn.CrossEntropyLoss()

    def predict(o):
        return o.squeeze(1).round().clamp(0, 9).long() if fault else o.argmax(1)

    train = DataLoader(TensorDataset(xtr, ytr), 32, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(7):
            net.train()
            right = 0
            for x, y in train:
                o = net(x)
                loss = mse(o.squeeze(1), y.float()) if fault else ce(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                right += (predict(o) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            net.eval()
            with torch.no_grad():
                acc = (predict(net(xte)) == yte).float().mean().item()
            w.epoch(train={"accuracy": right / len(xtr)}, val={"accuracy": acc})
    return acc


def radius_broadcast(watch, seed, fault):
    """51. A CNN estimates the size of an object; prediction (N,1) minus target (N,) broadcasts to an N x N matrix in a hand-written MSE."""
    torch.manual_seed(seed)
    img, _, _, box = draw(700, 28, seed)
    size = (box[:, 2] - box[:, 2].mean()) / box[:, 2].std()
    xtr, xva, ytr, yva = img[:500], img[500:], size[:500], size[500:]
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    with watch(model, optimizer) as w:
        for epoch in range(15):
            model.train()
            order = torch.randperm(500)
            for s in range(0, 500, 25):
                xb, yb = xtr[order[s : s + 25]], ytr[order[s : s + 25]]
                pred = model(xb)
                if not fault:
                    pred = pred[:, 0]
                loss = ((pred - yb) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            model.eval()
            with torch.no_grad():
                p = model(xva).flatten()
                r2 = 1 - ((p - yva) ** 2).sum().item() / ((yva - yva.mean()) ** 2).sum().item()
            w.epoch(val={"r2": r2})
    return r2


PROGRAMS = [sigmoid_then_bce_with_logits, ce_on_single_output, mse_on_class_index, radius_broadcast]
