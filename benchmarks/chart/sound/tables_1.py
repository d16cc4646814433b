"""Sound programs: friedman rprop to pinball quantiles."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import make_classification, make_friedman1
from sklearn.metrics import average_precision_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def friedman_rprop(watch, seed, fault):
    """0. Friedman regression by a tanh MLP, full batch, with Rprop."""
    torch.manual_seed(seed)
    X, y = make_friedman1(n_samples=1200, n_features=10, noise=0.5, random_state=seed)
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.25, random_state=seed)
    sx, mu, sd = StandardScaler().fit(Xtr), ytr.mean(), ytr.std()
    Xtr = torch.tensor(sx.transform(Xtr), dtype=torch.float32)
    Xte = torch.tensor(sx.transform(Xte), dtype=torch.float32)
    ytr = torch.tensor((ytr - mu) / sd, dtype=torch.float32)[:, None]
    yte = torch.tensor((yte - mu) / sd, dtype=torch.float32)[:, None]
    net = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 1))
    opt = torch.optim.Rprop(net.parameters(), lr=1e-3, step_sizes=(1e-6, 0.05))
    with watch(net, opt) as w:
        for it in range(150):
            opt.zero_grad()
            pred = net(Xtr)
            loss = F.mse_loss(pred, ytr)
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=Xtr, targets=ytr, outputs=pred)
            if (it + 1) % 25 == 0:
                with torch.no_grad():
                    vloss = F.mse_loss(net(Xte), yte).item()
                w.epoch(train={"loss": loss.item()}, val={"loss": vloss})
    with torch.no_grad():
        return float(r2_score(yte.numpy(), net(Xte).numpy()))


def fraud_pos_weight(watch, seed, fault):
    """1. Fraud at three per cent with pos_weight, batch norm and average precision as the measure."""
    torch.manual_seed(seed)
    X, y = make_classification(
        6000, 20, n_informative=8, n_redundant=4, weights=[0.97], class_sep=1.6, flip_y=0.002, random_state=seed
    )
    Xtr, Xva, ytr, yva = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    sc = StandardScaler().fit(Xtr)
    tr = TensorDataset(torch.tensor(sc.transform(Xtr)).float(), torch.tensor(ytr).float())
    xv, yv = torch.tensor(sc.transform(Xva)).float(), torch.tensor(yva).float()
    loader = DataLoader(tr, batch_size=256, shuffle=True, drop_last=True)
    model = nn.Sequential(
        nn.Linear(20, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )
    pos_weight = torch.tensor(float((ytr == 0).sum() / (ytr == 1).sum()))
    criterion = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    ap = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(14):
            model.train()
            total = 0.0
            for xb, yb in loader:
                optimizer.zero_grad(set_to_none=True)
                logits = model(xb).squeeze(1)
                loss = criterion(logits, yb)
                loss.backward()
                optimizer.step()
                total += loss.item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            model.eval()
            with torch.no_grad():
                lv = model(xv).squeeze(1)
                vl = criterion(lv, yv).item()
            ap = average_precision_score(yva, lv.numpy())
            w.epoch(train={"loss": total / len(loader)}, val={"loss": vl, "average_precision": ap})
    return float(ap)


def shop_categories(watch, seed, fault):
    """2. Sales of shops from embedded categories and two numbers, AdamW with OneCycle."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n, cards = 4000, [30, 12, 7]
    cats = np.stack([rng.integers(0, c, n) for c in cards], 1)
    nums = rng.normal(size=(n, 2))
    effects = [rng.normal(size=c) for c in cards]
    y = (
        sum(e[cats[:, i]] for i, e in enumerate(effects))
        + nums[:, 0] * (cats[:, 2] - 3) * 0.5
        + 0.2 * rng.normal(size=n)
    )
    y = (y - y[:3000].mean()) / y[:3000].std()
    cats, nums, y = torch.tensor(cats), torch.tensor(nums).float(), torch.tensor(y).float()

    class TabNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.ModuleList(nn.Embedding(c, min(8, (c + 1) // 2)) for c in cards)
            width = sum(e.embedding_dim for e in self.emb) + 2
            self.body = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.05), nn.Linear(64, 32), nn.ReLU())
            self.head = nn.Linear(32, 1)

        def forward(self, c, x):
            z = torch.cat([e(c[:, i]) for i, e in enumerate(self.emb)] + [x], 1)
            return self.head(self.body(z)).squeeze(-1)

    model = TabNet()
    loader = DataLoader(TensorDataset(cats[:3000], nums[:3000], y[:3000]), batch_size=128, shuffle=True)
    epochs = 15
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=8e-3, total_steps=epochs * len(loader))
    with watch(model, opt) as w:
        for epoch in range(epochs):
            model.train()
            run, seen = 0.0, 0
            for c, x, t in loader:
                p = model(c, x)
                loss = F.smooth_l1_loss(p, t)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                run += loss.item() * len(t)
                seen += len(t)
                w.step(loss=loss.item(), inputs=(c, x), targets=t, outputs=p)
            model.eval()
            with torch.no_grad():
                pv = model(cats[3000:], nums[3000:])
                vl = F.smooth_l1_loss(pv, y[3000:]).item()
            w.epoch(train={"loss": run / seen}, val={"loss": vl})
    return float(r2_score(y[3000:], pv))


def pinball_quantiles(watch, seed, fault):
    """3. Three quantiles of a skewed noise at once by the pinball loss."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(3000, 1, generator=g) * 4 - 2
    y = torch.sin(2 * x) + (0.2 + 0.3 * x.abs()) * (-torch.log(torch.rand(3000, 1, generator=g).clamp_min(1e-6)) - 1)
    xtr, ytr, xte, yte = x[:2200], y[:2200], x[2200:], y[2200:]
    q = torch.tensor([0.1, 0.5, 0.9])

    def pinball(pred, target):
        e = target - pred
        return torch.maximum(q * e, (q - 1) * e).mean()

    net = nn.Sequential(nn.Linear(1, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 3))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=400)
    with watch(net, opt) as w:
        for step in range(400):
            idx = torch.randint(0, len(xtr), (128,))
            out = net(xtr[idx])
            loss = pinball(out, ytr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            w.step(loss=loss, inputs=xtr[idx], targets=ytr[idx], outputs=out)
            if step % 50 == 49:
                with torch.no_grad():
                    w.epoch(
                        train={"pinball": pinball(net(xtr), ytr).item()}, val={"pinball": pinball(net(xte), yte).item()}
                    )
    with torch.no_grad():
        naive = pinball(torch.quantile(ytr, q)[None, :].expand(len(xte), 3), yte)
        return 1 - (pinball(net(xte), yte) / naive).item()


PROGRAMS = [friedman_rprop, fraud_pos_weight, shop_categories, pinball_quantiles]
