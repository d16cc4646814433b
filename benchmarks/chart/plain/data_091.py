"""Programs with faults of types 91 to 94."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.data_parts import digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset, TensorDataset


class LazySamples(Dataset):
    """Holds functions that read a sample when asked."""

    def __init__(self, readers):
        self.readers = readers

    def __len__(self):
        return len(self.readers)

    def __getitem__(self, i):
        return self.readers[i]()


class NoisyPulses(Dataset):
    """Samples are made on the fly with numpy: a pulse at a random place, the target is its width (regression)."""

    def __init__(self, n, length=48):
        self.n, self.length = n, length

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        width = np.random.uniform(2, 14)
        centre = np.random.uniform(8, self.length - 8)
        t = np.arange(self.length)
        x = np.exp(-(((t - centre) / width) ** 2)) + np.random.normal(0, 0.3, self.length)
        return torch.tensor(x, dtype=torch.float32), torch.tensor([(width - 8) / 3.5], dtype=torch.float32)


def _seed_worker_fixed(worker_id):
    np.random.seed(42)


def _seed_worker(worker_id):
    np.random.seed(torch.initial_seed() % 2**32)


def _signposts(rng, n, S=20):
    """Arrows on traffic signs: left, right, up, down (class 0 to 3)."""
    out = np.zeros((n, 3, S, S), np.float32)
    lab = rng.integers(0, 4, n)
    yy, xx = np.mgrid[:S, :S]
    for i in range(n):
        cx, cy = rng.uniform(8, S - 8, 2)
        u, v = xx - cx, yy - cy
        if lab[i] == 0:
            u = -u
        if lab[i] == 2:
            u, v = -v, u
        if lab[i] == 3:
            u, v = v, u
        head = (u > 0) & (u < 5) & (abs(v) < 5 - u)
        shaft = (u <= 0) & (u > -6) & (abs(v) < 1.3)
        bg = rng.uniform(0, 0.4, 3)
        fg = rng.uniform(0.6, 1, 3)
        out[i] = bg[:, None, None]
        out[i][:, head | shaft] = fg[:, None]
    out += rng.normal(0, 0.08, out.shape)
    return torch.from_numpy(out.astype(np.float32)), torch.from_numpy(lab)


class SignSet(Dataset):
    def __init__(self, x, y, transforms=()):
        self.x, self.y, self.transforms = x, y, transforms

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        x = self.x[i]
        for t in self.transforms:
            x = t(x)
        return x, self.y[i]


def random_flip(x):
    if torch.rand(()) < 0.5:
        x = x.flip(-1)
    if torch.rand(()) < 0.5:
        x = x.flip(-2)
    return x


def random_shift(x):
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(x, (dy, dx), (-2, -1))


def jitter(x):
    return x * (0.8 + 0.4 * torch.rand(3, 1, 1))


def late_binding_readers(watch, seed, fault):
    """91. Lazy readers are made as lambdas in a loop and all close over the last index: every item is the same sample."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    Xtr, Xte = torch.from_numpy(Xtr)[:, None] / 16 - 0.3, torch.from_numpy(Xte)[:, None] / 16 - 0.3

    def build(X, y, bad):
        readers = []
        for k in range(len(X)):
            if bad:
                readers.append(lambda: (X[k], int(y[k])))
            else:
                readers.append(lambda k=k: (X[k], int(y[k])))
        return LazySamples(readers)

    train = DataLoader(build(Xtr, ytr, fault), batch_size=32, shuffle=True, drop_last=True)
    test = DataLoader(build(Xte, yte, False), batch_size=150)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    )
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    ce = nn.CrossEntropyLoss()
    with watch(net, opt) as w:
        for ep in range(4):
            net.train()
            s = 0.0
            for images, labels in train:
                opt.zero_grad()
                logits = net(images)
                loss = ce(logits, labels)
                loss.backward()
                opt.step()
                s += loss.item()
                w.step(loss=loss, inputs=images, targets=labels, outputs=logits)
            net.eval()
            ok = tot = vl = 0
            with torch.no_grad():
                for images, labels in test:
                    o = net(images)
                    vl += ce(o, labels).item() * len(labels)
                    ok += (o.argmax(1) == labels).sum().item()
                    tot += len(labels)
            w.epoch(train={"loss": s / len(train)}, val={"loss": vl / tot, "accuracy": ok / tot})
    return ok / tot


