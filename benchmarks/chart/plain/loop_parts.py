"""What several programs of `loop_*.py` share."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits(seed, images=True):
    X, y = load_digits(return_X_y=True)
    X = (X / 16.0).astype(np.float32)
    X = (X - X.mean()) / X.std()
    if images:
        X = X.reshape(-1, 1, 8, 8)
    a, b, c, d = train_test_split(X, y, test_size=0.25, random_state=seed, stratify=y)
    return torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(c), torch.from_numpy(d)
