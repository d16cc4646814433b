"""What several programs of `habits_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def _digits(seed, test=0.3):
    X, y = load_digits(return_X_y=True)
    a, b, c, d = train_test_split((X / 16.0).astype(np.float32), y, test_size=test, stratify=y, random_state=seed)
    m, s = a.mean(), a.std()
    return torch.tensor((a - m) / s), torch.tensor((b - m) / s), torch.tensor(c), torch.tensor(d)
