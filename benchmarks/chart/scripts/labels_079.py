"""Programs with faults of types 79 to 81."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset


def raw_reflectance(watch, seed, fault):
    """79. Land-cover patches of a 4-band sensor go into the net as raw digital numbers (about 4000*r+9000), unscaled."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    spectra = np.array(
        [
            [0.1, 0.2, 0.1, 0.8],
            [0.3, 0.3, 0.4, 0.4],
            [0.1, 0.1, 0.05, 0.02],
            [0.6, 0.5, 0.6, 0.6],
            [0.2, 0.4, 0.2, 0.5],
            [0.7, 0.8, 0.9, 0.9],
        ]
    )
    n = 900
    y = rng.integers(0, 6, n)
    refl = spectra[y][:, :, None, None] + rng.normal(0, 0.15, (n, 4, 9, 9))
    dn = np.clip(refl * 4000 + 9000, 0, 65535).astype(np.uint16)

    class Sentinel(Dataset):
        def __init__(self, dn, y):
            self.dn, self.y = dn, y

        def __len__(self):
            return len(self.dn)

        def __getitem__(self, i):
            patch = torch.from_numpy(self.dn[i].astype(np.float32))
            if not fault:
                patch = (patch - 10400.0) / 1200.0
            return patch, int(self.y[i])

    train = DataLoader(Sentinel(dn[:700], y[:700]), batch_size=32, shuffle=True)
    test = DataLoader(Sentinel(dn[700:], y[700:]), batch_size=100)
    net = nn.Sequential(
        nn.Conv2d(4, 24, 3),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 6),
    )
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    crit = nn.CrossEntropyLoss()
    with watch(net, opt) as w:
        for epoch in range(6):
            net.train()
            tot = 0.0
            for patch, label in train:
                opt.zero_grad()
                logits = net(patch)
                loss = crit(logits, label)
                loss.backward()
                opt.step()
                tot += loss.item() * len(label)
                w.step(loss=loss, inputs=patch, targets=label, outputs=logits)
            net.eval()
            vl, ok = 0.0, 0
            with torch.no_grad():
                for patch, label in test:
                    o = net(patch)
                    vl += crit(o, label).item() * len(label)
                    ok += (o.argmax(1) == label).sum().item()
            w.epoch(train={"loss": tot / 700}, val={"loss": vl / 200, "accuracy": ok / 200})
    return ok / 200


def scaled_in_dataset_and_collate(watch, seed, fault):
    """80. Pictures are divided by 255 and standardised in the dataset, then the collate function divides and standardises them once more."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, 800)
    pics = np.stack([(draw(rng, k, 24, colour=rng.uniform(0.5, 1, 3))[0] * 255).astype(np.uint8) for k in kinds])
    MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    class Shapes(Dataset):
        def __init__(self, lo, hi):
            self.lo, self.hi = lo, hi

        def __len__(self):
            return self.hi - self.lo

        def __getitem__(self, i):
            x = torch.from_numpy(pics[self.lo + i]).permute(2, 0, 1).float() / 255.0
            return (x - MEAN) / STD, int(kinds[self.lo + i])

    def collate(batch):
        x = torch.stack([b[0] for b in batch])
        if fault:
            x = (x / 255.0 - MEAN) / STD
        return x, torch.tensor([b[1] for b in batch])

    dl = DataLoader(Shapes(0, 600), 32, shuffle=True, collate_fn=collate)
    vl = DataLoader(Shapes(600, 800), 64, collate_fn=collate)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1 = nn.Conv2d(3, 16, 3, padding=1)
            self.c2 = nn.Conv2d(16, 32, 3, padding=1)
            self.fc1 = nn.Linear(32 * 36, 64)
            self.fc2 = nn.Linear(64, 4)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.c1(x)), 2)
            x = F.max_pool2d(F.relu(self.c2(x)), 2)
            return self.fc2(F.relu(self.fc1(x.flatten(1))))

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    with watch(model, optimizer) as w:
        for epoch in range(10):
            for x, y in dl:
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                hits = sum((model(x).argmax(1) == y).sum().item() for x, y in vl)
            w.epoch(val={"accuracy": hits / 200})
    return hits / 200


def bgr_at_validation(watch, seed, fault):
    """81. The training pictures are RGB in 0-1 standardised, the validation reader (cv2 style) hands over BGR."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 5)
    colours = [(0.9, 0.2, 0.1), (0.1, 0.3, 0.9), (0.9, 0.7, 0.1), (0.1, 0.7, 0.9), (0.3, 0.8, 0.2)]
    N = 700
    y = rng.integers(0, 5, N)
    imgs = np.stack(
        [
            draw(rng, rng.integers(0, 4), 32, np.clip(np.array(colours[k]) + rng.normal(0, 0.08, 3), 0, 1), bg=0.4)[0]
            for k in y
        ]
    ).astype(np.float32)
    mu, sd = imgs[:500].mean((0, 1, 2)), imgs[:500].std((0, 1, 2))

    def read_train(i):
        return ((imgs[i] - mu) / sd).transpose(2, 0, 1)

    def read_val(i):
        im = imgs[i][:, :, ::-1] if fault else imgs[i]  # "cv2.imread"
        return ((im - mu) / sd).transpose(2, 0, 1)

    class Block(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.a = nn.Conv2d(i, o, 3, s, 1, bias=False)
            self.n1 = nn.BatchNorm2d(o)
            self.b = nn.Conv2d(o, o, 3, 1, 1, bias=False)
            self.n2 = nn.BatchNorm2d(o)
            self.short = nn.Conv2d(i, o, 1, s, bias=False)

        def forward(self, x):
            h = F.relu(self.n1(self.a(x)))
            return F.relu(self.n2(self.b(h)) + self.short(x))

    model = nn.Sequential(Block(3, 16, 2), Block(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    acc = 0
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            order = rng.permutation(500)
            losses, good = [], 0
            for s in range(0, 500, 25):
                idx = order[s : s + 25]
                xb = torch.tensor(np.stack([read_train(i) for i in idx]))
                yb = torch.tensor(y[idx])
                optimizer.zero_grad()
                out = model(xb)
                loss = F.cross_entropy(out, yb)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                good += (out.argmax(1) == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                xv = torch.tensor(np.stack([read_val(i) for i in range(500, N)]))
                yv = torch.tensor(y[500:])
                ov = model(xv)
                acc = (ov.argmax(1) == yv).float().mean().item()
                vloss = F.cross_entropy(ov, yv).item()
            w.epoch(train={"loss": np.mean(losses), "accuracy": good / 500}, val={"loss": vloss, "accuracy": acc})
    return acc


PROGRAMS = [raw_reflectance, scaled_in_dataset_and_collate, bgr_at_validation]
