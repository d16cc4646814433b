"""Sound programs: anomaly autoencoder to diagonal ssm."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def anomaly_autoencoder(watch, seed, fault):
    """3. A denoising autoencoder learns healthy sensor windows only; anomalies by the reconstruction error."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def healthy(n):
        ph, a = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.7, 1.3, (n, 1))
        k = np.arange(64)[None]
        return a * np.sin(2 * np.pi * k / 16 + ph) + 0.05 * rng.normal(size=(n, 64))

    def broken(n):
        x = healthy(n)
        for r in x:
            i = rng.integers(8, 50)
            r[i : i + 6] += rng.choice([-1, 1]) * rng.uniform(0.8, 1.5)
        return x

    train, val = torch.tensor(healthy(1500)).float(), torch.tensor(healthy(300)).float()
    test = torch.tensor(np.concatenate([healthy(300), broken(100)])).float()
    isbad = np.r_[np.zeros(300), np.ones(100)]
    enc = nn.Sequential(nn.Linear(64, 32), nn.LeakyReLU(0.1), nn.Linear(32, 4))
    dec = nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(0.1), nn.Linear(32, 64))
    opt = torch.optim.Adam(list(enc.parameters()) + list(dec.parameters()), lr=3e-3)
    with watch([enc, dec], opt) as w:
        for epoch in range(15):
            run = []
            for i in torch.randperm(1500).split(75):
                clean = train[i]
                noisy = clean + 0.1 * torch.randn_like(clean)
                rec = dec(enc(noisy))
                loss = F.mse_loss(rec, clean)
                opt.zero_grad()
                loss.backward()
                opt.step()
                run.append(loss.item())
                w.step(loss=loss, inputs=noisy, targets=clean, outputs=rec)
            with torch.no_grad():
                w.epoch(train={"mse": np.mean(run).item()}, val={"mse": F.mse_loss(dec(enc(val)), val).item()})
    from sklearn.metrics import roc_auc_score

    with torch.no_grad():
        err = (dec(enc(test)) - test).pow(2).mean(1).numpy()
    return float(roc_auc_score(isbad, err))


def series_inception(watch, seed, fault):
    """4. Five waveforms told apart by an inception-like 1-D network, SGD with warm restarts and label smoothing."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def make(n):
        y = rng.integers(0, 5, n)
        k = np.linspace(0, 1, 96)
        X = np.empty((n, 96))
        for i, c in enumerate(y):
            f, p = rng.uniform(3, 6), rng.uniform(0, 1)
            u = (f * k + p) % 1
            X[i] = [
                np.sin(2 * np.pi * u),
                np.sign(u - 0.5),
                2 * u - 1,
                1 - 4 * np.abs(u - 0.5),
                np.exp(-30 * (u - 0.5) ** 2),
            ][c]
        X += 0.25 * rng.normal(size=X.shape)
        X = (X - X.mean(1, keepdims=True)) / X.std(1, keepdims=True)
        return torch.tensor(X).float()[:, None], torch.tensor(y)

    class Inc(nn.Module):
        def __init__(self, ci, co):
            super().__init__()
            self.b = nn.ModuleList(nn.Conv1d(ci, co, k, padding=k // 2, bias=False) for k in (3, 7, 15))
            self.bn = nn.BatchNorm1d(3 * co)

        def forward(self, x):
            return F.relu(self.bn(torch.cat([c(x) for c in self.b], 1)))

    net = nn.Sequential(Inc(1, 8), nn.MaxPool1d(2), Inc(24, 8), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 5))
    (xtr, ytr), (xte, yte) = make(1200), make(400)
    dl = DataLoader(TensorDataset(xtr, ytr), batch_size=48, shuffle=True)
    crit = nn.CrossEntropyLoss(label_smoothing=0.1)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    sch = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=2, T_mult=2)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            tl, tc = 0.0, 0
            for i, (x, y) in enumerate(dl):
                out = net(x)
                loss = crit(out, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sch.step(epoch + (i + 1) / len(dl))
                tl += loss.item() * len(y)
                tc += (out.argmax(1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(xte)
                acc = (o.argmax(1) == yte).float().mean().item()
                vl = crit(o, yte).item()
            w.epoch(train={"loss": tl / 1200, "accuracy": tc / 1200}, val={"loss": vl, "accuracy": acc})
    return acc


def diagonal_ssm(watch, seed, fault):
    """5. A diagonal state space layer (S4D-like) with its own rate for the dynamics recalls the sign of an early pulse."""
    torch.manual_seed(seed)
    L, H, N = 64, 16, 8

    class S4D(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_dt = nn.Parameter(torch.rand(H) * (math.log(0.1) - math.log(0.005)) + math.log(0.005))
            self.log_a = nn.Parameter(torch.full((H, N), math.log(0.5)))
            self.im = nn.Parameter(math.pi * torch.arange(N).float().repeat(H, 1))
            self.C = nn.Parameter(torch.randn(H, N, 2) * 0.5)
            self.D = nn.Parameter(torch.ones(H))

        def forward(self, u):  # (B, H, L)
            A = torch.complex(-self.log_a.exp(), self.im)
            dtA = A * self.log_dt.exp()[:, None]
            C = torch.view_as_complex(self.C) * (torch.exp(dtA) - 1) / A
            K = 2 * torch.einsum("hn,hnl->hl", C, torch.exp(dtA[..., None] * torch.arange(L))).real
            y = torch.fft.irfft(torch.fft.rfft(u, 2 * L) * torch.fft.rfft(K, 2 * L), 2 * L)[..., :L]
            return y + u * self.D[:, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Conv1d(1, H, 1)
            self.s1, self.s2 = S4D(), S4D()
            self.m1, self.m2 = nn.Conv1d(H, H, 1), nn.Conv1d(H, H, 1)
            self.out = nn.Linear(H, 2)

        def forward(self, x):
            h = self.inp(x)
            h = h + self.m1(F.gelu(self.s1(h)))
            h = h + self.m2(F.gelu(self.s2(h)))
            return self.out(h[..., -1])

    def draw(n, g):
        y = torch.randint(0, 2, (n,), generator=g)
        x = 0.1 * torch.randn(n, 1, L, generator=g)
        pos = torch.randint(0, 30, (n,), generator=g)
        for o in range(4):
            x[torch.arange(n), 0, pos + o] += 2.0 * y - 1
        return x, y

    net = Net()
    dyn = [p for n, p in net.named_parameters() if n.split(".")[-1] in ("log_dt", "log_a", "im")]
    ids = {id(p) for p in dyn}
    rest = [p for p in net.parameters() if id(p) not in ids]
    opt = torch.optim.AdamW(
        [{"params": rest, "lr": 4e-3, "weight_decay": 0.01}, {"params": dyn, "lr": 1e-3, "weight_decay": 0.0}]
    )
    g = torch.Generator().manual_seed(seed)
    xv, yv = draw(500, torch.Generator().manual_seed(seed + 555))
    acc = 0.0
    with watch(net, opt) as w:
        for step in range(1, 241):
            x, y = draw(32, g)
            o = net(x)
            loss = F.cross_entropy(o, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=o)
            if step % 60 == 0:
                with torch.no_grad():
                    ov = net(xv)
                    acc = (ov.argmax(1) == yv).float().mean().item()
                    w.epoch(val={"loss": F.cross_entropy(ov, yv).item(), "accuracy": acc})
    return acc


PROGRAMS = [anomaly_autoencoder, series_inception, diagonal_ssm]
