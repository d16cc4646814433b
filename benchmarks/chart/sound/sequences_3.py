"""Sound programs: gcn lion to gat many graphs."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                st = self.state[p]
                if not st:
                    st["m"] = torch.zeros_like(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.sign(b1 * st["m"] + (1 - b1) * p.grad), alpha=-group["lr"])
                st["m"].mul_(b2).add_(p.grad, alpha=1 - b2)


def _block_graph(n_nodes, k, rng, p_in=0.04, p_out=0.004, dim=16, noise=2.0):
    y = rng.integers(0, k, n_nodes)
    P = np.where(y[:, None] == y[None], p_in, p_out)
    A = np.triu(rng.random((n_nodes, n_nodes)) < P, 1)
    A = (A | A.T).astype(np.float32)
    centers = rng.normal(size=(k, dim))
    X = centers[y] + noise * rng.normal(size=(n_nodes, dim))
    X = (X - X.mean(0)) / X.std(0)
    return torch.tensor(X).float(), torch.tensor(A), torch.tensor(y)


def gcn_lion(watch, seed, fault):
    """6. A two-layer GCN by hand on a block graph, masks for train, val and test, optimizer Lion."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X, A, y = _block_graph(700, 4, rng)
    A = A + torch.eye(700)
    d = A.sum(1).rsqrt()
    A_hat = (d[:, None] * A * d[None]).to_sparse()
    perm = torch.tensor(rng.permutation(700))
    train, val, test = perm[:200], perm[200:400], perm[400:]

    class GCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.w2 = nn.Linear(16, 32), nn.Linear(32, 4)

        def forward(self, x):
            x = F.relu(torch.sparse.mm(A_hat, self.w1(F.dropout(x, 0.3, self.training))))
            return torch.sparse.mm(A_hat, self.w2(F.dropout(x, 0.5, self.training)))

    net = GCN()
    opt = Lion(net.parameters(), lr=1e-3, weight_decay=0.5)
    best, keep = 0.0, None
    with watch(net, opt) as w:
        for epoch in range(120):
            net.train()
            out = net(X)
            loss = F.cross_entropy(out[train], y[train])
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=X, targets=y[train], outputs=out[train])
            net.eval()
            with torch.no_grad():
                o = net(X)
                va = (o[val].argmax(1) == y[val]).float().mean().item()
                ta = (o[train].argmax(1) == y[train]).float().mean().item()
                w.epoch(
                    train={"loss": loss.item(), "accuracy": ta},
                    val={"loss": F.cross_entropy(o[val], y[val]).item(), "accuracy": va},
                )
            if va > best:
                best, keep = va, copy.deepcopy(net.state_dict())
    net.load_state_dict(keep)
    with torch.no_grad():
        return (net(X)[test].argmax(1) == y[test]).float().mean().item()


def gat_many_graphs(watch, seed, fault):
    """7. A GAT over batches of small graphs says whether the two marked nodes share a neighbour."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n, N = 1200, 10
    A = rng.random((n, N, N)) < 0.2
    A = np.triu(A, 1)
    A = A | A.transpose(0, 2, 1)
    mark = np.zeros((n, N))
    for i in range(n):
        a, b = rng.choice(N, 2, replace=False)
        mark[i, a], mark[i, b] = 1, 1
        want = i % 2
        common = A[i, a] & A[i, b]
        common[[a, b]] = False
        if want and not common.any():
            h = rng.choice([k for k in range(N) if k not in (a, b)])
            A[i, a, h] = A[i, h, a] = A[i, b, h] = A[i, h, b] = True
        if not want:
            for h in np.flatnonzero(common):
                A[i, a, h] = A[i, h, a] = False
    y = torch.tensor(np.arange(n) % 2)
    X = torch.tensor(np.stack([mark, 1 - mark, A.sum(2) / 3.0], -1)).float()
    A = torch.tensor(A | np.eye(N, dtype=bool)[None])

    class GATLayer(nn.Module):
        def __init__(self, ci, co, heads=4):
            super().__init__()
            self.h, self.w = heads, nn.Linear(ci, co * heads, bias=False)
            self.own = nn.Linear(ci, co * heads)
            self.a1, self.a2 = nn.Parameter(torch.randn(heads, co) * 0.1), nn.Parameter(torch.randn(heads, co) * 0.1)

        def forward(self, x, adj):
            B, n_, _ = x.shape
            z = self.w(x).view(B, n_, self.h, -1)
            e = F.leaky_relu((z * self.a1).sum(-1)[:, :, None] + (z * self.a2).sum(-1)[:, None], 0.2)
            att = e.masked_fill(~adj[..., None], float("-inf")).softmax(2)
            return F.elu(torch.einsum("bijh,bjhc->bihc", att, z).flatten(2) + self.own(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.g1, self.g2 = GATLayer(3, 8), GATLayer(32, 8)
            self.out = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x, adj):
            return self.out(self.g2(self.g1(x, adj), adj).amax(1))

    net = Net()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3, amsgrad=True)
    idx = torch.tensor(rng.permutation(n))
    tr, te = idx[:900], idx[900:]
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(16):
            tot = hit = 0.0
            for b in tr[torch.randperm(900)].split(50):
                o = net(X[b], A[b])
                loss = F.cross_entropy(o, y[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() * len(b) / 900
                hit += (o.argmax(1) == y[b]).sum().item() / 900
                w.step(loss=loss, inputs=(X[b], A[b]), targets=y[b], outputs=o)
            with torch.no_grad():
                ov = net(X[te], A[te])
                acc = (ov.argmax(1) == y[te]).float().mean().item()
                w.epoch(
                    train={"loss": tot, "accuracy": hit},
                    val={"loss": F.cross_entropy(ov, y[te]).item(), "accuracy": acc},
                )
    return acc


PROGRAMS = [gcn_lion, gat_many_graphs]
