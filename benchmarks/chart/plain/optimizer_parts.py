"""What several programs of `optimizer_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def table(loader, seed, test=0.25):
    X, y = loader(return_X_y=True)
    a, b, c, d = train_test_split(X, y, test_size=test, random_state=seed, stratify=y)
    sc = StandardScaler().fit(a)
    f = lambda v: torch.tensor(sc.transform(v), dtype=torch.float32)
    return f(a), f(b), torch.tensor(c), torch.tensor(d)


def digit_pictures(seed):
    X, y = load_digits(return_X_y=True)
    X = ((X - 4.9) / 6.0).astype(np.float32).reshape(-1, 1, 8, 8)
    a, b, c, d = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
    return [torch.from_numpy(v) for v in (a, b, c, d)]
