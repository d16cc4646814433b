"""Programs with faults of types 111 to 113."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def raw_module_not_ddp(watch, seed, fault):
    """111. Two ranks (two replicas in one process, gradients averaged by a home-made DDP wrapper): the loop calls `wrapper.module`, so nothing is averaged and the replicas drift apart."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    X, Y = torch.tensor(Xa)[:, None] / 16, torch.tensor(ya)
    Xt, Yt = torch.tensor(Xb)[:, None] / 16, torch.tensor(yb)
    make = lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    )

    class Group:
        def __init__(self):
            self.members = []

        def all_reduce(self):
            for ps in zip(*[m.module.parameters() for m in self.members if m.armed]):
                if len(ps) < 2:
                    return
                g = sum(p.grad for p in ps) / len(ps)
                for p in ps:
                    p.grad = g.clone()

    class DDP(nn.Module):
        def __init__(self, module, group):
            super().__init__()
            self.module, self.group, self.armed = module, [group], False
            group.members.append(self)

        def forward(self, x):
            self.armed = True  # the reducer runs after this rank's backward
            return self.module(x)

    group = Group()
    r0 = make()
    r1 = make()
    r1.load_state_dict(r0.state_dict())
    ddp = [DDP(r0, group), DDP(r1, group)]
    opts = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (r0, r1)]
    # web-dataset shards by writer: rank 0 reads the first half of the classes, rank 1 the others
    shard = [torch.where(Y < 5)[0], torch.where(Y >= 5)[0]]
    with watch([r0, r1], opts) as w:
        for epoch in range(6):
            o0, o1 = shard[0][torch.randperm(len(shard[0]))], shard[1][torch.randperm(len(shard[1]))]
            for a, b in zip(o0.split(20), o1.split(20)):
                outs, losses = [], []
                for rank, ix in enumerate((a, b)):
                    opts[rank].zero_grad()
                    net = ddp[rank].module if fault else ddp[rank]
                    out = net(X[ix])
                    l = F.cross_entropy(out, Y[ix])
                    l.backward()
                    outs.append(out)
                    losses.append(l)
                group.all_reduce()
                for o in opts:
                    o.step()
                w.step(
                    loss=(losses[0] + losses[1]) / 2,
                    inputs=torch.cat([X[a], X[b]]),
                    targets=torch.cat([Y[a], Y[b]]),
                    outputs=torch.cat(outs),
                )
            with torch.no_grad():
                acc = (r0(Xt).argmax(1) == Yt).float().mean().item()  # rank 0 validates and saves
            w.epoch(val={"accuracy": acc})
    return acc


def sampler_without_set_epoch(watch, seed, fault):
    """112. A DistributedSampler (rank 0 of 2) without sampler.set_epoch: the same half of the data in the same order in every epoch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lab = rng.integers(0, 4, 300)
    pics = np.stack([draw(rng, k, 24, rng.uniform(0.4, 1, 3), noise=0.12)[0] for k in lab]).transpose(0, 3, 1, 2)
    hl = rng.integers(0, 4, 200)
    hp = torch.tensor(
        np.stack([draw(rng, k, 24, rng.uniform(0.4, 1, 3), noise=0.12)[0] for k in hl]).transpose(0, 3, 1, 2)
    ).float()
    ds = TensorDataset(torch.tensor(pics).float(), torch.tensor(lab))
    sampler = DistributedSampler(ds, num_replicas=2, rank=0, shuffle=True, seed=seed)
    loader = DataLoader(ds, batch_size=15, sampler=sampler)
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3, 1, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 32, 3, 1, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, 1, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    with watch(net, optimizer) as w:
        for epoch in range(15):
            if not fault:
                sampler.set_epoch(epoch)
            net.train()
            tot = 0.0
            for x, y in loader:
                out = net(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tot += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                acc = (net(hp).argmax(1) == torch.tensor(hl)).float().mean().item()
            w.epoch(train={"loss": tot / len(loader)}, val={"accuracy": acc})
    return acc


def bn_not_synced(watch, seed, fault):
    """113. Two data-parallel replicas with 4 pictures each and plain BatchNorm: the statistics are per replica (and per scene, the shards differ) instead of over all ranks."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = 800
    light = np.where(np.arange(n) < n // 2, 0.0, 0.35)  # shard 0: night, shard 1: day
    lab = rng.integers(0, 3, n)
    pics = np.stack(
        [
            np.clip(draw(rng, k, 20, rng.uniform(0.4, 0.6, 3), noise=0.04, bg=0.1)[0] + l, 0, 1)
            for k, l in zip(lab, light)
        ]
    ).transpose(0, 3, 1, 2)
    X, Y = torch.tensor(pics).float(), torch.tensor(lab)
    hold = np.arange(n) % 5 == 4
    tr = [np.where(~hold & (np.arange(n) < n // 2))[0], np.where(~hold & (np.arange(n) >= n // 2))[0]]
    te = torch.tensor(np.where(hold)[0])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.ModuleList([nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1)])
            self.n = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(32), nn.BatchNorm2d(32)])
            self.fc = nn.Linear(32, 3)

        def forward(self, x):
            for c, n in zip(self.c, self.n):
                x = F.relu(n(c(x)))
            return self.fc(x.amax((2, 3)))

    torch.manual_seed(seed)
    rank0 = Net()
    rank1 = copy.deepcopy(rank0)
    ranks = [rank0, rank1]
    opts = [torch.optim.SGD(r.parameters(), lr=0.02, momentum=0.9) for r in ranks]

    def forward_all(xs):
        hs = list(xs)
        for l in range(3):
            hs = [r.c[l](h) for r, h in zip(ranks, hs)]
            if fault:
                hs = [r.n[l](h) for r, h in zip(ranks, hs)]
            else:  # what SyncBatchNorm does: statistics over both ranks
                sizes = [len(h) for h in hs]
                both = rank0.n[l](torch.cat(hs))
                with torch.no_grad():
                    for k in ("running_mean", "running_var", "num_batches_tracked"):
                        getattr(rank1.n[l], k).copy_(getattr(rank0.n[l], k))
                a, b = both.split(sizes)
                hs = [a, b]
            hs = [F.relu(h) for h in hs]
        return [r.fc(h.amax((2, 3))) for r, h in zip(ranks, hs)]

    with watch(ranks, opts) as w:
        for epoch in range(6):
            for r in ranks:
                r.train()
            p = [rng.permutation(t) for t in tr]
            for s in range(0, len(p[0]) - 3, 4):
                ix = [torch.tensor(q[s : s + 4]) for q in p]
                outs = forward_all([X[i] for i in ix])
                loss = sum(F.cross_entropy(o, Y[i]) for o, i in zip(outs, ix)) / 2
                for o in opts:
                    o.zero_grad()
                loss.backward()
                for pa, pb in zip(rank0.parameters(), rank1.parameters()):  # all-reduce
                    g = (pa.grad if pa.grad is not None else 0) + (pb.grad if pb.grad is not None else 0)
                    pa.grad, pb.grad = g.clone(), g.clone()
                for o in opts:
                    o.step()
                w.step(
                    loss=loss,
                    inputs=torch.cat([X[i] for i in ix]),
                    targets=torch.cat([Y[i] for i in ix]),
                    outputs=torch.cat(outs),
                )
            rank0.eval()
            with torch.no_grad():
                acc = (rank0(X[te]).argmax(1) == Y[te]).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


PROGRAMS = [raw_module_not_ddp, sampler_without_set_epoch, bn_not_synced]
