"""Precision, recall, F-beta, G-mean, MCC and kappa from counts per class, in scikit-learn's definitions.

Everything follows from three counts per class: how often it is true, how often predicted, how often both. A leading
axis of replicates gives a bootstrap for the price of one more dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """(..., K) weighted counts of K classes in which every record has one true and one predicted class."""

    true: Floats
    predicted: Floats
    hits: Floats

    @property
    def total(self) -> Floats:
        """(..., 1) records."""
        return self.true.sum(axis=-1, keepdims=True)


def count_classes(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Floats) -> ClassCounts:
    """Count (N,) true and predicted class indices, each record `weights` (N,) times."""
    right = true == predicted
    return ClassCounts(
        np.asarray(np.bincount(true, weights, classes), dtype=np.float64),
        np.asarray(np.bincount(predicted, weights, classes), dtype=np.float64),
        np.asarray(np.bincount(true[right], weights[right], classes), dtype=np.float64),
    )


def precision(counts: ClassCounts) -> Floats:
    """TP / (TP + FP); NaN for a class that is never predicted."""
    return _ratio(counts.hits, counts.predicted)


def recall(counts: ClassCounts) -> Floats:
    """TP / (TP + FN); NaN for a class that is never true."""
    return _ratio(counts.hits, counts.true)


def f_beta(counts: ClassCounts, beta: float = 1.0) -> Floats:
    """(1 + b^2) TP / (b^2 (TP + FN) + TP + FP) with b = `beta` (van Rijsbergen 1979); NaN for a class never true.

    A class that is there and never predicted has 0: it is defined, although its precision is not.
    """
    value = _ratio((1 + beta**2) * counts.hits, beta**2 * counts.true + counts.predicted)
    return np.where(counts.true > 0, value, np.nan)


def g_mean(counts: ClassCounts) -> Floats:
    """Square root of recall times specificity TN / (TN + FP) (Kubat and Matwin 1997); NaN when either is undefined."""
    negatives = counts.total - counts.true
    specificity = _ratio(negatives - (counts.predicted - counts.hits), negatives)
    return np.sqrt(recall(counts) * specificity)


def headline_rates(counts: ClassCounts) -> dict[str, Floats]:
    """Accuracy, averages, G-mean, MCC and kappa; each of the leading shape, NaN where undefined.

    Means run over the classes that are true somewhere (scikit-learn's `labels=`), in which a class that is never
    predicted has precision 0 (`zero_division=0`); weighted means weigh by the true counts. One label and one guess
    a record: every micro average is the accuracy. `g_mean` is the geometric mean of the recalls (Sun et al. 2006).
    MCC is Gorodkin's R_K (2004), kappa Cohen's.
    """
    true, n = counts.true, counts.total[..., 0]
    present = true > 0
    own_recall = recall(counts)
    parts = {
        "precision": np.where(counts.predicted > 0, precision(counts), 0.0),
        "recall": own_recall,
        "f1": f_beta(counts),
        "f05": f_beta(counts, 0.5),
        "f2": f_beta(counts, 2.0),
    }
    accuracy = _ratio(counts.hits.sum(axis=-1), n)
    chance = _ratio((true * counts.predicted).sum(axis=-1), n**2)
    spread = (1 - _ratio((true**2).sum(axis=-1), n**2)) * (1 - _ratio((counts.predicted**2).sum(axis=-1), n**2))
    # A product of rounded differences is never exactly 0: one class alone is told by the counts.
    single = (np.count_nonzero(present, axis=-1) < 2) | (np.count_nonzero(counts.predicted > 0, axis=-1) < 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(present, np.log(own_recall), 0.0)
        return {
            "accuracy": accuracy,
            "balanced_accuracy": _mean(own_recall, present),
            **{f"macro_{name}": _mean(values, present) for name, values in parts.items()},
            **{f"weighted_{name}": _mean(values, true * present) for name, values in parts.items()},
            "g_mean": np.where(present.any(axis=-1), np.exp(_ratio(logs.sum(axis=-1), present.sum(axis=-1))), np.nan),
            "mcc": np.where(single, np.nan, (accuracy - chance) / np.sqrt(spread)),
            "kappa": np.where(counts.hits.max(axis=-1, initial=0.0) == n, np.nan, (accuracy - chance) / (1 - chance)),
        }


def average_defined(values: Sequence[float | None], weights: Sequence[float] | None = None) -> float | None:
    """Mean of those that are defined; None when there is none."""
    pairs = [(v, w) for v, w in zip(values, weights or [1.0] * len(values), strict=True) if v is not None]
    return sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else None


def _mean(values: Floats, weights: NDArray[np.float64] | NDArray[np.bool_]) -> Floats:
    w = weights.astype(np.float64)
    return _ratio(np.where(w > 0, values * w, 0.0).sum(axis=-1), w.sum(axis=-1))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
