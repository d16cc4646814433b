"""Programs with faults of types 17 to 19."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


def rmsprop_eps_from_tf(watch, seed, fault):
    """17. EfficientNet-like net with Adam(eps=1.0), an epsilon copied from an Inception recipe: it drowns the root of v and the updates vanish."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    class MBConv(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            e = 3 * i
            self.net = nn.Sequential(
                nn.Conv2d(i, e, 1, bias=False),
                nn.BatchNorm2d(e),
                nn.SiLU(),
                nn.Conv2d(e, e, 3, s, 1, groups=e, bias=False),
                nn.BatchNorm2d(e),
                nn.SiLU(),
            )
            self.se = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(e, i, 1), nn.SiLU(), nn.Conv2d(i, e, 1), nn.Sigmoid()
            )
            self.out = nn.Sequential(nn.Conv2d(e, o, 1, bias=False), nn.BatchNorm2d(o))
            self.skip = s == 1 and i == o

        def forward(self, x):
            z = self.net(x)
            z = self.out(z * self.se(z))
            return x + z if self.skip else z

    net = nn.Sequential(
        cbr(1, 16),
        MBConv(16, 16, 1),
        MBConv(16, 32, 2),
        MBConv(32, 32, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, eps=1.0 if fault else 1e-8)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 48, shuffle=True):
                opt.zero_grad()
                p = net(x)
                loss = F.cross_entropy(p, y)
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=p)
            net.eval()
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def regression_eps_tenth(watch, seed, fault):
    """17. An LSTM forecaster with AdamW(eps=1e-1): its gradients are far below 0.1, so the normalisation is gone and nothing moves."""
    torch.manual_seed(seed)
    t = torch.arange(0, 1400).float()
    s = torch.sin(t * 0.3) + 0.5 * torch.sin(t * 0.11) + 0.05 * torch.randn(1400)
    W = s.unfold(0, 21, 1)
    x, y = W[:, :20, None], W[:, 20]
    lstm, lin = nn.LSTM(1, 24, batch_first=True), nn.Linear(24, 1)
    params = list(lstm.parameters()) + list(lin.parameters())
    opt = torch.optim.AdamW(params, lr=5e-3, eps=(1e-1 if fault else 1e-8), weight_decay=0)
    n = 1100
    with watch([lstm, lin], opt) as w:
        for ep in range(6):
            for k in torch.randperm(n).split(50):
                f = lin(lstm(x[k])[0][:, -1])[:, 0]
                loss = F.smooth_l1_loss(f, y[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[k], targets=y[k], outputs=f)
            with torch.no_grad():
                v = F.mse_loss(lin(lstm(x[n:])[0][:, -1])[:, 0], y[n:]).item()
            w.epoch(train={"loss": loss.item()}, val={"mse": v})
    return 1 - v / y[n:].var().item()


def momentum_three_nines(watch, seed, fault):
    """18. SGD momentum 0.999 for 0.9 with the same learning rate: a CNN on digits swings and diverges."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    cnn = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.SGD(cnn.parameters(), lr=0.045, momentum=0.999 if fault else 0.9)
    with watch(cnn, optimizer) as w:
        for epoch in range(6):
            total, correct = 0.0, 0
            for images, target in DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True):
                optimizer.zero_grad()
                output = cnn(images)
                loss = F.nll_loss(F.log_softmax(output, 1), target)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(target)
                correct += output.argmax(1).eq(target).sum().item()
                w.step(loss=loss, inputs=images, targets=target, outputs=output)
            with torch.no_grad():
                o = cnn(Xte)
            acc = o.argmax(1).eq(yte).float().mean().item()
            w.epoch(
                train={"loss": total / len(ytr), "accuracy": correct / len(ytr)},
                val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc},
            )
    return acc


def clip_max_norm_eps(watch, seed, fault):
    """19. clip_grad_norm_ gets 1e-5 as max_norm (an eps was meant), so each SGD step of a GRU text classifier is next to nothing."""
    torch.manual_seed(seed)
    V = 30
    x = torch.randint(1, V, (1000, 12))
    y = ((x < 6).sum(1) > (x > 24).sum(1)).long()

    class TextGRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(V, 16)
            self.rnn = nn.GRU(16, 32, batch_first=True, bidirectional=True)
            self.classifier = nn.Linear(64, 2)

        def forward(self, ids):
            out, _ = self.rnn(self.embedding(ids))
            return self.classifier(out.mean(1))

    model = TextGRU()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for ids, lab in DataLoader(TensorDataset(x[:800], y[:800]), batch_size=32, shuffle=True):
                optimizer.zero_grad()
                logits = model(ids)
                loss = criterion(logits, lab)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1e-5 if fault else 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=ids, targets=lab, outputs=logits)
            with torch.no_grad():
                o = model(x[800:])
            acc = (o.argmax(1) == y[800:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": criterion(o, y[800:]).item(), "accuracy": acc})
    return acc


def clip_value_tiny(watch, seed, fault):
    """19. An SSD-like anchor detector clips its gradient norm at 1e-5 'to be on the safe side' before SGD."""
    torch.manual_seed(seed)
    X, Y, _, B = shape_pictures(600, seed + 4, size=32, noise=0.1, rmin=4, rmax=9)
    gy, gx = torch.meshgrid(torch.arange(4) * 8 + 4.0, torch.arange(4) * 8 + 4.0, indexing="ij")
    anchors = torch.stack([gx.flatten(), gy.flatten()], 1)  # 16 anchor centres
    d = torch.cdist(B[:, :2], anchors)
    near = d.argmin(1)
    T = torch.zeros(len(X), 16, dtype=torch.long)
    T[torch.arange(len(X)), near] = Y + 1
    off = (B[:, :2] - anchors[near]) / 8
    trunk = nn.Sequential(cbr(3, 16, 2), cbr(16, 32, 2), cbr(32, 48, 2), cbr(48, 48))
    cls, reg = nn.Conv2d(48, 5, 3, padding=1), nn.Conv2d(48, 2, 3, padding=1)
    ssd = nn.ModuleDict({"trunk": trunk, "cls": cls, "reg": reg})
    opt = torch.optim.SGD(ssd.parameters(), lr=0.05, momentum=0.9)
    cw = torch.tensor([0.2, 1, 1, 1, 1])

    def forward(x):
        f = trunk(x)
        return cls(f).flatten(2), reg(f).flatten(2)

    with watch(ssd, opt) as w:
        for epoch in range(12):
            ssd.train()
            for k in torch.randperm(500).split(25):
                c, r = forward(X[k])
                rr = r[torch.arange(len(k)), :, near[k]]
                loss = F.cross_entropy(c, T[k], weight=cw) + F.smooth_l1_loss(rr, off[k])
                opt.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(ssd.parameters(), max_norm=1e-5 if fault else 10.0)
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=T[k], outputs=c)
            ssd.eval()
            with torch.no_grad():
                c, r = forward(X[500:])
            p = c.softmax(1)[:, 1:]
            best = p.flatten(1).argmax(1)
            lab, pos = best // 16, best % 16
            xy = anchors[pos] + 8 * r[torch.arange(100), :, pos]
            hit = ((xy - B[500:, :2]).norm(dim=1) < 4) & (lab == Y[500:])
            w.epoch(train={"loss": loss.item()}, val={"hit_rate": hit.float().mean().item()})
    return hit.float().mean().item()


PROGRAMS = [rmsprop_eps_from_tf, regression_eps_tenth, momentum_three_nines, clip_max_norm_eps, clip_value_tiny]
