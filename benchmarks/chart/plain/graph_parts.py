"""What several programs of `graph_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def get_digits(seed, shape=(1, 8, 8)):
    d = load_digits()
    x = torch.tensor((d.data - d.data.mean()) / d.data.std(), dtype=torch.float32).view(-1, *shape)
    y = torch.tensor(d.target)
    p = torch.from_numpy(np.random.RandomState(seed).permutation(len(x)))
    return x[p[:1350]], y[p[:1350]], x[p[1350:]], y[p[1350:]]
