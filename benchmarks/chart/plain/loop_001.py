"""Programs with faults of types 1 to 4."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loop_parts import digits
from sklearn.datasets import make_friedman1
from torch.utils.data import DataLoader, TensorDataset


class TinyUNet(nn.Module):
    def __init__(self, c=12):
        super().__init__()

        def block(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.GroupNorm(4, o), nn.ReLU())

        self.d1, self.d2, self.mid = block(1, c), block(c, 2 * c), block(2 * c, 2 * c)
        self.u2, self.u1 = block(4 * c, c), block(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        m = self.mid(F.max_pool2d(b, 2))
        m = self.u2(torch.cat([F.interpolate(m, scale_factor=2), b], 1))
        m = self.u1(torch.cat([F.interpolate(m, scale_factor=2), a], 1))
        return self.out(m)


def discs(n, rng, size=24):
    yy, xx = np.mgrid[:size, :size]
    X, M = [], []
    for _ in range(n):
        cx, cy, r = rng.uniform(6, size - 6, 2).tolist() + [rng.uniform(3, 6)]
        m = ((xx - cx) ** 2 + (yy - cy) ** 2 < r * r).astype(np.float32)
        im = m * rng.uniform(0.5, 1.2) + rng.normal(0, 0.35, (size, size))
        X.append(im[None])
        M.append(m[None])
    return torch.tensor(np.array(X), dtype=torch.float32), torch.tensor(np.array(M))


class SeqGRU(nn.Module):
    def __init__(self, vocab=12, dim=24, hidden=48, classes=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.cls = nn.Linear(hidden, classes)

    def forward(self, tokens):
        _, h = self.gru(self.embed(tokens))
        return self.cls(h[-1])


def cleared_once_an_epoch(watch, seed, fault):
    """1. zero_grad() stands above the batch loop (once an epoch), so gradients pile up over all batches of the epoch."""
    torch.manual_seed(seed)
    xtr, xte, ytr, yte = digits(seed)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=32, shuffle=True, drop_last=True)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    criterion = nn.CrossEntropyLoss()
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(4):
            net.train()
            opt.zero_grad()
            running, hits, seen = 0.0, 0, 0
            for img, lab in loader:
                if not fault:
                    opt.zero_grad()
                logits = net(img)
                loss = criterion(logits, lab)
                loss.backward()
                opt.step()
                running += loss.item() * len(lab)
                hits += (logits.argmax(1) == lab).sum().item()
                seen += len(lab)
                w.step(loss=loss, inputs=img, targets=lab, outputs=logits)
            net.eval()
            with torch.no_grad():
                out = net(xte)
                vl, va = criterion(out, yte).item(), (out.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": running / seen, "accuracy": hits / seen}, val={"loss": vl, "accuracy": va})
    return va


def unet_trainer_wipes_gradients(watch, seed, fault):
    """2. The trainer's update method clears the gradients after backward and before step (U-Net on discs)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X, M = discs(320, rng)
    Xv, Mv = discs(80, rng)

    class Trainer:
        def __init__(self, model):
            self.model = model
            self.optim = torch.optim.Adam(model.parameters(), lr=3e-3)

        def compute_loss(self, logits, mask):
            bce = F.binary_cross_entropy_with_logits(logits, mask)
            p = torch.sigmoid(logits)
            dice = 1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1)
            return bce + dice

        def update(self, loss):
            if fault:
                loss.backward()
                self.optim.zero_grad()
                self.optim.step()
            else:
                self.optim.zero_grad()
                loss.backward()
                self.optim.step()

        @torch.no_grad()
        def evaluate(self):
            self.model.eval()
            lg = self.model(Xv)
            pred = (lg > 0).float()
            iou = ((pred * Mv).sum() / ((pred + Mv) > 0).float().sum()).item()
            return self.compute_loss(lg, Mv).item(), iou

        def fit(self, epochs, w):
            for ep in range(epochs):
                self.model.train()
                tot = []
                for idx in torch.randperm(len(X)).split(16):
                    logits = self.model(X[idx])
                    loss = self.compute_loss(logits, M[idx])
                    self.update(loss)
                    tot.append(loss.item())
                    w.step(loss=loss, inputs=X[idx], targets=M[idx], outputs=logits)
                vl, iou = self.evaluate()
                w.epoch(train={"loss": sum(tot) / len(tot)}, val={"loss": vl, "iou": iou})
            return iou

    t = Trainer(TinyUNet())
    with watch(t.model, t.optim) as w:
        return t.fit(5, w)


def backward_only_in_the_amp_branch(watch, seed, fault):
    """3. backward() is called only in the mixed-precision branch, and the run is in full precision: no gradients ever."""
    torch.manual_seed(seed)
    X, y = make_friedman1(1500, noise=0.5, random_state=seed)
    X = torch.tensor(X, dtype=torch.float32)
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    Xtr, Xva, ytr, yva = X[:1200], X[1200:], y[:1200], y[1200:]
    regressor = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(regressor.parameters(), lr=5e-3)
    use_amp = False
    scaler = torch.amp.GradScaler("cpu", enabled=use_amp) if use_amp else None

    with watch(regressor, optimizer) as w:
        for epoch in range(8):
            losses = []
            perm = torch.randperm(len(Xtr))
            for i in range(0, len(Xtr), 60):
                batch, target = Xtr[perm[i : i + 60]], ytr[perm[i : i + 60]]
                optimizer.zero_grad(set_to_none=True)
                pred = regressor(batch)
                loss = F.mse_loss(pred, target)
                if use_amp:
                    scaler.scale(loss).backward()
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    if not fault:
                        loss.backward()
                    optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=batch, targets=target, outputs=pred)
            with torch.no_grad():
                vmse = F.mse_loss(regressor(Xva), yva).item()
            w.epoch(train={"loss": np.mean(losses)}, val={"loss": vmse})
    return 1 - vmse / yva.var().item()


def only_the_scheduler_steps(watch, seed, fault):
    """4. In each iteration scheduler.step() is called where optimizer.step() should be; the weights never change (GRU)."""
    torch.manual_seed(seed)
    tokens = torch.randint(0, 12, (1600, 14))
    labels = (tokens == 3).sum(1).clamp(max=1) * 2 + (tokens[:, -1] < 6).long()  # is a 3 in it, is the end small
    keep = 1280
    net = SeqGRU()
    opt = torch.optim.Adam(net.parameters(), lr=8e-3)
    epochs, bs = 8, 64
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=epochs * (keep // bs))
    with watch(net, opt) as w:
        for _ in range(epochs):
            net.train()
            order = torch.randperm(keep)
            for b in order.split(bs):
                scores = net(tokens[b])
                loss = F.cross_entropy(scores, labels[b])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                if not fault:
                    opt.step()
                sched.step()
                w.step(loss=loss, inputs=tokens[b], targets=labels[b], outputs=scores)
    net.eval()
    with torch.no_grad():
        return (net(tokens[keep:]).argmax(1) == labels[keep:]).float().mean().item()


PROGRAMS = [
    cleared_once_an_epoch,
    unet_trainer_wipes_gradients,
    backward_only_in_the_amp_branch,
    only_the_scheduler_steps,
]