def same_worker_seed(watch, seed, fault):
    """92. worker_init_fn seeds numpy with 42 in each worker: both workers make the same samples, and again in every epoch."""
    torch.manual_seed(seed)
    loader = DataLoader(
        NoisyPulses(320),
        batch_size=16,
        num_workers=2,
        shuffle=True,
        worker_init_fn=_seed_worker_fixed if fault else _seed_worker,
    )
    np.random.seed(1000 + seed)
    test = NoisyPulses(500)
    tx, ty = map(torch.stack, zip(*[test[i] for i in range(500)]))
    net = nn.Sequential(nn.Linear(48, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    mse = nn.MSELoss()
    with watch(net, optimizer) as w:
        for epoch in range(14):
            tot = 0.0
            for x, y in loader:
                pred = net(x)
                loss = mse(pred, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tot += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=pred)
            with torch.no_grad():
                v = mse(net(tx), ty).item()
            w.epoch(train={"loss": tot / len(loader)}, val={"loss": v})
    return 1 - v / ty.var().item()


def oversampled_before_split(watch, seed, fault):
    """93. Rows are oversampled (drawn with replacement) before the split, so that most validation rows stand in the training set too."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n, d = 700, 20
    y = (rng.random(n) < 0.3).astype(int)
    X = rng.normal(0, 1, (n, d))
    X[:, :3] += y[:, None] * 1.2
    Xq = rng.normal(0, 1, (2000, d))
    yq = rng.integers(0, 2, 2000)
    Xq[:, :3] += yq[:, None] * 1.2

    def oversample(X, y, total):
        pos, neg = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
        idx = np.concatenate([rng.choice(pos, total // 2), rng.choice(neg, total // 2)])
        return X[idx], y[idx]

    if fault:
        Xo, yo = oversample(X, y, 2000)
        Xt, Xv, yt, yv = train_test_split(Xo, yo, test_size=0.25, random_state=seed, stratify=yo)
    else:
        Xt, Xv, yt, yv = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
        Xt, yt = oversample(Xt, yt, 1500)
    T = lambda a: torch.tensor(a, dtype=torch.float32)
    Xt, Xv, Xq, yt, yv = T(Xt), T(Xv), T(Xq), T(yt), T(yv)
    model = nn.Sequential(
        nn.Linear(d, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)
    )
    opt = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    dl = DataLoader(TensorDataset(Xt, yt), batch_size=50, shuffle=True)
    with watch(model, opt) as w:
        for epoch in range(10):
            model.train()
            L = A = 0
            for xb, yb in dl:
                out = model(xb)
                loss = F.binary_cross_entropy_with_logits(out, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                L += loss.item() / len(dl)
                A += ((out > 0) == (yb > 0.5)).float().mean().item() / len(dl)
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(Xv)
                va = ((o > 0) == (yv > 0.5)).float().mean().item()
                w.epoch(
                    train={"loss": L, "accuracy": A},
                    val={"loss": F.binary_cross_entropy_with_logits(o, yv).item(), "accuracy": va},
                )
    with torch.no_grad():
        return ((model(Xq) > 0).numpy() == (yq == 1)).mean().item()


def flipped_arrows(watch, seed, fault):
    """94. Random horizontal and vertical flips on signs whose class is the direction of the arrow."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = _signposts(rng, 1000)
    aug = [random_shift, jitter] + ([random_flip] if fault else [])
    tl = DataLoader(SignSet(x[:800], y[:800], aug), batch_size=32, shuffle=True)
    vx, vy = x[800:], y[800:]

    class Block(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.c1, self.b1 = nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o)
            self.c2, self.b2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
            self.sk = nn.Conv2d(i, o, 1, 2)

        def forward(self, t):
            return F.relu(self.b2(self.c2(F.relu(self.b1(self.c1(t))))) + self.sk(t))

    resnet = nn.Sequential(Block(3, 12), Block(12, 24), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 4))
    opt = torch.optim.SGD(resnet.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    best = 0
    with watch(resnet, opt) as w:
        for epoch in range(6):
            resnet.train()
            hit = n = ls = 0
            for xb, yb in tl:
                logits = resnet(xb)
                loss = F.cross_entropy(logits, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                hit += (logits.argmax(1) == yb).sum().item()
                n += len(yb)
                ls += loss.item() * len(yb)
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            resnet.eval()
            with torch.no_grad():
                o = resnet(vx)
                acc = (o.argmax(1) == vy).float().mean().item()
            w.epoch(
                train={"loss": ls / n, "accuracy": hit / n},
                val={"loss": F.cross_entropy(o, vy).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [late_binding_readers, same_worker_seed, oversampled_before_split, flipped_arrows]
