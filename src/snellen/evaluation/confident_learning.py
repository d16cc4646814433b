"""Confident learning: labels that a classifier's probabilities speak against (Northcutt et al., JAIR 2021).

Shapes: N images, C classes.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROUNDING = 1e-6
"""A probability this little below its threshold passes, as in cleanlab."""


def class_thresholds(labels_N: Ints, p_NC: Floats) -> Floats:
    """(C,) mean probability of each class over the images labelled so (section 3.1, eq. 2); inf without such images."""
    counts = np.bincount(labels_N, minlength=p_NC.shape[1])
    own = np.bincount(labels_N, weights=p_NC[np.arange(len(labels_N)), labels_N], minlength=p_NC.shape[1])
    return np.divide(own, counts, out=np.full(p_NC.shape[1], np.inf), where=counts > 0)


def confident_classes(p_NC: Floats, thresholds_C: Floats) -> Ints:
    """(N,) the most probable class of those whose probability reaches its threshold; -1 where none does (eq. 1).

    An image labelled otherwise stands off the diagonal of the confident joint.
    """
    reached = p_NC >= thresholds_C - ROUNDING
    return np.where(reached.any(axis=1), np.where(reached, p_NC, -1.0).argmax(axis=1), -1)


def suggested_classes(labels_N: Ints, p_NC: Floats, thresholds_C: Floats) -> Ints:
    """(N,) the class that an image off the diagonal more likely shows; -1 for the others.

    As cleanlab's `filter_by="confident_learning"`, in which an image whose most probable class is its label is never
    accused either; but where several classes reach their thresholds, cleanlab takes the most probable of all classes,
    even one that does not.
    """
    confident = confident_classes(p_NC, thresholds_C)
    accused = (confident >= 0) & (confident != labels_N) & (p_NC.argmax(axis=1) != labels_N)
    return np.where(accused, confident, -1)
