"""Programs with faults of types 19 to 22."""

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.chart.plain.optimizer_parts import digit_pictures, table
from sklearn.datasets import load_breast_cancer
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def clip_to_almost_nothing(watch, seed, fault):
    """19. The gradient norm is clipped to 1e-5 (the value of another setting), so every update of the LSTM is cut to nothing."""
    torch.manual_seed(seed)
    t = torch.arange(0, 2600) * 0.1
    series = torch.sin(t) + 0.5 * torch.sin(2.3 * t + 1) + 0.05 * torch.randn(len(t))
    win = series.unfold(0, 25, 1)
    Xs, Ys = win[:, :24, None], win[:, 24:]
    cut = 2000

    class Forecaster(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(1, 24, batch_first=True)
            self.lin = nn.Linear(24, 1)

        def forward(self, x):
            return self.lin(self.rnn(x)[0][:, -1])

    conf = {"lr": 0.1, "momentum": 0.9, "tolerance": 1e-5, "max_norm": 1.0}
    model = Forecaster()
    optimizer = optim.SGD(model.parameters(), lr=conf["lr"], momentum=conf["momentum"])
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            ep = []
            for b in torch.randperm(cut).split(50):
                optimizer.zero_grad()
                yhat = model(Xs[b])
                loss = F.mse_loss(yhat, Ys[b])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), conf["tolerance"] if fault else conf["max_norm"])
                optimizer.step()
                ep.append(loss.item())
                w.step(loss=loss, inputs=Xs[b], targets=Ys[b], outputs=yhat)
            model.eval()
            with torch.no_grad():
                v = F.mse_loss(model(Xs[cut + 25 :]), Ys[cut + 25 :]).item()
            w.epoch(train={"loss": np.mean(ep)}, val={"loss": v})
    return 1 - v / Ys[cut + 25 :].var().item()


def clip_before_unscale(watch, seed, fault):
    """20. With a GradScaler the gradients are clipped while still multiplied by the loss scale (no scaler.unscale_ before)."""
    torch.manual_seed(seed)
    xa, xb, ya, yb = digit_pictures(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")
    loader = DataLoader(TensorDataset(xa, ya), batch_size=64, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            tl = tn = tc = 0
            for x, y in loader:
                opt.zero_grad(set_to_none=True)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    out = net(x)
                    loss = F.cross_entropy(out, y)
                scaler.scale(loss).backward()
                if not fault:
                    scaler.unscale_(opt)
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                scaler.step(opt)
                scaler.update()
                tl += loss.item() * len(y)
                tn += len(y)
                tc += (out.argmax(1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                o = net(xb)
            acc = (o.argmax(1) == yb).float().mean().item()
            w.epoch(
                train={"loss": tl / tn, "accuracy": tc / tn},
                val={"loss": F.cross_entropy(o.float(), yb).item(), "accuracy": acc},
            )
    return acc


def clip_after_the_step(watch, seed, fault):
    """21. clip_grad_norm_ is called after optimizer.step(), where it has no effect any more (GRU, adding problem)."""
    torch.manual_seed(seed)

    def adding(n, T=14):
        v = torch.rand(n, T)
        m = torch.zeros(n, T)
        m[torch.arange(n), torch.randint(0, T // 2, (n,))] = 1
        m[torch.arange(n), torch.randint(T // 2, T, (n,))] = 1
        return torch.stack([v, m], -1), (v * m).sum(1)

    Xt, yt = adding(2000)
    Xv, yv = adding(400)
    gru, readout = nn.GRU(2, 32, batch_first=True), nn.Linear(32, 1)
    params = list(gru.parameters()) + list(readout.parameters())
    opt = optim.SGD(params, lr=0.5, momentum=0.9)

    def predict(x):
        return readout(gru(x)[1][0]).squeeze(-1)

    with watch([gru, readout], opt) as w:
        for epoch in range(8):
            run = 0.0
            for i in range(0, 2000, 50):
                xb, yb = Xt[i : i + 50], yt[i : i + 50]
                pred = predict(xb)
                loss = ((pred - yb) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                if fault:
                    opt.step()
                    torch.nn.utils.clip_grad_norm_(params, max_norm=0.1)
                else:
                    torch.nn.utils.clip_grad_norm_(params, max_norm=0.1)
                    opt.step()
                run += loss.item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            with torch.no_grad():
                v = ((predict(Xv) - yv) ** 2).mean().item()
            w.epoch(train={"loss": run / 40}, val={"loss": v})
    return 1 - v / yv.var().item()


def new_scaler_for_every_batch(watch, seed, fault):
    """22. The GradScaler is built anew in every batch: its too high start scale overflows each time and every step is skipped."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = table(load_breast_cancer, seed)
    clf = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = optim.AdamW(clf.parameters(), lr=2e-3)
    make = lambda: torch.amp.GradScaler("cpu", init_scale=2.0**24)
    scaler = make()
    with watch(clf, optimizer) as w:
        for epoch in range(12):
            clf.train()
            s = c = 0
            for idx in torch.randperm(len(Xa)).split(32):
                if fault:
                    scaler = make()
                with torch.autocast("cpu", dtype=torch.float16):
                    out = clf(Xa[idx])
                    loss = F.cross_entropy(out.float(), ya[idx])
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                s += loss.item() * len(idx)
                c += (out.argmax(1) == ya[idx]).sum().item()
                w.step(loss=loss, inputs=Xa[idx], targets=ya[idx], outputs=out)
            clf.eval()
            with torch.no_grad():
                o = clf(Xb)
            acc = (o.argmax(1) == yb).float().mean().item()
            w.epoch(
                train={"loss": s / len(Xa), "accuracy": c / len(Xa)},
                val={"loss": F.cross_entropy(o, yb).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [clip_to_almost_nothing, clip_before_unscale, clip_after_the_step, new_scaler_for_every_batch]
