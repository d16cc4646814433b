"""Sound programs: spiking digits to prune and retrain."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from sklearn.datasets import load_digits
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset


def spiking_digits(watch, seed, fault):
    """8. A leaky integrate-and-fire network with surrogate gradients reads rate-coded digits."""
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X / 16.0).float()
    y = torch.tensor(y)
    perm = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    tr, te = perm[:1300], perm[1300:]

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return (v > 0).float()

        @staticmethod
        def backward(ctx, g):
            (v,) = ctx.saved_tensors
            return g / (1 + 5 * v.abs()) ** 2

    class SNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.f1, self.f2 = nn.Linear(64, 80), nn.Linear(80, 10)

        def forward(self, x, T=10):
            v1 = v2 = 0.0
            total = 0.0
            for _ in range(T):
                s = torch.bernoulli(x)
                v1 = 0.9 * v1 + self.f1(s)
                z = Spike.apply(v1 - 1.0)
                v1 = v1 - z
                v2 = 0.9 * v2 + self.f2(z)
                total = total + v2
            return total / T

    net = SNN()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.9, 0.999))
    with watch(net, opt) as w:
        for epoch in range(8):
            tl = tc = 0.0
            for b in tr[torch.randperm(1300)].split(65):
                out = net(X[b])
                loss = F.cross_entropy(out, y[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / 20
                tc += (out.argmax(1) == y[b]).sum().item() / 1300
                w.step(loss=loss, inputs=X[b], targets=y[b], outputs=out)
            with torch.no_grad():
                o = net(X[te])
                acc = (o.argmax(1) == y[te]).float().mean().item()
                w.epoch(
                    train={"loss": tl, "accuracy": tc}, val={"loss": F.cross_entropy(o, y[te]).item(), "accuracy": acc}
                )
    return acc


def gumbel_discrete_vae(watch, seed, fault):
    """9. A discrete VAE with Gumbel-softmax codes and annealed temperature on binary patterns."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    protos = (rng.random((10, 48)) < 0.5).astype(np.float32)
    which = rng.integers(0, 10, (2500, 1))[:, 0]
    X = protos[which]
    flip = rng.random(X.shape) < 0.05
    X = torch.tensor(np.where(flip, 1 - X, X))
    train, val = X[:2000], X[2000:]
    n_lat, n_cat = 4, 6

    class DVAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, n_lat * n_cat))
            self.dec = nn.Sequential(nn.Linear(n_lat * n_cat, 64), nn.ReLU(), nn.Linear(64, 48))

        def forward(self, x, tau):
            lo = self.enc(x).view(-1, n_lat, n_cat)
            z = F.gumbel_softmax(lo, tau=tau) if self.training else F.one_hot(lo.argmax(-1), n_cat).float()
            q = lo.softmax(-1)
            kl = (q * (q.clamp_min(1e-9).log() + math.log(n_cat))).sum((1, 2)).mean()
            return self.dec(z.flatten(1)), kl

    vae = DVAE()
    opt = torch.optim.Adam(vae.parameters(), lr=3e-3)
    step = 0
    with watch(vae, opt) as w:
        for epoch in range(12):
            vae.train()
            tot = 0.0
            for b in torch.randperm(2000).split(80):
                tau = max(0.5, math.exp(-0.004 * step))
                x = train[b]
                rec, kl = vae(x, tau)
                bce = F.binary_cross_entropy_with_logits(rec, x, reduction="sum") / len(x)
                loss = bce + kl
                opt.zero_grad()
                loss.backward()
                opt.step()
                step += 1
                tot += loss.item() / 25
                w.step(loss=loss, inputs=x, targets=x, outputs=rec)
            vae.eval()
            with torch.no_grad():
                r, kl = vae(val, 0.5)
                vb = F.binary_cross_entropy_with_logits(r, val, reduction="sum").item() / len(val)
            w.epoch(train={"elbo": tot}, val={"elbo": vb + kl.item()})
    return 1 - vb / (48 * math.log(2))


def prune_and_retrain(watch, seed, fault):
    """10. Train, prune by magnitude in three rounds, fine-tune after each; the masks are made permanent at the end."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    layers = [m for m in model if isinstance(m, nn.Linear)]
    for l in layers:  # identity masks first, so that the optimizer keeps the same tensors
        prune.identity(l, "weight")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(12):
            if epoch in (5, 7, 9):
                prune.global_unstructured([(l, "weight") for l in layers], prune.L1Unstructured, amount=0.3)
                for g in optimizer.param_groups:
                    g["lr"] = 0.02
            model.train()
            tl = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                tl += loss.item() / len(loader)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(Xte)
                acc = (o.argmax(1) == yte).float().mean().item()
                w.epoch(train={"loss": tl}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    for l in layers:
        prune.remove(l, "weight")
    with torch.no_grad():
        return (model(Xte).argmax(1) == yte).float().mean().item()


PROGRAMS = [spiking_digits, gumbel_discrete_vae, prune_and_retrain]
