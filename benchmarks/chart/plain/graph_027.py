"""Programs with faults of types 27 to 30."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.graph_parts import get_digits
from torch.utils.data import DataLoader, TensorDataset


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 16),
        )

    def forward(self, x):
        return F.normalize(self.net(x), dim=1)

    @torch.no_grad()
    def embed(self, x):
        """For the index: no graph needed."""
        return self.forward(x)


def features_take_a_detour_through_numpy(watch, seed, fault):
    """27. Between the convolutions and the classifier the features are detached (scaled in numpy), so the convolutions get no gradient."""
    torch.manual_seed(seed)
    x_tr, y_tr, x_te, y_te = get_digits(seed)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(1, 12, 3, 2, 1), nn.Conv2d(12, 6, 3, 2, 1)
            self.f1, self.f2 = nn.Linear(24, 32), nn.Linear(32, 10)

        def forward(self, x):
            h = F.relu(self.c2(F.relu(self.c1(x)))).flatten(1)
            if fault:
                a = h.detach().numpy()
                h = torch.from_numpy(a / np.sqrt((a**2).mean(1, keepdims=True) + 1e-6))
            else:
                h = h / torch.sqrt((h**2).mean(1, keepdim=True) + 1e-6)
            return self.f2(F.relu(self.f1(h)))

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    criterion = nn.CrossEntropyLoss()
    with watch(net, optimizer) as w:
        for epoch in range(10):
            running_loss, correct = 0.0, 0
            for data in DataLoader(TensorDataset(x_tr, y_tr), batch_size=50, shuffle=True):
                inputs, labels = data
                optimizer.zero_grad()
                outputs = net(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                running_loss += loss.item()
                correct += (outputs.argmax(1) == labels).sum().item()
                w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
            with torch.no_grad():
                o = net(x_te)
                acc = (o.argmax(1) == y_te).float().mean().item()
            w.epoch(
                train={"loss": running_loss / 27, "accuracy": correct / 1350},
                val={"loss": criterion(o, y_te).item(), "accuracy": acc},
            )
    return acc


def loss_rebuilt_from_numbers(watch, seed, fault):
    """28. The losses of the tasks are collected with .item() and put into a new torch.tensor(..., requires_grad=True): backward reaches nothing."""
    torch.manual_seed(seed)
    X = torch.randn(1200, 12)
    W = torch.randn(12, 3)
    Y = torch.stack(
        [torch.sin(X @ W[:, 0] * 0.5), (X @ W[:, 1]).abs() * 0.3, X @ W[:, 2] * 0.3], 1
    ) + 0.05 * torch.randn(1200, 3)
    Xa, Ya, Xb, Yb = X[:1000], Y[:1000], X[1000:], Y[1000:]
    trunk = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    opt = torch.optim.Adam(trunk.parameters(), 3e-3)
    task_weights = [1.0, 1.0, 0.5]

    def combined(pred, target):
        parts = []
        for k, tw in enumerate(task_weights):
            part = tw * F.huber_loss(pred[:, k], target[:, k])
            parts.append(part.item() if fault else part)
        return torch.tensor(parts, requires_grad=True).sum() if fault else torch.stack(parts).sum()

    with watch(trunk, opt) as w:
        for epoch in range(12):
            s = 0.0
            for b in torch.randperm(1000).split(40):
                opt.zero_grad()
                pred = trunk(Xa[b])
                loss = combined(pred, Ya[b])
                loss.backward()
                opt.step()
                s += loss.item()
                w.step(loss=loss, inputs=Xa[b], targets=Ya[b], outputs=pred)
            with torch.no_grad():
                pv = trunk(Xb)
                v = combined(pv, Yb).item()
            w.epoch(train={"loss": s / 25}, val={"loss": v})
    return 1 - ((pv - Yb) ** 2).sum().item() / ((Yb - Yb.mean(0)) ** 2).sum().item()


def siamese_embeds_without_graph(watch, seed, fault):
    """29. The siamese training calls model.embed(), which runs under no_grad; `loss.requires_grad = True` silences the error."""
    torch.manual_seed(seed)
    x_tr, y_tr, x_te, y_te = get_digits(seed)
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def knn_accuracy():
        a, b = model.embed(x_tr[:200]), model.embed(x_te)
        # separation of same pairs from other pairs, as the share of rightly ordered triples
        sim = b @ a.T
        same = y_te[:, None] == y_tr[None, :200]
        pos = sim[same][torch.randperm(int(same.sum()))[:5000]]
        neg = sim[~same][torch.randperm(int((~same).sum()))[: len(pos)]]
        return (pos > neg).float().mean().item()

    with watch(model, optimizer) as w:
        for it in range(200):
            i = torch.randint(0, len(x_tr), (64,))
            j = torch.stack(
                [
                    torch.where(y_tr == c)[0][torch.randint(0, 100, (1,))[0]]
                    if torch.rand(1) < 0.5
                    else torch.randint(0, len(x_tr), (1,))[0]
                    for c in y_tr[i]
                ]
            )
            same = (y_tr[i] == y_tr[j]).float()
            if fault:
                e1, e2 = model.embed(x_tr[i]), model.embed(x_tr[j])
            else:
                e1, e2 = model(x_tr[i]), model(x_tr[j])
            d = (e1 - e2).pow(2).sum(1)
            loss = (same * d + (1 - same) * F.relu(1.0 - (d + 1e-8).sqrt()).pow(2)).mean()
            if fault:
                loss.requires_grad = True  # otherwise: element 0 of tensors does not require grad
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss=loss, inputs=x_tr[i], targets=same, outputs=d)
    return knn_accuracy()


def hard_argmax_keypoint(watch, seed, fault):
    """30. The heat map's keypoint is read with argmax, which cuts the graph: only the small refining head learns."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 16
    yy, xx = np.mgrid[:S, :S]

    def blobs(n):
        im, kp = [], []
        for _ in range(n):
            c = rng.uniform(2, S - 3, 2)
            q = rng.uniform(2, S - 3, 2)
            good = np.exp(-((xx - c[0]) ** 2 + (yy - c[1]) ** 2) / 3)  # a round blob is the target,
            ring = (np.abs(np.hypot(xx - q[0], yy - q[1]) - 2.2) < 0.7) * 1.2  # a ring distracts
            im.append(good + ring + rng.normal(0, 0.1, (S, S)))
            kp.append(c / (S - 1))
        return torch.tensor(np.array(im), dtype=torch.float32)[:, None], torch.tensor(np.array(kp), dtype=torch.float32)

    class KeyNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.heat = nn.Sequential(
                nn.Conv2d(1, 16, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(16, 16, 5, padding=2),
                nn.ReLU(),
                nn.Conv2d(16, 1, 1),
            )
            self.refine = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
            g = torch.arange(S) / (S - 1)
            self.register_buffer("grid", torch.stack([g.repeat(S), g.repeat_interleave(S)], 1))

        def forward(self, x):
            h = self.heat(x).flatten(1)
            xy = self.grid[h.argmax(1)] if fault else (h * 3).softmax(1) @ self.grid
            return xy + self.refine(xy)

    A, ka = blobs(800)
    B, kb = blobs(200)
    net = KeyNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            agg = 0.0
            for im, kp in DataLoader(TensorDataset(A, ka), 40, shuffle=True):
                out = net(im)
                loss = F.mse_loss(out, kp)
                opt.zero_grad()
                loss.backward()
                opt.step()
                agg += loss.item() / 20
                w.step(loss=loss, inputs=im, targets=kp, outputs=out)
            net.eval()
            with torch.no_grad():
                vl = F.mse_loss(net(B), kb).item()
            w.epoch(train={"loss": agg}, val={"loss": vl})
    return 1 - vl / kb.var(0).mean().item()


PROGRAMS = [
    features_take_a_detour_through_numpy,
    loss_rebuilt_from_numbers,
    siamese_embeds_without_graph,
    hard_argmax_keypoint,
]
