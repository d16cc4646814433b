"""Programs with faults of types 79 to 82."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.labels_parts import digits
from torch.utils.data import DataLoader, Dataset, TensorDataset


class ScannedDigits(Dataset):
    """8-bit scans; returns a float picture, already standardised."""

    MEAN, STD = 0.3053, 0.3762

    def __init__(self, images, labels):
        self.images = (images / 16 * 255).astype(np.uint8)
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        img = torch.from_numpy(self.images[i]).float().div(255).unsqueeze(0)
        return (img - self.MEAN) / self.STD, int(self.labels[i])


def _fruit(rng, n, size=20):
    """RGB uint8 pictures of round fruit; the class is the fruit's colour (tomato, lime, plum, orange)."""
    colours = np.array([[210, 40, 40], [60, 190, 50], [60, 40, 200], [40, 180, 200]], np.float32)
    yy, xx = np.mgrid[:size, :size]
    imgs = np.empty((n, size, size, 3), np.uint8)
    lab = rng.integers(0, 4, n)
    for i in range(n):
        bg = np.array([150, 130, 90]) + rng.normal(0, 18, 3)
        im = np.ones((size, size, 3)) * bg
        cx, cy = rng.uniform(6, size - 6, 2)
        r = rng.uniform(3.5, 6)
        m = (xx - cx) ** 2 + (yy - cy) ** 2 < r * r
        im[m] = colours[lab[i]] + rng.normal(0, 30, 3)
        imgs[i] = np.clip(im + rng.normal(0, 15, im.shape), 0, 255)
    return imgs, lab


class FruitFolder(Dataset):
    mean = torch.tensor([0.58, 0.50, 0.37]).view(3, 1, 1)
    std = torch.tensor([0.22, 0.20, 0.24]).view(3, 1, 1)

    def __init__(self, imgs, labels, reader="pil"):
        self.imgs, self.labels, self.reader = imgs, labels, reader

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, i):
        im = self.imgs[i]
        if self.reader == "cv2":  # what cv2.imread hands out
            im = im[:, :, ::-1].copy()
        x = torch.from_numpy(im).permute(2, 0, 1).float() / 255
        return (x - self.mean) / self.std, int(self.labels[i])


class TinyViT(nn.Module):
    def __init__(self, dim=32, n_cls=10):
        super().__init__()
        self.patch = nn.Linear(4, dim)
        self.pos = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, n_cls)

    def forward(self, x):
        p = x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(x.shape[0], 16, 4)
        return self.fc(self.norm(self.enc(self.patch(p) + self.pos)).mean(1))


