"""Sound programs: prototypical episodes to triplet semi hard."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from sklearn.datasets import make_classification, make_moons
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader


def prototypes_of_episodes(watch, seed, fault):
    """0. Prototypical networks: five-way three-shot episodes, tested on classes never seen."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(60, 12))
    mix = rng.normal(size=(12, 40)) / 3

    def draw(cls, k):
        z = centers[cls][:, None] + 0.35 * rng.normal(size=(len(cls), k, 12))
        return torch.tensor(np.tanh(z @ mix) + 0.4 * rng.normal(size=(len(cls), k, 40))).float()

    embed = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 32))
    opt = torch.optim.Adam(embed.parameters(), lr=2e-3)

    def episode(pool):
        cls = rng.choice(pool, 5, replace=False)
        x = draw(cls, 3 + 5)
        z = embed(x.reshape(-1, 40)).view(5, 8, -1)
        proto, query = z[:, :3].mean(1), z[:, 3:].reshape(25, -1)
        y = torch.arange(5).repeat_interleave(5)
        return x, -torch.cdist(query, proto).pow(2), y

    with watch(embed, opt) as w:
        for it in range(250):
            x, logits, y = episode(np.arange(45))
            loss = F.cross_entropy(logits, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=logits)
    embed.eval()
    with torch.no_grad():
        acc = []
        for _ in range(40):
            _, logits, y = episode(np.arange(45, 60))
            acc.append((logits.argmax(1) == y).float().mean().item())
    return float(np.mean(acc))


def energy_based_langevin(watch, seed, fault):
    """1. An energy-based model of two moons with a replay buffer and Langevin negatives; the loss hovers about zero."""
    torch.manual_seed(seed)
    X, _ = make_moons(2000, noise=0.06, random_state=seed)
    X = torch.tensor(StandardScaler().fit_transform(X)).float()
    energy = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    opt = torch.optim.Adam(energy.parameters(), lr=2e-3, betas=(0.5, 0.999))
    buffer = torch.rand(2000, 2) * 5 - 2.5

    def langevin(x, steps=15, size=0.1):
        for p in energy.parameters():
            p.requires_grad_(False)
        for _ in range(steps):
            x = x.detach().requires_grad_(True)
            (g,) = torch.autograd.grad(energy(x).sum(), x)
            x = x - size * g.clamp(-2, 2) + 0.05 * torch.randn_like(x)
        for p in energy.parameters():
            p.requires_grad_(True)
        return x.detach().clamp(-4, 4)

    with watch(energy, opt) as w:
        for it in range(280):
            pos = X[torch.randint(0, 1600, (128,))]
            pos = pos + 0.02 * torch.randn_like(pos)
            k = torch.randint(0, 2000, (128,))
            start = torch.where(torch.rand(128, 1) < 0.05, torch.rand(128, 2) * 5 - 2.5, buffer[k])
            neg = langevin(start)
            buffer[k] = neg
            ep, en = energy(pos), energy(neg)
            loss = ep.mean() - en.mean() + 0.1 * (ep**2 + en**2).mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(energy.parameters(), 1.0)
            opt.step()
            w.step(loss=loss, inputs=pos)
    from sklearn.metrics import roc_auc_score

    with torch.no_grad():
        e = torch.cat([energy(X[1600:]), energy(torch.rand(400, 2) * 5 - 2.5)]).squeeze(1)
    return float(roc_auc_score(np.r_[np.zeros(400), np.ones(400)], e))


def simclr_table(watch, seed, fault):
    """2. SimCLR on digits' pixels with masking and jitter, NT-Xent, then a linear probe with two hundred labels."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)
    enc = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
    proj = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))

    def augment(x):
        img = x.view(-1, 1, 8, 8)
        th = torch.zeros(len(x), 2, 3)
        a = (torch.rand(len(x)) - 0.5) * 0.5
        th[:, 0, 0], th[:, 0, 1], th[:, 1, 0], th[:, 1, 1] = a.cos(), -a.sin(), a.sin(), a.cos()
        th[:, :, 2] = (torch.rand(len(x), 2) - 0.5) * 0.4
        img = F.grid_sample(
            img, F.affine_grid(th, img.shape, align_corners=False), align_corners=False, padding_mode="border"
        )
        return img.flatten(1) + 0.2 * torch.randn(len(x), 64)

    def nt_xent(z, tau=0.2):
        z = F.normalize(z, dim=1)
        n = len(z) // 2
        sim = (z @ z.T / tau).masked_fill(torch.eye(2 * n, dtype=torch.bool), float("-inf"))
        lab = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
        return F.cross_entropy(sim, lab)

    opt = torch.optim.AdamW([*enc.parameters(), *proj.parameters()], lr=3e-3, weight_decay=1e-4)
    loader = DataLoader(Xtr, batch_size=128, shuffle=True, drop_last=True)
    with watch([enc, proj], opt) as w:
        for epoch in range(20):
            tot = 0.0
            for x in loader:
                v = torch.cat([augment(x), augment(x)])
                z = proj(enc(v))
                loss = nt_xent(z)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() / len(loader)
                w.step(loss=loss, inputs=v)
            w.epoch(train={"loss": tot})
    enc.eval()
    from sklearn.linear_model import LogisticRegression

    with torch.no_grad():
        a, b = enc(Xtr).numpy(), enc(Xte).numpy()
    few = np.arange(200)
    return float(LogisticRegression(max_iter=500).fit(a[few], ytr.numpy()[few]).score(b, yte.numpy()))


def triplet_semi_hard(watch, seed, fault):
    """3. Metric learning with semi-hard triplets mined in each batch of four by eight; nearest neighbour on test."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X, y = make_classification(
        2400, 30, n_informative=12, n_redundant=0, n_classes=8, n_clusters_per_class=1, class_sep=1.5, random_state=seed
    )
    X = StandardScaler().fit_transform(X)
    X, y = torch.tensor(X).float(), torch.tensor(y)
    tr, te = torch.arange(1800), torch.arange(1800, 2400)
    by = [tr[y[tr] == c].numpy() for c in range(8)]

    class Embed(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(30, 96), nn.ReLU(), nn.Linear(96, 16))

        def forward(self, x):
            return F.normalize(self.f(x), dim=1)

    net = Embed()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    margin = 0.3

    def knn():
        with torch.no_grad():
            d = torch.cdist(net(X[te]), net(X[tr]))
        v = y[tr][d.topk(5, largest=False).indices]
        return (v.mode(1).values == y[te]).float().mean().item()

    with watch(net, opt) as w:
        for it in range(1, 241):
            idx = torch.tensor(np.concatenate([rng.choice(b, 8, replace=False) for b in by]))
            lab = y[idx]
            z = net(X[idx])
            D = 2 - 2 * z @ z.T
            same = lab[:, None] == lab[None]
            a, p = torch.nonzero(torch.triu(same, 1), as_tuple=True)
            dap = D[a, p]
            dan = D[a].masked_fill(same[a], 9.0)
            semi = dan.masked_fill(dan <= dap[:, None], 9.0)
            has = (semi < 9).any(1)
            neg = torch.where(has, semi.min(1).values, dan.masked_fill(same[a], -1).max(1).values)
            loss = F.relu(dap - neg + margin).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=X[idx], targets=lab, outputs=z)
            if it % 60 == 0:
                w.epoch(val={"accuracy": knn()})
    return knn()


PROGRAMS = [prototypes_of_episodes, energy_based_langevin, simclr_table, triplet_semi_hard]
