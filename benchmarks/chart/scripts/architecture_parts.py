"""What several programs of `architecture_*.py` share."""

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
