"""What several programs of the first author share."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits_images(seed=0, keep=None):
    d = load_digits()
    X = torch.tensor(d.images, dtype=torch.float32).unsqueeze(1) / 16.0
    y = torch.tensor(d.target)
    if keep is not None:
        m = torch.isin(y, torch.tensor(keep))
        X, y = X[m], y[m]
        y = y - min(keep)
    a, b = train_test_split(np.arange(len(y)), test_size=0.25, random_state=seed)
    return X[a], y[a], X[b], y[b]


def draw(kind, cx, cy, r, size):
    yy, xx = np.mgrid[:size, :size]
    if kind == 0:
        return (xx - cx) ** 2 + (yy - cy) ** 2 <= r * r
    if kind == 1:
        return (abs(xx - cx) <= r) & (abs(yy - cy) <= r)
    if kind == 2:
        return (abs(xx - cx) + abs(yy - cy)) <= r
    return ((abs(xx - cx) <= r // 3) & (abs(yy - cy) <= r)) | ((abs(yy - cy) <= r // 3) & (abs(xx - cx) <= r))


def shape_pictures(n, seed, size=32, noise=0.2, rmin=5, rmax=9):
    g = np.random.RandomState(seed)
    X = np.zeros((n, 3, size, size), np.float32)
    M = np.zeros((n, size, size), np.int64)
    B = np.zeros((n, 4), np.float32)
    Y = g.randint(0, 4, n)
    for i in range(n):
        r = g.randint(rmin, rmax)
        cx, cy = g.randint(r, size - r, 2)
        m = draw(Y[i], cx, cy, r, size)
        color = g.uniform(0.5, 1, 3)
        X[i] = g.normal(0, noise, (3, size, size))
        X[i] += m[None] * color[:, None, None]
        M[i][m] = Y[i] + 1
        B[i] = cx, cy, r, r
    return torch.tensor(X), torch.tensor(Y), torch.tensor(M), torch.tensor(B)


def cbr(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


def conv_bn(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
