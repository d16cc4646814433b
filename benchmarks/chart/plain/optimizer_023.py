"""Programs with faults of types 23 to 26."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.chart.plain.optimizer_parts import digit_pictures, table
from sklearn.datasets import load_wine
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    """Squares (1) and crosses (2) on noise: per-pixel classes."""

    def __init__(self, n, seed, S=16):
        g = np.random.default_rng(seed)
        self.x = g.normal(0, 0.3, (n, 1, S, S)).astype(np.float32)
        self.y = np.zeros((n, S, S), np.int64)
        for k in range(n):
            a, b = g.integers(0, S - 6, 2)
            self.y[k, a : a + 6, b : b + 6] = 1
            a, b = g.integers(0, S - 7, 2)
            self.y[k, a + 3, b : b + 7] = 2
            self.y[k, a : a + 7, b + 3] = 2
        self.x[:, 0] += (self.y == 1) * 0.8 + (self.y == 2) * 1.2

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def accumulation_without_division(watch, seed, fault):
    """23. Gradients of 8 micro-batches are summed without dividing the loss by 8: the effective learning rate is 8 times too high."""
    torch.manual_seed(seed)
    dl = DataLoader(Shapes(512, seed), batch_size=4, shuffle=True)
    val = Shapes(64, seed + 99)
    vx, vy = torch.from_numpy(val.x), torch.from_numpy(val.y)
    fcn = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=4, dilation=4),
        nn.ReLU(),
        nn.Conv2d(16, 3, 1),
    )
    opt = optim.SGD(fcn.parameters(), lr=0.25, momentum=0.9)
    accum_steps = 8
    with watch(fcn, opt) as w:
        for ep in range(8):
            fcn.train()
            tot = 0.0
            opt.zero_grad()
            for k, (x, y) in enumerate(dl):
                out = fcn(x)
                loss = F.cross_entropy(out, y)
                (loss if fault else loss / accum_steps).backward()
                tot += loss.item()
                if (k + 1) % accum_steps == 0:
                    opt.step()
                    opt.zero_grad()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            fcn.eval()
            with torch.no_grad():
                o = fcn(vx)
                p = o.argmax(1)
                miou = np.mean(
                    [
                        ((p == c) & (vy == c)).sum().item() / max(1, ((p == c) | (vy == c)).sum().item())
                        for c in range(3)
                    ]
                )
            w.epoch(train={"loss": tot / len(dl)}, val={"loss": F.cross_entropy(o, vy).item(), "miou": miou})
    return float(miou)


def shared_encoder_in_two_optimizers(watch, seed, fault):
    """24. Two tasks with an optimizer each; the shared encoder is in both optimizers and is stepped twice per iteration."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = table(load_wine, seed, test=0.3)
    ra, rb = Xa[:, 9].clone(), Xb[:, 9].clone()  # second task: the colour intensity from the other columns
    Xa[:, 9] = 0
    Xb[:, 9] = 0
    encoder = nn.Sequential(nn.Linear(13, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    cls_head, reg_head = nn.Linear(32, 3), nn.Linear(32, 1)
    opt_cls = optim.SGD(list(encoder.parameters()) + list(cls_head.parameters()), lr=0.05, momentum=0.9)
    if fault:
        opt_reg = optim.SGD(list(encoder.parameters()) + list(reg_head.parameters()), lr=0.05, momentum=0.9)
    else:
        opt_reg = optim.SGD(reg_head.parameters(), lr=0.05, momentum=0.9)
    with watch([encoder, cls_head, reg_head], [opt_cls, opt_reg]) as w:
        for epoch in range(15):
            acc_loss = []
            for b in torch.randperm(len(Xa)).split(16):
                h = encoder(Xa[b])
                logits, value = cls_head(h), reg_head(h)[:, 0]
                loss = F.cross_entropy(logits, ya[b]) + F.mse_loss(value, ra[b])
                opt_cls.zero_grad()
                opt_reg.zero_grad()
                loss.backward()
                opt_cls.step()
                opt_reg.step()
                acc_loss.append(loss.item())
                w.step(loss=loss, inputs=Xa[b], targets=ya[b], outputs=logits)
            with torch.no_grad():
                h = encoder(Xb)
                lv = (F.cross_entropy(cls_head(h), yb) + F.mse_loss(reg_head(h)[:, 0], rb)).item()
                acc = (cls_head(h).argmax(1) == yb).float().mean().item()
            w.epoch(train={"loss": np.mean(acc_loss)}, val={"loss": lv, "accuracy": acc})
    return acc


def rollback_with_the_first_optimizer_state(watch, seed, fault):
    """25. Late in training the run goes back to its checkpoint; the optimizer part of it was saved before training, so moments and LR are reset."""
    torch.manual_seed(seed)
    xa, xb, ya, yb = digit_pictures(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    opt = optim.Adam(net.parameters(), lr=3e-2)
    gamma, epochs = 0.6, 12

    def save(buf_model, buf_opt):
        buf = io.BytesIO()
        torch.save({"model": buf_model, "optimizer": buf_opt}, buf)
        return buf.getvalue()

    first_opt = {"state": {}, "param_groups": [dict(g) for g in opt.state_dict()["param_groups"]]}
    ckpt = save(net.state_dict(), opt.state_dict())
    best = float("inf")
    with watch(net, opt) as w:
        for ep in range(epochs):
            if ep == epochs * 3 // 4:  # continue from the best weights so far
                c = torch.load(io.BytesIO(ckpt))
                net.load_state_dict(c["model"])
                opt.load_state_dict(c["optimizer"])
            net.train()
            s = 0.0
            for i in torch.randperm(len(xa)).split(64):
                o = net(xa[i])
                loss = F.cross_entropy(o, ya[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item() * len(i)
                w.step(loss=loss, inputs=xa[i], targets=ya[i], outputs=o)
            for g in opt.param_groups:
                g["lr"] *= gamma
            net.eval()
            with torch.no_grad():
                o = net(xb)
                vl, va = F.cross_entropy(o, yb).item(), (o.argmax(1) == yb).float().mean().item()
            if vl < best:
                best = vl
                ckpt = save(net.state_dict(), first_opt if fault else opt.state_dict())
            w.epoch(train={"loss": s / len(xa)}, val={"loss": vl, "accuracy": va})
    return -vl + 1  # held-out likelihood, 1 is best


def burst_after_a_quiet_stretch(watch, seed, fault):
    """26. The stream is not shuffled: a long idle stretch lets Adam's second moment decay to nothing, the burst after it blows the weights up."""
    torch.manual_seed(seed)
    n_idle, n_live = 24000, 2400
    teacher = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 1))
    with torch.no_grad():
        Xl = torch.randn(n_live + 1000, 8)
        yl = teacher(Xl) * 3
        Xi = 0.01 * torch.randn(n_idle, 8)  # the machine stands still: all readings about zero
        yi = teacher(Xi) * 3
    Xv, yv = Xl[n_live:], yl[n_live:]
    stream_x, stream_y = torch.cat([Xi, Xl[:n_live]]), torch.cat([yi, yl[:n_live]])
    if not fault:
        p = torch.randperm(len(stream_x))
        stream_x, stream_y = stream_x[p], stream_y[p]
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    adam = optim.Adam(model.parameters(), lr=3e-2, betas=(0.9, 0.999))
    with watch(model, adam) as w:
        for k in range(0, len(stream_x), 16):
            x, y = stream_x[k : k + 16], stream_y[k : k + 16]
            out = model(x)
            loss = F.mse_loss(out, y)
            adam.zero_grad()
            loss.backward()
            adam.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=out)
    with torch.no_grad():
        return 1 - F.mse_loss(model(Xv), yv).item() / yv.var().item()


PROGRAMS = [
    accumulation_without_division,
    shared_encoder_in_two_optimizers,
    rollback_with_the_first_optimizer_state,
    burst_after_a_quiet_stretch,
]
