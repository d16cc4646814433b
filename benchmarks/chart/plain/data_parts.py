"""What several programs of `data_*.py` share."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits(seed, test=0.25):
    d = load_digits()
    return train_test_split(
        d.images.astype(np.float32), d.target.astype(np.int64), test_size=test, random_state=seed, stratify=d.target
    )
