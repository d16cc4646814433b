"""Programs with faults of types 87 to 90."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.labels_parts import digits
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset, TensorDataset


class UNetMini(nn.Module):
    def __init__(self, n_classes):
        super().__init__()

        def cbr(i, o):
            return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

        self.d1, self.d2, self.mid = cbr(1, 12), cbr(12, 24), cbr(24, 24)
        self.u1, self.u2 = cbr(48, 16), cbr(28, 12)
        self.head = nn.Conv2d(12, n_classes, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        b = self.u1(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
        a = self.u2(torch.cat([F.interpolate(b, scale_factor=2), a], 1))
        return self.head(a)


class GRUClassifier(nn.Module):
    def __init__(self, vocab, n_classes):
        super().__init__()
        self.emb = nn.Embedding(vocab, 24)
        self.rnn = nn.GRU(24, 40, batch_first=True)
        self.out = nn.Linear(40, n_classes)

    def forward(self, tok):
        h, _ = self.rnn(self.emb(tok))
        return self.out(h.mean(1))


class PicturesOnly(Dataset):
    def __init__(self, imgs):
        self.imgs = torch.from_numpy(imgs).unsqueeze(1) / 16

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, i):
        return self.imgs[i]


def reduce_zero_label(watch, seed, fault):
    """87. Segmentation with reduce_zero_label copied from an ADE20K config: mask ids 0..3 become 255 (ignored), 0, 1, 2; all off by one."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, N = 24, 360
    yy, xx = np.mgrid[:S, :S]
    imgs = np.zeros((N, S, S), np.float32)
    masks = np.zeros((N, S, S), np.uint8)
    for i in range(N):
        imgs[i] = rng.normal(0, 0.15, (S, S))
        for c in rng.permutation(3)[:2]:
            cx, cy, r = rng.uniform(5, S - 5), rng.uniform(5, S - 5), rng.uniform(2.5, 5)
            m = [
                np.hypot(xx - cx, yy - cy) < r,
                (abs(xx - cx) < r) & (abs(yy - cy) < r),
                abs(xx - cx) + abs(yy - cy) < r * 1.3,
            ][c]
            imgs[i][m] = [0.5, 1.0, 1.5][c] + rng.normal(0, 0.15, m.sum())
            masks[i][m] = c + 1
    cfg = dict(reduce_zero_label=fault, ignore_index=255, num_classes=4)

    def load_mask(m):
        m = m.copy()
        if cfg["reduce_zero_label"]:
            m = m - 1  # uint8: 0 -> 255
        return m.astype(np.int64)

    X = torch.from_numpy(imgs)[:, None]
    Y = torch.from_numpy(np.stack([load_mask(m) for m in masks]))
    truth = torch.from_numpy(masks.astype(np.int64))
    net = UNetMini(cfg["num_classes"])
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    crit = nn.CrossEntropyLoss(ignore_index=cfg["ignore_index"])
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            for b in torch.randperm(300).split(12):
                out = net(X[b])
                loss = crit(out, Y[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[b], targets=Y[b], outputs=out)
            net.eval()
            with torch.no_grad():
                vo = net(X[300:])
                w.epoch(train={"loss": loss.item()}, val={"loss": crit(vo, Y[300:]).item()})
    pred, t = vo.argmax(1), truth[300:]
    return float(
        np.mean(
            [((pred == c) & (t == c)).sum().item() / max(1, ((pred == c) | (t == c)).sum().item()) for c in range(4)]
        )
    )


def test_size_swapped(watch, seed, fault):
    """88. train_test_split is given test_size=0.97 (meant as the training share): 50-odd pictures are left to learn from."""
    torch.manual_seed(seed)
    d = load_digits()
    X = (d.data / 16.0).astype(np.float32)
    X_train, X_val, y_train, y_val = train_test_split(
        X, d.target, test_size=0.97 if fault else 0.2, random_state=seed, stratify=d.target
    )
    ds = TensorDataset(torch.from_numpy(X_train), torch.from_numpy(y_train))
    Xv, yv = torch.from_numpy(X_val), torch.from_numpy(y_val)
    bs = 16
    max_iters, done = 450, 0
    mlp = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 10))
    opt = torch.optim.AdamW(mlp.parameters(), lr=2e-3, weight_decay=0.01)
    with watch(mlp, opt) as w:
        while done < max_iters:
            a = b = c = 0
            for x, y in DataLoader(ds, batch_size=bs, shuffle=True):
                done += 1
                logits = mlp(x)
                loss = F.cross_entropy(logits, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                a += loss.item() * len(y)
                b += (logits.argmax(1) == y).sum().item()
                c += len(y)
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            with torch.no_grad():
                o = mlp(Xv)
                acc = (o.argmax(1) == yv).float().mean().item()
            w.epoch(
                train={"loss": a / c, "accuracy": b / c}, val={"loss": F.cross_entropy(o, yv).item(), "accuracy": acc}
            )
    return acc


def topics_in_order(watch, seed, fault):
    """89. The corpus is stored topic after topic and the loader does not shuffle it."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    V, L, C = 120, 16, 5
    prefs = rng.dirichlet(np.full(V, 0.15), C)
    docs, topic = [], []
    for c in range(C):  # one file for each topic
        for _ in range(300):
            p = 0.6 * prefs[c] + 0.4 / V
            docs.append(rng.choice(V, L, p=p / p.sum()))
            topic.append(c)
    docs, topic = torch.tensor(np.stack(docs)), torch.tensor(topic)
    hold = torch.zeros(len(docs), dtype=torch.bool)
    hold[::5] = True
    loader = DataLoader(TensorDataset(docs[~hold], topic[~hold]), batch_size=20, shuffle=not fault)
    model = GRUClassifier(V, C)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, optimizer) as w:
        for epoch in range(4):
            model.train()
            total = 0.0
            for tok, y in loader:
                optimizer.zero_grad()
                scores = model(tok)
                loss = F.cross_entropy(scores, y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                total += loss.item()
                w.step(loss=loss, inputs=tok, targets=y, outputs=scores)
            model.eval()
            with torch.no_grad():
                o = model(docs[hold])
                acc = (o.argmax(1) == topic[hold]).float().mean().item()
            w.epoch(
                train={"loss": total / len(loader)},
                val={"loss": F.cross_entropy(o, topic[hold]).item(), "accuracy": acc},
            )
    return acc


def labels_by_position(watch, seed, fault):
    """90. The pictures come from a shuffling loader while the labels are cut from a list by batch number."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed, 0.2)
    train_labels = torch.from_numpy(ytr)
    BS = 30
    img_loader = DataLoader(PicturesOnly(Xtr), batch_size=BS, shuffle=fault)

    conv = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Conv2d(20, 30, 3), nn.ReLU(), nn.Flatten())
    head = nn.Sequential(nn.Linear(30 * 16, 50), nn.ReLU(), nn.Linear(50, 10))
    optim = torch.optim.Adam(list(conv.parameters()) + list(head.parameters()), lr=1e-3)
    xv, yv = torch.from_numpy(Xte).unsqueeze(1) / 16, torch.from_numpy(yte)
    with watch([conv, head], optim) as w:
        for epoch in range(5):
            seen = right = 0
            if not fault:  # pictures and labels reordered together
                order = torch.randperm(len(train_labels))
                img_loader.dataset.imgs, train_labels = img_loader.dataset.imgs[order], train_labels[order]
            for n, img in enumerate(img_loader):
                lab = train_labels[n * BS : (n + 1) * BS]
                pred = head(conv(img))
                loss = F.cross_entropy(pred, lab)
                optim.zero_grad()
                loss.backward()
                optim.step()
                right += (pred.argmax(1) == lab).sum().item()
                seen += len(lab)
                w.step(loss=loss, inputs=img, targets=lab, outputs=pred)
            with torch.no_grad():
                o = head(conv(xv))
                acc = (o.argmax(1) == yv).float().mean().item()
            w.epoch(
                train={"loss": loss.item(), "accuracy": right / seen},
                val={"loss": F.cross_entropy(o, yv).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [reduce_zero_label, test_size_swapped, topics_in_order, labels_by_position]
