"""The Brier score taken apart: what miscalibration costs, what discrimination wins, what the classes leave open."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from snellen.evaluation.binary_curves import staircase
from snellen.evaluation.calibration import brier_score

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BrierParts:
    """score = miscalibration - discrimination + uncertainty, exactly; each summed over the classes."""

    score: float
    """0..2 over all classes (Brier 1950); twice scikit-learn's for two classes."""
    miscalibration: float
    """What the best monotone map of the probabilities would win; >= 0, 0 for a calibrated model ("reliability")."""
    discrimination: float
    """What the order of the probabilities wins over always saying the class shares; >= 0 ("resolution")."""
    uncertainty: float
    """The score of always saying the class shares."""


def brier_parts(probabilities: Floats, labels: NDArray[np.int64]) -> BrierParts:
    """Decompose the Brier score of `probabilities` (N, C), N > 0, against `labels` (N,).

    Dimitriadis, Gneiting and Jordan, PNAS 118(8), 2021 (CORP): the recalibrated forecast is the isotonic regression of
    the labels on each class's probability. Unlike Murphy's (1973) bins it needs no choice and adds up exactly.
    """
    n, classes = probabilities.shape
    score = brier_score(probabilities, labels)
    shares = np.bincount(labels, minlength=classes) / n
    uncertainty = float(np.sum(shares * (1 - shares)))
    recalibrated = 0.0
    for k in range(classes):
        steps = staircase(probabilities[:, k], labels == k)
        recalibrated += _isotonic_brier(steps.true_positives, steps.taken) / n
    return BrierParts(score, score - recalibrated, uncertainty - recalibrated, uncertainty)


@njit(cache=True)
def _isotonic_brier(true_positives, taken):  # type: ignore[no-untyped-def]
    """Sum of (p - label)^2 after isotonic regression: pool adjacent violators over the distinct scores, falling."""
    count, right = np.empty(len(taken)), np.empty(len(taken))
    blocks = 0
    for i in range(len(taken)):
        n = float(taken[i] - (taken[i - 1] if i else 0))
        r = float(true_positives[i] - (true_positives[i - 1] if i else 0))
        # A block whose share of positives is not below that of the block before is pooled with it.
        while blocks and r * count[blocks - 1] >= right[blocks - 1] * n:
            blocks -= 1
            n += count[blocks]
            r += right[blocks]
        count[blocks], right[blocks] = n, r
        blocks += 1
    total = 0.0
    for b in range(blocks):
        total += right[b] * (1 - right[b] / count[b])
    return total
