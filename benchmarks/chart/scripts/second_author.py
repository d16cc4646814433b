"""What several programs of the second author share."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def digits_images(seed=0, scale=16.0):
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32)[:, None] / scale
    y = torch.tensor(d.target)
    g = torch.Generator().manual_seed(seed)
    p = torch.randperm(len(x), generator=g)
    x, y = x[p], y[p]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def draw(n, size, seed, classes=4, noise=0.1):
    """coloured shapes: returns pictures (n,3,s,s), class, mask (n,s,s), box cxcywh in pixels"""
    r = np.random.RandomState(seed)
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    k = r.randint(0, classes, n)
    rad = r.uniform(size * 0.14, size * 0.28, n).astype(np.float32)
    cx = r.uniform(rad + 1, size - rad - 1).astype(np.float32)
    cy = r.uniform(rad + 1, size - rad - 1).astype(np.float32)
    dx = (xx[None] - cx[:, None, None]) / rad[:, None, None]
    dy = (yy[None] - cy[:, None, None]) / rad[:, None, None]
    sq = (abs(dx) <= 1) & (abs(dy) <= 1)
    forms = [sq, dx**2 + dy**2 <= 1, sq & ((abs(dx) < 0.33) | (abs(dy) < 0.33)), sq & (dy >= 2 * abs(dx) - 1)]
    m = np.zeros((n, size, size), bool)
    for c in range(classes):
        m[k == c] = forms[c][k == c]
    col = r.uniform(0.5, 1.0, (n, 3, 1, 1))
    img = r.uniform(0, 0.3, (n, 3, 1, 1)) * np.ones((n, 3, size, size))
    img = np.where(m[:, None], col, img) + noise * r.randn(n, 3, size, size)
    return (
        torch.tensor(img, dtype=torch.float32),
        torch.tensor(k),
        torch.tensor(m),
        torch.tensor(np.stack([cx, cy, 2 * rad, 2 * rad], 1), dtype=torch.float32),
    )
