"""What several programs of the third author share."""

import math

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits_split(seed, test_size=0.3):
    d = load_digits()
    return train_test_split(
        d.images.astype(np.float32),
        d.target.astype(np.int64),
        test_size=test_size,
        random_state=seed,
        stratify=d.target,
    )


def draw(rng, kind, size, colour=(1.0, 1.0, 1.0), noise=0.05, bg=0.1):
    """one shape on a noisy square; returns HWC float picture, mask, box xyxy"""
    img = np.full((size, size, 3), bg, np.float32)
    r = rng.integers(size // 6, size // 3)
    cx, cy = rng.integers(r, size - r, 2)
    yy, xx = np.mgrid[:size, :size]
    dx, dy = np.abs(xx - cx), np.abs(yy - cy)
    if kind == 0:
        m = (dx <= r) & (dy <= r)
    elif kind == 1:
        m = dx**2 + dy**2 <= r * r
    elif kind == 2:
        m = ((dx <= max(1, r // 4)) | (dy <= max(1, r // 4))) & (dx <= r) & (dy <= r)
    else:
        m = (dx <= r) & (dy <= r) & ~((dx <= r // 2) & (dy <= r // 2))
    img[m] = colour
    img += rng.normal(0, noise, img.shape).astype(np.float32)
    return np.clip(img, 0, 1), m, (cx - r, cy - r, cx + r, cy + r)


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base, self.r = base, r
        self.A = nn.Parameter(torch.randn(r, base.in_features) / math.sqrt(base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scaling = alpha / max(r, 1)

    def forward(self, x):
        return self.base(x) + (x @ self.A.T @ self.B.T) * self.scaling
