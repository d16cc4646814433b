"""Programs with faults of types 24 to 26."""

import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import digits_images


def gan_generator_optimizer_holds_discriminator(watch, seed, fault):
    """24. A GAN on a ring of points: the generator's Adam was given G's and D's parameters, so D is also stepped - towards being fooled."""
    torch.manual_seed(seed)

    def real(n):
        a = torch.rand(n) * 2 * math.pi
        return torch.stack([a.cos(), a.sin()], 1) * 2 + 0.05 * torch.randn(n, 2)

    G = nn.Sequential(nn.Linear(4, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 2))
    D = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    opt_d = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.999))
    gp = list(G.parameters()) + list(D.parameters()) if fault else G.parameters()
    opt_g = torch.optim.Adam(gp, lr=1e-3, betas=(0.5, 0.999))
    bce = nn.BCEWithLogitsLoss()
    one, zero = torch.ones(128, 1), torch.zeros(128, 1)
    with watch([G, D], [opt_g, opt_d]) as w:
        for it in range(900):
            x, z = real(128), torch.randn(128, 4)
            fake = G(z)
            opt_d.zero_grad()
            loss_d = bce(D(x), one) + bce(D(fake.detach()), zero)
            loss_d.backward()
            opt_d.step()
            opt_g.zero_grad()
            loss_g = bce(D(fake), one)
            loss_g.backward()
            opt_g.step()
            w.step(loss=loss_g, inputs=z, outputs=fake)
    with torch.no_grad():
        f, r = G(torch.randn(800, 4)), real(800)
        energy = 2 * torch.cdist(f, r).mean() - torch.cdist(f, f).mean() - torch.cdist(r, r).mean()
    return -energy.item()


def resumed_without_optimizer(watch, seed, fault):
    """25. A run is resumed from a checkpoint of which only the model is loaded; the optimizer's momentum and its decayed learning rate start anew."""
    import io

    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    g = torch.Generator().manual_seed(seed)
    flip = torch.rand(len(ytr), generator=g) < 0.35
    ynoisy = torch.where(flip, torch.randint(0, 10, (len(ytr),), generator=g), ytr)

    def build():
        m = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        o = torch.optim.Adam(m.parameters(), lr=1e-2)
        return m, o, torch.optim.lr_scheduler.MultiStepLR(o, [4, 6], gamma=0.05)

    def evaluate(m):
        with torch.no_grad():
            out = m(Xte)
        return F.cross_entropy(out, yte).item(), (out.argmax(1) == yte).float().mean().item()

    model, optimizer, scheduler = build()
    for epoch in range(6):
        for k in torch.randperm(len(Xtr)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(Xtr[k]), ynoisy[k]).backward()
            optimizer.step()
        scheduler.step()
    buf = io.BytesIO()
    torch.save(
        {
            "epoch": 6,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        },
        buf,
    )

    # ---- the job is killed, next day:
    model, optimizer, scheduler = build()
    buf.seek(0)
    ckpt = torch.load(buf)
    model.load_state_dict(ckpt["model"])
    if not fault:
        optimizer.load_state_dict(ckpt["optimizer"])
        scheduler.load_state_dict(ckpt["scheduler"])
    with watch(model, optimizer) as w:
        for epoch in range(ckpt["epoch"], 8):
            for k in torch.randperm(len(Xtr)).split(32):
                optimizer.zero_grad()
                out = model(Xtr[k])
                loss = F.cross_entropy(out, ynoisy[k])
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=Xtr[k], targets=ynoisy[k], outputs=out)
            scheduler.step()
            l, acc = evaluate(model)
            w.epoch(train={"loss": loss.item()}, val={"loss": l, "accuracy": acc})
    return acc


def preempted_job_loses_adam_state(watch, seed, fault):
    """25. A job pre-empted after each epoch restores the model only, not Adam's state: the moments start from nothing every 20 steps (small drop)."""
    torch.manual_seed(seed)
    x = torch.rand(900, 6) * 2 - 1
    y = torch.stack([(x[:, :3].sum(1) * 3).sin(), x[:, 3] * x[:, 4]], 1)
    net = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    with watch(net, opt) as w:
        for epoch in range(24):
            for k in torch.randperm(800).split(40):
                pred = net(x[k])
                loss = F.mse_loss(pred, y[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[k], targets=y[k], outputs=pred)
            with torch.no_grad():
                v = F.mse_loss(net(x[800:]), y[800:]).item()
            w.epoch(train={"loss": loss.item()}, val={"loss": v})
            saved = {"model": copy.deepcopy(net.state_dict()), "optimizer": copy.deepcopy(opt.state_dict())}
            # the job is pre-empted here and goes on from `saved`
            net.load_state_dict(saved["model"])
            opt.state.clear()
            if not fault:
                opt.load_state_dict(saved["optimizer"])
    return 1 - v / y[800:].var().item()


def sorted_recording_quiet_then_loud(watch, seed, fault):
    """26. Vibration windows are fed in the order of recording: 700 near-silent batches shrink Adam's second moment to nothing, then the machine starts, the updates are huge and the loss spikes (it recovers in part)."""
    torch.manual_seed(seed)
    n_q, n_l = 7000, 1800
    t = torch.linspace(0, 1, 32)
    amp = torch.cat([torch.full((n_q,), 1e-3), torch.full((n_l,), 1.0)])
    fr = 2 + 6 * torch.rand(n_q + n_l)
    X = amp[:, None] * torch.sin(2 * math.pi * fr[:, None] * t + 6.28 * torch.rand(n_q + n_l, 1))
    y = amp * (fr - 5) / 2
    net = nn.Sequential(
        nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)
    )
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    order = torch.arange(n_q + n_l) if fault else torch.randperm(n_q + n_l)
    hold = torch.arange(n_q + n_l - 400, n_q + n_l)
    order = order[order < n_q + n_l - 400]
    with watch(net, opt) as w:
        for k in order.split(10):
            out = net(X[k])[:, 0]
            loss = F.mse_loss(out, y[k])
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=X[k], targets=y[k], outputs=out)
    with torch.no_grad():
        v = F.mse_loss(net(X[hold])[:, 0], y[hold]).item()
    return 1 - v / y[hold].var().item()


PROGRAMS = [
    gan_generator_optimizer_holds_discriminator,
    resumed_without_optimizer,
    preempted_job_loses_adam_state,
    sorted_recording_quiet_then_loud,
]
