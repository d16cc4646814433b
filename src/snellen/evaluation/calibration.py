"""How far a confidence is from the share that is right."""

from typing import Any

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


def maximum_calibration_error(confidence: Floats, right: Floats, bins: int = BINS) -> float:
    """The largest |share right - mean confidence| of a bin that holds anything (Guo et al., eq. 5); 0..1."""
    mean_confidence, share_right, counts = reliability(confidence, right, bins)
    return float(np.max(np.abs(mean_confidence - share_right)[counts > 0]))


def adaptive_calibration_error(confidence: Floats, right: Floats, bins: int = BINS) -> float:
    """As the expected calibration error, over bins that hold equally many (Nguyen and O'Connor, EMNLP 2015, 4.1).

    Equal confidences share a bin, so that the order of the records does not matter.
    """
    ranked = np.sort(confidence)
    upper = np.unique(ranked[np.ceil(np.arange(1, bins + 1) * len(ranked) / bins).astype(np.int64) - 1])
    index = np.searchsorted(upper, confidence, side="left")
    gaps = np.abs(np.bincount(index, confidence - right, len(upper)))
    return float(gaps.sum() / len(confidence))


def reliability_rows(class_name: str, confidence: Floats, right: Floats, bins: int = BINS) -> list[dict[str, Any]]:
    """`reliability` as rows of the facts' table."""
    mean_confidence, share_right, counts = reliability(confidence, right, bins)
    return [
        {
            "class_name": class_name,
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int(count),
            "confidence": float(mean_confidence[b]) if count else None,
            "accuracy": float(share_right[b]) if count else None,
        }
        for b, count in enumerate(counts)
    ]


def brier_per_image(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """(N,) sum over classes of (p - [label])^2; 0..2."""
    own = probabilities[np.arange(len(labels)), labels]
    return np.asarray(np.einsum("nc,nc->n", probabilities, probabilities) - 2 * own + 1)


def brier_score(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean over images of sum over classes of (p - [label])^2; 0..2 (Brier 1950)."""
    return float(np.mean(brier_per_image(probabilities, labels)))
