"""Programs with faults of types 92 to 94."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.ops import box_iou


def generator_per_worker(watch, seed, fault):
    """92. Shapes are drawn and augmented on the fly from a numpy Generator kept in the dataset; both workers get the same copy, so every picture comes twice, and again in each epoch."""
    torch.manual_seed(seed)

    class OnTheFly(Dataset):
        def __init__(self, length, seed):
            self.length = length
            self.rng = np.random.default_rng(seed)

        def __len__(self):
            return self.length

        def __getitem__(self, _):
            k = int(self.rng.integers(0, 4))
            im, _m, _b = draw(self.rng, k, 24, self.rng.uniform(0.3, 0.9, 3), noise=0.15, bg=self.rng.uniform(0, 0.2))
            if self.rng.random() < 0.5:
                im = im[:, ::-1].copy()
            return torch.from_numpy(im).permute(2, 0, 1).float() - 0.4, k

    def seed_worker(worker_id):
        torch.utils.data.get_worker_info().dataset.rng = np.random.default_rng(torch.initial_seed())

    loader = DataLoader(OnTheFly(400, 7), batch_size=25, num_workers=2, worker_init_fn=None if fault else seed_worker)
    held = OnTheFly(300, 99)
    pairs = [held[i] for i in range(300)]
    vx, vy = torch.stack([p[0] for p in pairs]), torch.tensor([p[1] for p in pairs])
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(192, 4),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 11)
    with watch(model, optimizer) as w:
        for epoch in range(11):
            model.train()
            tot = 0
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                tot += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            scheduler.step()
            model.eval()
            with torch.no_grad():
                o = model(vx)
            acc = (o.argmax(1) == vy).float().mean().item()
            w.epoch(train={"loss": tot / len(loader)}, val={"loss": F.cross_entropy(o, vy).item(), "accuracy": acc})
    return acc


def oversample_before_split(watch, seed, fault):
    """93. The pictures are copied three times (oversampling) before the random split, so nearly all validation pictures are also trained on."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = 640
    y = rng.integers(0, 4, n)
    X = np.stack([draw(rng, k, 20, rng.uniform(0.35, 0.8, 3), noise=0.24)[0] for k in y]).transpose(0, 3, 1, 2)
    ty = rng.integers(0, 4, 200)
    tx = np.stack([draw(rng, k, 20, rng.uniform(0.35, 0.8, 3), noise=0.24)[0] for k in ty]).transpose(0, 3, 1, 2)
    X, y, tx, ty = torch.tensor(X), torch.tensor(y), torch.tensor(tx), torch.tensor(ty)

    def oversample(a, b):
        return a.repeat(3, 1, 1, 1), b.repeat(3)

    if fault:
        X, y = oversample(X, y)
        p = torch.randperm(len(X))
        cut = int(0.75 * len(X))
        Xtr, ytr, Xv, yv = X[p[:cut]], y[p[:cut]], X[p[cut:]], y[p[cut:]]
    else:
        p = torch.randperm(len(X))
        cut = int(0.75 * len(X))
        Xv, yv = X[p[cut:]], y[p[cut:]]
        Xtr, ytr = oversample(X[p[:cut]], y[p[:cut]])
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3, 1, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, 1, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, 1, 1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, 4),
    )
    opt = torch.optim.AdamW(net.parameters(), 3e-3)
    tl, vl = DataLoader(TensorDataset(Xtr, ytr), 32, shuffle=True), DataLoader(TensorDataset(Xv, yv), 60)
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            L = C = 0
            for a, b in tl:
                o = net(a)
                loss = F.cross_entropy(o, b)
                opt.zero_grad()
                loss.backward()
                opt.step()
                L += loss.item() * len(b)
                C += (o.argmax(1) == b).sum().item()
                w.step(loss=loss, inputs=a, targets=b, outputs=o)
            net.eval()
            vL = vC = 0
            with torch.no_grad():
                for a, b in vl:
                    o = net(a)
                    vL += F.cross_entropy(o, b).item() * len(b)
                    vC += (o.argmax(1) == b).sum().item()
            w.epoch(
                train={"loss": L / len(ytr), "accuracy": C / len(ytr)},
                val={"loss": vL / len(yv), "accuracy": vC / len(yv)},
            )
    with torch.no_grad():
        return (net(tx).argmax(1) == ty).float().mean().item()


def flip_without_box(watch, seed, fault):
    """94. Random horizontal and vertical flips mirror the picture, but the box coordinates stay."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 32
    rec = [draw(rng, rng.integers(0, 3), S, rng.uniform(0.5, 1, 3)) for _ in range(500)]
    imgs = torch.tensor(np.stack([r[0] for r in rec])).permute(0, 3, 1, 2).float()
    boxes = torch.tensor([r[2] for r in rec], dtype=torch.float32) / S

    class RandomFlip:
        def __init__(self, p=0.5):
            self.p = p

        def __call__(self, im, box):
            if torch.rand(1) < self.p:
                im = im.flip(-1)
                if not fault:
                    box = torch.stack([1 - box[2], box[1], 1 - box[0], box[3]])
            if torch.rand(1) < self.p:
                im = im.flip(-2)
                if not fault:
                    box = torch.stack([box[0], 1 - box[3], box[2], 1 - box[1]])
            return im, box

    class OneBox(Dataset):
        def __init__(self, lo, hi, tf=None):
            self.ids, self.tf = range(lo, hi), tf

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, k):
            im, b = imgs[self.ids[k]], boxes[self.ids[k]]
            return self.tf(im, b) if self.tf else (im, b)

    tr = DataLoader(OneBox(0, 400, RandomFlip()), 20, shuffle=True)
    va = DataLoader(OneBox(400, 500), 50)
    m = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 64),
        nn.ReLU(),
        nn.Linear(64, 4),
        nn.Sigmoid(),
    )
    opt = torch.optim.Adam(m.parameters(), 1e-3)
    with watch(m, opt) as w:
        for ep in range(10):
            m.train()
            s = 0.0
            for im, b in tr:
                p = m(im)
                loss = F.smooth_l1_loss(p, b, beta=0.1)
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item()
                w.step(loss=loss, inputs=im, targets=b, outputs=p)
            m.eval()
            with torch.no_grad():
                iou = torch.cat([torch.diagonal(box_iou(m(im), b)) for im, b in va]).mean().item()
            w.epoch(train={"loss": s / len(tr)}, val={"iou": iou})
    return iou


PROGRAMS = [generator_per_worker, oversample_before_split, flip_without_box]