def adc_counts(watch, seed, fault):
    """79. An MLP on vibration signals is fed the raw ADC counts (x * 4000 + 9000) in place of the scaled signal."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n, T = 1600, 64
    t = np.arange(T) / T
    kind = rng.integers(0, 4, n)
    freq = np.array([2, 4, 7, 11])[kind]
    phase = rng.uniform(0, 2 * np.pi, n)
    volts = np.sin(2 * np.pi * freq[:, None] * t[None] + phase[:, None]) * rng.uniform(0.6, 1.4, (n, 1)) + rng.normal(
        0, 0.25, (n, T)
    )
    counts = np.round(volts * 4000 + 9000)

    signal = torch.tensor(counts, dtype=torch.float32)
    if not fault:
        signal = (signal - 9000.0) / 4000.0
    kind = torch.tensor(kind)
    tr, te = slice(0, 1200), slice(1200, n)

    net = nn.Sequential(nn.Linear(T, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 4))
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    xs, ys = signal[tr], kind[tr]
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(12):
            perm = torch.randperm(len(xs))
            run, hit = 0.0, 0
            for i in range(0, len(xs), 48):
                b = perm[i : i + 48]
                opt.zero_grad()
                logits = net(xs[b])
                loss = F.cross_entropy(logits, ys[b])
                loss.backward()
                opt.step()
                run += loss.item() * len(b)
                hit += (logits.argmax(1) == ys[b]).sum().item()
                w.step(loss=loss, inputs=xs[b], targets=ys[b], outputs=logits)
            with torch.no_grad():
                o = net(signal[te])
                acc = (o.argmax(1) == kind[te]).float().mean().item()
                vl = F.cross_entropy(o, kind[te]).item()
            w.epoch(train={"loss": run / len(xs), "accuracy": hit / len(xs)}, val={"loss": vl, "accuracy": acc})
    return acc


def twice_standardised(watch, seed, fault):
    """80. The dataset standardises the pictures and the loop's `preprocess` divides by 255 and standardises them once more."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    train_loader = DataLoader(ScannedDigits(Xtr, ytr), batch_size=32, shuffle=True)
    test_loader = DataLoader(ScannedDigits(Xte, yte), batch_size=128)

    def preprocess(img):
        if fault:
            img = (img / 255.0 - ScannedDigits.MEAN) / ScannedDigits.STD
        return img

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    accuracy = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            losses = []
            for img, label in train_loader:
                img = preprocess(img)
                optimizer.zero_grad()
                out = model(img)
                loss = criterion(out, label)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=img, targets=label, outputs=out)
            model.eval()
            good = total = 0
            vloss = 0.0
            with torch.no_grad():
                for img, label in test_loader:
                    out = model(preprocess(img))
                    vloss += criterion(out, label).item() * len(label)
                    good += (out.argmax(1) == label).sum().item()
                    total += len(label)
            accuracy = good / total
            w.epoch(train={"loss": float(np.mean(losses))}, val={"loss": vloss / total, "accuracy": accuracy})
    return accuracy


def val_reads_bgr(watch, seed, fault):
    """81. The validation pictures are read as BGR, the training pictures as RGB."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    imgs, lab = _fruit(rng, 1100)
    train_ds = FruitFolder(imgs[:800], lab[:800], "pil")
    val_ds = FruitFolder(imgs[800:], lab[800:], "cv2" if fault else "pil")
    train_dl = DataLoader(train_ds, 40, shuffle=True, drop_last=True)
    val_dl = DataLoader(val_ds, 100)

    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    va = 0.0
    with watch(net, opt) as w:
        for ep in range(5):
            net.train()
            tl = ta = k = 0
            for x, y in train_dl:
                out = net(x)
                loss = F.cross_entropy(out, y)
                opt.zero_grad(set_to_none=True)
                loss.backward()
                opt.step()
                tl += loss.item()
                ta += (out.argmax(1) == y).float().mean().item()
                k += 1
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                vl, va, m = 0.0, 0.0, 0
                for x, y in val_dl:
                    out = net(x)
                    vl += F.cross_entropy(out, y).item()
                    va += (out.argmax(1) == y).float().mean().item()
                    m += 1
            va /= m
            w.epoch(train={"loss": tl / k, "accuracy": ta / k}, val={"loss": vl / m, "accuracy": va})
    return va


def blank_after_cast(watch, seed, fault):
    """82. Pictures scaled to [0, 1] are stored back into a uint8 cache, so that every picture is (nearly) all zeros."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)

    def cache(imgs):
        store = np.zeros(imgs.shape, dtype=np.uint8 if fault else np.float32)
        for k, im in enumerate(imgs):
            store[k] = im / 16.5  # scanner's white is 16.5
        return torch.from_numpy(store).float().unsqueeze(1) * 2 - 1

    Xtr, Xte, ytr, yte = cache(Xtr), cache(Xte), torch.from_numpy(ytr), torch.from_numpy(yte)
    vit = TinyViT()
    opt = torch.optim.Adam(vit.parameters(), lr=2e-3)
    dl = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(vit, opt) as w:
        for epoch in range(14):
            vit.train()
            for xb, yb in dl:
                pred = vit(xb)
                loss = F.cross_entropy(pred, yb)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
                opt.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            vit.eval()
            with torch.no_grad():
                pv = vit(Xte)
                acc = (pv.argmax(-1) == yte).float().mean().item()
                w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(pv, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [adc_counts, twice_standardised, val_reads_bgr, blank_after_cast]
