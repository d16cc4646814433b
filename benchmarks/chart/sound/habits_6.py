"""Sound programs: gradual unfreezing to resumed early stopping."""

import copy
import io

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


def gradual_unfreezing(watch, seed, fault):
    """17. Pretrain on a source task, then fine-tune a small target: head first, unfreezing downwards with layer-wise rates."""
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    X = torch.tensor((X - 4.88) / 6.02).float()
    y = torch.tensor(y)
    perm = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    X, y = X[perm], y[perm]
    src, tgt = y < 5, y >= 5
    body = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 32)])

    class Net(nn.Module):
        def __init__(self, head):
            super().__init__()
            self.body, self.head = body, head

        def forward(self, x):
            for l in self.body:
                x = F.relu(l(x))
            return self.head(x)

    pre = Net(nn.Linear(32, 5))
    po = torch.optim.Adam(pre.parameters(), lr=2e-3)
    for _ in range(6):  # pretraining, not watched
        for b in torch.randperm(int(src.sum())).split(64):
            po.zero_grad()
            F.cross_entropy(pre(X[src][b]), y[src][b]).backward()
            po.step()
    net = Net(nn.Linear(32, 5))
    Xt, yt = X[tgt], y[tgt] - 5
    tr, va = slice(0, 540), slice(540, None)
    groups = [{"params": net.head.parameters(), "lr": 4e-3}]
    groups += [{"params": l.parameters(), "lr": 2e-3 * 0.5 ** (2 - i)} for i, l in enumerate(net.body)]
    opt = torch.optim.AdamW(groups, weight_decay=0.01)
    net.body.requires_grad_(False)
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(14):
            if epoch in (3, 6, 9):
                net.body[2 - (epoch // 3 - 1)].requires_grad_(True)
            net.train()
            s = 0.0
            for b in torch.randperm(540).split(45):
                x, t = Xt[tr][b], yt[tr][b]
                o = net(x)
                loss = F.cross_entropy(o, t)
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item() / 12
                w.step(loss=loss, inputs=x, targets=t, outputs=o)
            net.eval()
            with torch.no_grad():
                o = net(Xt[va])
                acc = (o.argmax(1) == yt[va]).float().mean().item()
                w.epoch(train={"loss": s}, val={"loss": F.cross_entropy(o, yt[va]).item(), "accuracy": acc})
    return acc


def resumed_early_stopping(watch, seed, fault):
    """18. A run resumed from a checkpoint with optimizer and scheduler state, stopped early, best weights tested; FGSM examples are half of each loss."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed, test=0.4)
    half = len(Xte) // 2
    Xva, yva, Xte, yte = Xte[:half], yte[:half], Xte[half:], yte[half:]
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)

    def build():
        m = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
        o = torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        return m, o, torch.optim.lr_scheduler.MultiStepLR(o, [10, 14], 0.3)

    def losses(m, x, y, eps=0.1):
        xa = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(F.cross_entropy(m(xa), y), xa)
        out = m(x)
        return out, 0.5 * F.cross_entropy(out, y) + 0.5 * F.cross_entropy(m((x + eps * g.sign()).detach()), y)

    m, o, s = build()
    for _ in range(3):  # yesterday's session
        for x, y in loader:
            _, l = losses(m, x, y)
            o.zero_grad()
            l.backward()
            o.step()
        s.step()
    f = io.BytesIO()
    torch.save({"model": m.state_dict(), "opt": o.state_dict(), "sched": s.state_dict(), "epoch": 3}, f)
    f.seek(0)

    ck = torch.load(f)
    model, opt, sched = build()
    model.load_state_dict(ck["model"])
    opt.load_state_dict(ck["opt"])
    sched.load_state_dict(ck["sched"])
    best, best_sd, wait = float("inf"), None, 0
    with watch(model, opt) as w:
        for epoch in range(ck["epoch"], 18):
            model.train()
            tl = 0.0
            for x, y in loader:
                out, loss = losses(model, x, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / len(loader)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            sched.step()
            model.eval()
            with torch.no_grad():
                ov = model(Xva)
                vl = F.cross_entropy(ov, yva).item()
                w.epoch(train={"loss": tl}, val={"loss": vl, "accuracy": (ov.argmax(1) == yva).float().mean().item()})
            if vl < best:
                best, best_sd, wait = vl, copy.deepcopy(model.state_dict()), 0
            else:
                wait += 1
            if wait >= 4:
                break
    model.load_state_dict(best_sd)
    model.eval()
    with torch.no_grad():
        return (model(Xte).argmax(1) == yte).float().mean().item()


PROGRAMS = [gradual_unfreezing, resumed_early_stopping]
