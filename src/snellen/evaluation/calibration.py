"""How far a confidence is from the share that is right."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15
"""Guo et al., On Calibration of Modern Neural Networks, ICML 2017."""


def reliability(confidence: Floats, right: Floats, bins: int = BINS) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return mean confidence, share right and count of each of `bins` equal bins (low, high]; NaN where empty.

    `confidence` (N,) in 0..1, `right` (N,) 0 or 1.
    """
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, confidence, bins) / counts
        share_right = np.bincount(index, right, bins) / counts
    return mean_confidence, share_right, counts


def expected_calibration_error(confidence: Floats, right: Floats, bins: int = BINS) -> float:
    """sum over bins of n_b / N * |share right - mean confidence| (Guo et al., eq. 3); 0..1."""
    mean_confidence, share_right, counts = reliability(confidence, right, bins)
    gaps = np.abs(mean_confidence - share_right)
    used = counts > 0
    return float(np.sum(counts[used] * gaps[used]) / len(confidence))


def brier_score(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean over images of sum over classes of (p - [label])^2; 0..2 (Brier 1950)."""
    target = np.zeros_like(probabilities)
    target[np.arange(len(labels)), labels] = 1.0
    return float(np.mean(np.sum((probabilities - target) ** 2, axis=1)))
