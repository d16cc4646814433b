"""What several programs of `weights_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def digits(seed, n_test=397, flat=False):
    d = load_digits()
    x = torch.tensor(d.data, dtype=torch.float32) / 16.0
    y = torch.tensor(d.target)
    p = torch.from_numpy(np.random.RandomState(seed).permutation(len(x)))
    x, y = x[p], y[p]
    if not flat:
        x = x.view(-1, 1, 8, 8)
    return x[n_test:], y[n_test:], x[:n_test], y[:n_test]
