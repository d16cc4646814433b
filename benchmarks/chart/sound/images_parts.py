"""What several programs of `images_*.py` share."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits(seed, size=8):
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16.0
    y = torch.tensor(d.target)
    if size != 8:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    itr, iva = train_test_split(np.arange(len(y)), test_size=0.2, stratify=d.target, random_state=seed)
    m, s = x[itr].mean(), x[itr].std()
    x = (x - m) / s
    return x[itr], y[itr], x[iva], y[iva]


def draw(rng, kind, size):
    """One RGB picture in [0, 1] with one drawn shape (0 disc, 1 square, 2 triangle, 3 cross, 4 ring)."""
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    r = rng.uniform(0.2, 0.32) * size
    cy, cx = rng.uniform(r, size - r, 2)
    dy, dx = yy - cy, xx - cx
    if kind == 0:
        m = dy**2 + dx**2 <= r**2
    elif kind == 1:
        m = (np.abs(dy) <= 0.85 * r) & (np.abs(dx) <= 0.85 * r)
    elif kind == 2:
        m = (dy <= r * 0.8) & (dy >= -r + 2 * np.abs(dx))
    elif kind == 3:
        m = ((np.abs(dy) <= r * 0.28) & (np.abs(dx) <= r)) | ((np.abs(dx) <= r * 0.28) & (np.abs(dy) <= r))
    else:
        q = dy**2 + dx**2
        m = (q <= r**2) & (q >= (0.55 * r) ** 2)
    back = rng.uniform(0.0, 0.4, 3)
    fore = rng.uniform(0.6, 1.0, 3)
    img = np.where(m[None], fore[:, None, None], back[:, None, None])
    img = img + rng.normal(0, 0.05, img.shape)
    return np.clip(img, 0, 1).astype(np.float32)


def shapes(n, size, classes, seed, labels=None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n) if labels is None else np.asarray(labels)
    x = np.stack([draw(rng, int(k), size) for k in y])
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))


def standardise(xtr, *others):
    m = xtr.mean(dim=(0, 2, 3), keepdim=True)
    s = xtr.std(dim=(0, 2, 3), keepdim=True)
    return [(t - m) / s for t in (xtr, *others)]


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        skip = x if self.down is None else self.down(x)
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + skip)


class TinyResNet(nn.Module):
    def __init__(self, cin=3, classes=5, width=12):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(cin, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(
            BasicBlock(width, width), BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 4 * width, 2)
        )
        self.fc = nn.Linear(4 * width, classes)

    def features(self, x):
        return self.body(self.stem(x)).mean(dim=(2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


def _pretrain(seed, steps=90):
    """A ResNet trained on the upright five-shape problem (stands for a downloaded checkpoint)."""
    x, y = shapes(1000, 20, 5, seed + 555)
    (x,) = standardise(x)
    net = TinyResNet(width=8)
    opt = torch.optim.Adam(net.parameters(), 4e-3)
    for i in range(steps):
        idx = torch.randint(0, len(x), (40,))
        opt.zero_grad()
        F.cross_entropy(net(x[idx]), y[idx]).backward()
        opt.step()
    return net
