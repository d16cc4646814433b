"""Tails of the usual distributions, and the correction for asking many questions at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, stdtr, stdtrit

Floats = NDArray[np.float64]


def two_sided(value: float, standard_error: float, freedom: float) -> float:
    """Probability of a Student t of `freedom` > 0 degrees at least as far from 0 as value / standard_error.

    Without any variation a value is certain: 0, or 1 when it is 0 itself.
    """
    if standard_error <= 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(value) / standard_error))


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test: are the pairs on which the two disagree split as a fair coin would?"""
    total = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), total, 0.5))) if total else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): reject where it is at most alpha, and the chance of even one false rejection
    stays below alpha whatever the dependence."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted.tolist()


def percentile_levels(sample: int, tail: float = 0.025) -> tuple[float, float]:
    """Percentiles (0..100) of a bootstrap over `sample` units whose interval covers as a Student interval would.

    Plain 2.5 % and 97.5 % are too narrow for few units: by sqrt((n - 1) / n) and by the tail of t against the normal
    (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.2, "expanded percentile").
    """
    low = float(ndtr(np.sqrt(sample / (sample - 1)) * stdtrit(sample - 1, tail)))
    return 100 * low, 100 * (1 - low)
