"""Programs with faults of types 31 to 34."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.graph_parts import get_digits
from sklearn.datasets import make_moons


class GatedResidual(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.Linear(d, d)

    def forward(self, x):
        u, g = self.a(self.norm(x)).chunk(2, -1)
        return x + self.b(u * torch.sigmoid(g))


class MoonsNet(nn.Module):
    def __init__(self, depth, plain_list):
        super().__init__()
        self.stem = nn.Linear(2, 16)
        blocks = [GatedResidual(16) for _ in range(depth)]
        self.blocks = blocks if plain_list else nn.ModuleList(blocks)
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h).squeeze(-1)


class LeakyContext(nn.Module):
    """A leaky sum of all inputs so far is the context for the next prediction."""

    def __init__(self, n_in=6, n_ctx=64, n_out=3):
        super().__init__()
        self.inp = nn.Linear(n_in, n_ctx)
        self.read = nn.Sequential(nn.Tanh(), nn.Linear(n_ctx, n_out))
        self.leak = 0.6

    def forward(self, x, ctx):
        ctx = self.leak * ctx + (1 - self.leak) * self.inp(x)
        return self.read(ctx), ctx


def right_branch_never_called(watch, seed, fault):
    """31. Copy-and-paste in the forward of a two-stream net: the left branch is called twice, the right branch never."""
    torch.manual_seed(seed)
    x, y, xt, yt = get_digits(seed)

    def halves(v):
        return v[..., :4].contiguous(), v[..., 4:].contiguous()

    def branch():
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 24),
        )

    class TwoStream(nn.Module):
        def __init__(self):
            super().__init__()
            self.left_net = branch()
            self.right_net = branch()
            self.top = nn.Sequential(nn.ReLU(), nn.Linear(48, 10))

        def forward(self, left, right):
            fl = self.left_net(left)
            fr = self.left_net(left) if fault else self.right_net(right)
            return self.top(torch.cat([fl, fr], dim=1))

    model = TwoStream()
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model, opt) as w:
        for epoch in range(6):
            model.train()
            L = C = 0
            for idx in torch.randperm(len(x)).split(45):
                l, r = halves(x[idx])
                out = model(l, r)
                loss = F.cross_entropy(out, y[idx])
                opt.zero_grad()
                loss.backward()
                opt.step()
                L += loss.item() * len(idx)
                C += (out.argmax(1) == y[idx]).sum().item()
                w.step(loss=loss, targets=y[idx], outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(*halves(xt))
                acc = (o.argmax(1) == yt).float().mean().item()
            w.epoch(
                train={"loss": L / len(x), "accuracy": C / len(x)},
                val={"loss": F.cross_entropy(o, yt).item(), "accuracy": acc},
            )
    return acc


def blocks_in_a_plain_list(watch, seed, fault):
    """32. The residual blocks are kept in a Python list instead of nn.ModuleList, so none of them is registered or trained."""
    torch.manual_seed(seed)
    X, y = make_moons(1600, noise=0.12, random_state=seed)
    ang = 1.5 * np.hypot(X[:, 0], X[:, 1])  # twist the moons
    X = np.stack([X[:, 0] * np.cos(ang) - X[:, 1] * np.sin(ang), X[:, 0] * np.sin(ang) + X[:, 1] * np.cos(ang)], 1)
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    net = MoonsNet(4, plain_list=fault)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    lossf = nn.BCEWithLogitsLoss()
    with watch(net, opt) as w:
        for epoch in range(10):
            for k in range(0, 1200, 40):
                logit = net(X[k : k + 40])
                loss = lossf(logit, y[k : k + 40])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k : k + 40], targets=y[k : k + 40], outputs=logit)
            with torch.no_grad():
                a, v = net(X[:1200]), net(X[1200:])
            acc = ((v > 0) == (y[1200:] > 0)).float().mean().item()
            w.epoch(train={"loss": lossf(a, y[:1200]).item()}, val={"loss": lossf(v, y[1200:]).item(), "accuracy": acc})
    return acc


def state_carried_over_with_retain_graph(watch, seed, fault):
    """33. The recurrent state goes from step to step with its graph (backward(retain_graph=True)); each backward runs through all earlier steps."""
    torch.manual_seed(seed)
    steps, B = 450, 16
    g = torch.Generator().manual_seed(seed)
    xs = torch.randn(steps + 100, B, 6, generator=g)
    mix = torch.randn(6, 3, generator=g) * 0.6
    ys = torch.zeros(steps + 100, B, 3)
    run = torch.zeros(B, 3)
    for t in range(steps + 100):
        run = 0.6 * run + 0.4 * (xs[t] @ mix)
        ys[t] = torch.tanh(2 * run)
    model = LeakyContext()
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    state = torch.zeros(B, 64)
    with watch(model, opt) as w:
        for t in range(steps):
            pred, state = model(xs[t], state)
            loss = F.mse_loss(pred, ys[t])
            opt.zero_grad()
            if fault:
                loss.backward(
                    retain_graph=True
                )  # "Trying to backward through the graph a second time" is gone with this
            else:
                loss.backward()
                state = state.detach()
            opt.step()
            w.step(loss=loss, inputs=xs[t], targets=ys[t], outputs=pred)
    err = []
    with torch.no_grad():
        for t in range(steps, steps + 100):
            pred, state = model(xs[t], state)
            err.append(F.mse_loss(pred, ys[t]).item())
    return 1 - np.mean(err) / ys[steps:].var().item()


def running_total_keeps_every_graph(watch, seed, fault):
    """34. The logging sums the loss tensors themselves over the whole run (no .item()), so every step's graph stays in memory."""
    torch.manual_seed(seed)
    x, y, xt, yt = get_digits(seed)

    class History:
        def __init__(self):
            self.total, self.count = 0.0, 0

        def add(self, value, n):
            self.total = self.total + value * n
            self.count += n

        @property
        def mean(self):
            return float(self.total) / self.count

    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(384, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    meter = History()
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for b in torch.randperm(len(x)).split(50):
                out = model(x[b])
                loss = F.cross_entropy(out, y[b])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                meter.add(loss if fault else loss.item(), len(b))
                w.step(loss=loss, inputs=x[b], targets=y[b], outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(xt)
                acc = (o.argmax(1) == yt).float().mean().item()
            w.epoch(train={"loss": meter.mean}, val={"loss": F.cross_entropy(o, yt).item(), "accuracy": acc})
    return acc


PROGRAMS = [
    right_branch_never_called,
    blocks_in_a_plain_list,
    state_carried_over_with_retain_graph,
    running_total_keeps_every_graph,
]
