"""What several programs of `makers_*.py` share."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits(seed, lo=0.0, hi=1.0):
    """Digits scaled to [lo, hi], split into train and validation."""
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16.0 * (hi - lo) + lo
    y = torch.tensor(d.target)
    a, b = train_test_split(np.arange(len(y)), test_size=0.2, stratify=d.target, random_state=seed)
    return x[a], y[a], x[b], y[b]


def blobs(n, size, seed, channels=1):
    """Smooth pictures in [0, 1]: a gradient with two or three soft-edged discs."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32) / size
    out = np.zeros((n, channels, size, size), np.float32)
    for i in range(n):
        a = rng.uniform(0, 2 * math.pi)
        base = 0.35 + 0.2 * (np.cos(a) * (xx - 0.5) + np.sin(a) * (yy - 0.5))
        img = np.repeat(base[None], channels, 0)
        for _ in range(rng.integers(2, 4)):
            cy, cx, r = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.22)
            m = 1 / (1 + np.exp((np.sqrt((yy - cy) ** 2 + (xx - cx) ** 2) - r) * 60))
            col = rng.uniform(0, 1, (channels, 1, 1))
            img = img * (1 - m) + col * m
        out[i] = img
    return torch.from_numpy(out)


def psnr(a, b):
    return (-10 * torch.log10(F.mse_loss(a, b))).item()


def mmd(a, b):
    """Kernel two-sample distance with a median bandwidth (small is alike)."""
    a, b = a.flatten(1), b.flatten(1)
    z = torch.cat([a, b])
    d = torch.cdist(z, z).pow(2)
    k = torch.exp(-d / d[d > 0].median())
    n = len(a)
    return (k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()).item()


def likeness(fake, real, noise):
    """1 when samples are as close to real pictures as real ones, 0 when no better than noise."""
    return 1 - mmd(fake, real) / mmd(noise, real)
