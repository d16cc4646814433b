"""What several programs of `architecture_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def load(seed, n_test=397, shape=(1, 8, 8), scale=1 / 16):
    bunch = load_digits()
    p = np.random.RandomState(seed).permutation(len(bunch.data))
    x = torch.tensor(bunch.data[p] * scale, dtype=torch.float32).view(-1, *shape)
    y = torch.tensor(bunch.target[p])
    return x[n_test:], y[n_test:], x[:n_test], y[:n_test]
