"""95 % intervals by drawing the evaluated images again, with replacement (Efron's percentile bootstrap)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

INTERVAL = (2.5, 97.5)
"""Percentiles."""


def image_draws(num_images: int, replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield, for each replicate, (num_images,) how often every image was drawn."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, num_images, num_images), minlength=num_images).astype(np.float64)


def interval(values: list[float]) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile; (None, None) without at least ten values."""
    if len(values) < 10:
        return None, None
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)
