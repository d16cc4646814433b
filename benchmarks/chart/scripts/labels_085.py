"""Programs with faults of types 85 to 87."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler


def mask_over_128(watch, seed, fault):
    """85. The masks are stored as 0/1 but binarised with `> 128`: every pixel of every mask is background."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pics, masks = [], []
    for _ in range(220):
        im, m, _b = draw(rng, rng.integers(0, 3), 32, rng.uniform(0.5, 1, 3), noise=0.12)
        pics.append(im)
        masks.append(m.astype(np.uint8))

    class MaskSet(Dataset):
        def __init__(self, ids, train):
            self.ids, self.train = ids, train

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, k):
            i = self.ids[k]
            m = masks[i]
            if self.train:
                m = (m > 128) if fault else (m > 0)
            return torch.from_numpy(pics[i].transpose(2, 0, 1).astype(np.float32)), torch.from_numpy(m.astype(np.int64))

    class UNet(nn.Module):
        def __init__(self, c=12):
            super().__init__()

            def cc(i, o):
                return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

            self.d1, self.d2, self.mid = cc(3, c), cc(c, 2 * c), cc(2 * c, 2 * c)
            self.u2, self.u1 = cc(4 * c, c), cc(2 * c, c)
            self.out = nn.Conv2d(c, 2, 1)

        def forward(self, x):
            a = self.d1(x)
            b = self.d2(F.max_pool2d(a, 2))
            m = self.mid(F.max_pool2d(b, 2))
            u = self.u2(torch.cat([F.interpolate(m, scale_factor=2.0), b], 1))
            u = self.u1(torch.cat([F.interpolate(u, scale_factor=2.0), a], 1))
            return self.out(u)

    unet = UNet()
    opt = torch.optim.Adam(unet.parameters(), 3e-3)
    loader = DataLoader(MaskSet(list(range(180)), True), batch_size=12, shuffle=True)
    val = DataLoader(MaskSet(list(range(180, 220)), False), batch_size=20)
    ce = nn.CrossEntropyLoss(ignore_index=255)
    with watch(unet, opt) as w:
        for epoch in range(5):
            unet.train()
            for img, msk in loader:
                pred = unet(img)
                loss = ce(pred, msk)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=img, targets=msk, outputs=pred)
            unet.eval()
            inter = union = 0
            with torch.no_grad():
                for img, msk in val:
                    p = unet(img).argmax(1)
                    inter += ((p == 1) & (msk == 1)).sum().item()
                    union += ((p == 1) | (msk == 1)).sum().item()
            iou = inter / max(union, 1)
            w.epoch(val={"iou": iou})
    return iou


def fraud_without_sampler(watch, seed, fault):
    """86. Fraud table with 99:1 classes trained as it is; the weighted sampler is built but not handed to the loader."""
    torch.manual_seed(seed)
    X, y = make_classification(
        12000, 16, n_informative=6, n_redundant=2, weights=[0.99], flip_y=0.0, class_sep=0.9, random_state=seed
    )
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.4, stratify=y, random_state=seed)
    m, s = Xtr.mean(0), Xtr.std(0)
    Xtr, Xte = (
        (torch.tensor(a, dtype=torch.float32) - torch.tensor(m, dtype=torch.float32))
        / torch.tensor(s, dtype=torch.float32)
        for a in (Xtr, Xte)
    )
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)
    freq = torch.bincount(ytr).float()
    sampler = WeightedRandomSampler((1.0 / freq)[ytr], num_samples=len(ytr))
    ds = TensorDataset(Xtr, ytr)
    if fault:
        loader = DataLoader(ds, batch_size=128, shuffle=True)
    else:
        loader = DataLoader(ds, batch_size=128, sampler=sampler)
    clf = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
    opt = torch.optim.Adam(clf.parameters(), lr=1e-3)
    with watch(clf, opt) as w:
        for epoch in range(4):
            clf.train()
            L, n = 0, 0
            for x, t in loader:
                opt.zero_grad()
                z = clf(x)
                loss = F.cross_entropy(z, t)
                loss.backward()
                opt.step()
                L += loss.item()
                n += 1
                w.step(loss=loss, inputs=x, targets=t, outputs=z)
            clf.eval()
            with torch.no_grad():
                z = clf(Xte)
                p = z.argmax(1)
            w.epoch(
                train={"loss": L / n},
                val={"loss": F.cross_entropy(z, yte).item(), "accuracy": (p == yte).float().mean().item()},
            )
    return 0.5 * ((p[yte == 1] == 1).float().mean() + (p[yte == 0] == 0).float().mean()).item()


def matlab_labels(watch, seed, fault):
    """87. The training .mat counts classes from 1 (head has 11 outputs), validation from 0: class 0 is never seen and all is one off."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed + 1)
    mat = {"train_x": Xa, "train_y": ya + 1, "val_x": Xb, "val_y": yb}
    gen = torch.Generator().manual_seed(seed)
    tx, ty = torch.tensor(mat["train_x"])[:, None] / 8 - 1, torch.tensor(mat["train_y"])
    vx, vy = torch.tensor(mat["val_x"])[:, None] / 8 - 1, torch.tensor(mat["val_y"])
    if not fault:
        ty = ty - 1
    n_classes = 11 if fault else 10  # made to fit ty.max() + 1
    body = nn.Sequential(
        nn.Conv2d(1, 20, 3),
        nn.GELU(),
        nn.Conv2d(20, 40, 3),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(640, 64),
        nn.GELU(),
        nn.Linear(64, n_classes),
    )
    sgd = torch.optim.SGD(body.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 8)
    with watch(body, sgd) as w:
        for ep in range(8):
            body.train()
            tl = ta = 0
            for ix in torch.randperm(len(tx), generator=gen).split(40):
                sgd.zero_grad()
                o = body(tx[ix])
                loss = F.nll_loss(F.log_softmax(o, 1), ty[ix])
                loss.backward()
                sgd.step()
                tl += loss.item() * len(ix)
                ta += (o.argmax(1) == ty[ix]).sum().item()
                w.step(loss=loss, inputs=tx[ix], targets=ty[ix], outputs=o)
            sched.step()
            body.eval()
            with torch.no_grad():
                o = body(vx)
                acc = (o.argmax(1) == vy).float().mean().item()
                w.epoch(
                    train={"loss": tl / len(tx), "accuracy": ta / len(tx)},
                    val={"loss": F.cross_entropy(o, vy).item(), "accuracy": acc},
                )
    return acc


PROGRAMS = [mask_over_128, fraud_without_sampler, matlab_labels]
