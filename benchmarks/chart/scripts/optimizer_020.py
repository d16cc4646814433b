"""Programs with faults of types 20 to 24."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


def clip_before_unscale(watch, seed, fault):
    """20. Mixed precision: the gradients are clipped to 1.0 while they are still multiplied by the loss scale 65536, unscaling then leaves 1/65536."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    model = nn.Sequential(cbr(1, 16), cbr(16, 32, 2), nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    with watch(model, optimizer) as w:
        for epoch in range(4):
            model.train()
            for x, y in DataLoader(TensorDataset(Xtr, ytr), batch_size=48, shuffle=True):
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    out = model(x)
                    loss = F.cross_entropy(out.float(), y)
                scaler.scale(loss).backward()
                if not fault:
                    scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def clip_after_step(watch, seed, fault):
    """21. Gradient clipping stands after optimizer.step(): heavy-tailed targets throw a table regression about, the clip does nothing."""
    torch.manual_seed(seed)
    g = np.random.RandomState(seed)
    X = torch.tensor(g.normal(size=(1200, 8)), dtype=torch.float32)
    f = torch.sin(X[:, 0]) + X[:, 1] * X[:, 2] * 0.5 + 0.5 * X[:, 3]
    y = f.clone()
    out = torch.tensor(g.rand(1200) < 0.02)
    y[out] += torch.tensor(g.normal(size=1200) * 60, dtype=torch.float32)[out]
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.8)
    with watch(net, opt) as w:
        for epoch in range(12):
            ls = []
            for k in torch.randperm(1000).split(25):
                opt.zero_grad()
                pred = net(X[k]).squeeze(1)
                loss = F.mse_loss(pred, y[k])
                loss.backward()
                if fault:
                    opt.step()
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                else:
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    opt.step()
                ls.append(loss.item())
                w.step(loss=loss, inputs=X[k], targets=y[k], outputs=pred)
            with torch.no_grad():
                v = F.mse_loss(net(X[1000:]).squeeze(1), f[1000:]).item()
            w.epoch(train={"loss": float(np.mean(ls))}, val={"loss": v})
    return 1 - v / f[1000:].var().item()


def amp_always_skips(watch, seed, fault):
    """22. The edge term sqrt(d*d) has an infinite derivative at 0, so each gradient holds NaN and the GradScaler silently skips all steps."""
    torch.manual_seed(seed)
    clean, _, _, _ = shape_pictures(400, seed, size=24, noise=0.0, rmin=4, rmax=8)
    small = F.avg_pool2d(clean, 2)
    net = nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(3, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 3, 3, padding=1),
    )
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu")
    eps = 0.0 if fault else 1e-6

    def edges(z):
        dx, dy = z[..., :-1, 1:] - z[..., :-1, :-1], z[..., 1:, :-1] - z[..., :-1, :-1]
        return torch.sqrt(dx**2 + dy**2 + eps)

    with watch(net, opt) as w:
        for epoch in range(5):
            for k in torch.randperm(340).split(20):
                opt.zero_grad()
                sr = net(small[k])
                loss = F.l1_loss(sr, clean[k]) + 0.2 * F.l1_loss(edges(sr), edges(clean[k]))
                scaler.scale(loss).backward()
                scaler.step(opt)
                scaler.update()
                w.step(loss=loss, inputs=small[k], targets=clean[k], outputs=sr)
            with torch.no_grad():
                v = F.mse_loss(net(small[340:]), clean[340:]).item()
            w.epoch(train={"loss": loss.item()}, val={"mse": v})
    return 1 - v / clean[340:].var().item()


def scaler_made_anew(watch, seed, fault):
    """22. A new GradScaler with scale 2**127 is made in every iteration of a float32 run: the scaled loss overflows, the scale is never lowered, all steps are skipped."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    opt = torch.optim.Adam(mlp.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-20, growth_interval=2000)
    with watch(mlp, opt) as w:
        for epoch in range(4):
            for k in torch.randperm(len(Xtr)).split(32):
                if fault:
                    scaler = torch.amp.GradScaler(
                        "cpu", init_scale=2.0**127, backoff_factor=2.0**-20, growth_interval=2000
                    )
                opt.zero_grad()
                o = mlp(Xtr[k])
                loss = F.cross_entropy(o, ytr[k]) * 4
                scaler.scale(loss).backward()
                scaler.step(opt)
                scaler.update()
                w.step(loss=loss, inputs=Xtr[k], targets=ytr[k], outputs=o)
            with torch.no_grad():
                acc = (mlp(Xte).argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


def accumulation_without_division(watch, seed, fault):
    """23. Gradient accumulation over 16 micro-batches without dividing the loss by 16: the steps of a batch-norm-free CNN are 16 times too long."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    k = 16
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    opt = torch.optim.SGD(net.parameters(), lr=0.15, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(12):
            opt.zero_grad()
            for i, (x, y) in enumerate(DataLoader(TensorDataset(Xtr, ytr), batch_size=8, shuffle=True)):
                out = net(x)
                loss = F.cross_entropy(out, y)
                if not fault:
                    (loss / k).backward()
                else:
                    loss.backward()
                if (i + 1) % k == 0:
                    opt.step()
                    opt.zero_grad()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def two_heads_two_optimizers(watch, seed, fault):
    """24. Encoder with a class head and a box head: both optimizers hold the encoder's parameters, so it is stepped twice per batch (a slip, no drop in score)."""
    torch.manual_seed(seed)
    X, Y, _, B = shape_pictures(600, seed + 6, size=32, noise=0.1)
    B = B[:, :2] / 32
    encoder = nn.Sequential(cbr(3, 16, 2), cbr(16, 32), cbr(32, 32, 2), cbr(32, 64, 2), nn.Flatten())
    head_c, head_b = nn.Linear(1024, 4), nn.Linear(1024, 2)
    opt_c = torch.optim.Adam(list(encoder.parameters()) + list(head_c.parameters()), lr=1e-3)
    opt_b = torch.optim.Adam((list(encoder.parameters()) if fault else []) + list(head_b.parameters()), lr=1e-3)
    parts = [encoder, head_c, head_b]
    with watch(parts, [opt_c, opt_b]) as w:
        for epoch in range(8):
            encoder.train()
            for k in torch.randperm(500).split(25):
                z = encoder(X[k])
                oc, ob = head_c(z), head_b(z)
                loss = F.cross_entropy(oc, Y[k]) + 2 * F.mse_loss(ob, B[k])
                opt_c.zero_grad()
                opt_b.zero_grad()
                loss.backward()
                opt_c.step()
                opt_b.step()
                w.step(loss=loss, inputs=X[k], targets=Y[k], outputs=oc)
            encoder.eval()
            with torch.no_grad():
                z = encoder(X[500:])
                acc = (head_c(z).argmax(1) == Y[500:]).float().mean().item()
                vb = F.mse_loss(head_b(z), B[500:]).item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc, "box_mse": vb})
    return acc


PROGRAMS = [
    clip_before_unscale,
    clip_after_step,
    amp_always_skips,
    scaler_made_anew,
    accumulation_without_division,
    two_heads_two_optimizers,
]
