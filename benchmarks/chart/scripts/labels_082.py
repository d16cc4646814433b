"""Programs with faults of types 82 to 84."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


def cast_to_uint8_blank(watch, seed, fault):
    """82. Pictures already in 0-1 are cast to uint8 before ToTensor-like scaling: every input is a black frame."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lab = rng.integers(0, 4, 640)
    raw = [np.clip(draw(rng, k, 28, (0.85, 0.8, 0.75))[0], 0, 0.98) for k in lab]

    def to_tensor(a):
        if fault:
            a = a.astype(np.uint8)
        else:
            a = (a * 255).astype(np.uint8)
        return torch.from_numpy(a).permute(2, 0, 1).float().div(255)

    X = torch.stack([to_tensor(a) for a in raw])
    X = (X - 0.5) / 0.5
    Y = torch.tensor(lab)

    def dw(i, o, s):
        return nn.Sequential(
            nn.Conv2d(i, i, 3, s, 1, groups=i, bias=False),
            nn.BatchNorm2d(i),
            nn.ReLU6(True),
            nn.Conv2d(i, o, 1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU6(True),
        )

    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.ReLU6(True),
        dw(16, 32, 2),
        dw(32, 48, 2),
        dw(48, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    train = DataLoader(TensorDataset(X[:512], Y[:512]), batch_size=32, shuffle=True)
    with watch(net, opt) as w:
        for ep in range(7):
            net.train()
            for images, labels in train:
                opt.zero_grad()
                preds = net(images)
                loss = F.cross_entropy(preds, labels)
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=images, targets=labels, outputs=preds)
            net.eval()
            with torch.no_grad():
                p = net(X[512:])
            acc = (p.argmax(1) == Y[512:]).float().mean().item()
            w.epoch(val={"loss": F.cross_entropy(p, Y[512:]).item(), "accuracy": acc})
    return acc


def shuffled_in_place(watch, seed, fault):
    """83. Before the split np.random.shuffle reorders the pictures but not the labels; a small ViT can only memorise."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    d = load_digits()
    images, labels = d.images.astype(np.float32) / 16.0, d.target.copy()
    if fault:
        np.random.shuffle(images)
        # labels follow the old order
    else:
        state = np.random.get_state()
        np.random.shuffle(images)
        np.random.set_state(state)
        np.random.shuffle(labels)
    Xtr, ytr = torch.tensor(images[:1300]), torch.tensor(labels[:1300])
    Xva, yva = torch.tensor(images[1300:]), torch.tensor(labels[1300:])

    class TinyViT(nn.Module):
        def __init__(self, dim=48):
            super().__init__()
            self.embed = nn.Linear(4, dim)
            self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
            self.cls = nn.Parameter(torch.zeros(1, 1, dim))
            layer = nn.TransformerEncoderLayer(dim, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
            self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(dim, 10)

        def forward(self, x):
            p = x.view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
            h = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(p)], 1) + self.pos
            return self.head(self.enc(h)[:, 0])

    vit = TinyViT()
    optim = torch.optim.AdamW(vit.parameters(), lr=2e-3, weight_decay=0.01)
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)
    with watch(vit, optim) as w:
        for epoch in range(12):
            vit.train()
            s = c = 0
            for xb, yb in loader:
                logits = vit(xb)
                loss = F.cross_entropy(logits, yb)
                optim.zero_grad(set_to_none=True)
                loss.backward()
                optim.step()
                s += loss.item() * len(yb)
                c += (logits.argmax(-1) == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            vit.eval()
            with torch.no_grad():
                lo = vit(Xva)
                va = (lo.argmax(-1) == yva).float().mean().item()
            w.epoch(
                train={"loss": s / 1300, "accuracy": c / 1300},
                val={"loss": F.cross_entropy(lo, yva).item(), "accuracy": va},
            )
    return va


def crowd_labels(watch, seed, fault):
    """84. The training labels come from a careless annotator: 30 % of them are a random wrong class."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    rng = np.random.RandomState(seed)
    crowd = ya.copy()
    flip = rng.rand(len(ya)) < 0.3
    crowd[flip] = (ya[flip] + rng.randint(1, 10, flip.sum())) % 10
    annotations = crowd if fault else ya
    x_train, x_test = torch.tensor(Xa / 16.0).unsqueeze(1), torch.tensor(Xb / 16.0).unsqueeze(1)
    t_train, t_test = torch.tensor(annotations), torch.tensor(yb)

    class Trainer:
        def __init__(self, model, lr):
            self.model = model
            self.opt = torch.optim.Adam(model.parameters(), lr=lr)
            self.loss_fn = nn.CrossEntropyLoss()

        def run_epoch(self, w):
            self.model.train()
            seen, right, total = 0, 0, 0.0
            for idx in torch.randperm(len(x_train)).split(32):
                x, t = x_train[idx], t_train[idx]
                o = self.model(x)
                l = self.loss_fn(o, t)
                self.opt.zero_grad()
                l.backward()
                self.opt.step()
                w.step(loss=l, inputs=x, targets=t, outputs=o)
                seen += len(t)
                right += (o.argmax(1) == t).sum().item()
                total += l.item() * len(t)
            return {"loss": total / seen, "accuracy": right / seen}

        @torch.no_grad()
        def evaluate(self):
            self.model.eval()
            o = self.model(x_test)
            return {"loss": self.loss_fn(o, t_test).item(), "accuracy": (o.argmax(1) == t_test).float().mean().item()}

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    tr = Trainer(model, 1e-3)
    with watch(model, tr.opt) as w:
        for epoch in range(16):
            a = tr.run_epoch(w)
            b = tr.evaluate()
            w.epoch(train=a, val=b)
    return b["accuracy"]


PROGRAMS = [cast_to_uint8_blank, shuffled_in_place, crowd_labels]
