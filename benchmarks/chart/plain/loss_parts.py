"""What several programs of `loss_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def get_digits(seed, flat=False, div=16.0, n_test=397):
    d = load_digits()
    x = d.data.astype(np.float32) / div
    p = np.random.RandomState(seed).permutation(len(x))
    x, y = torch.from_numpy(x[p]), torch.from_numpy(d.target[p]).long()
    if not flat:
        x = x.reshape(-1, 1, 8, 8)
    return x[n_test:], y[n_test:], x[:n_test], y[:n_test]
