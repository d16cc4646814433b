"""The score threshold at which precision and recall balance best."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OperatingPoint:
    """Best F1 and where it is; all None when there are no objects, a threshold of None when nothing is right."""

    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None

    def metrics(self) -> dict[str, float | None]:
        """As rows of the table of scores."""
        return {"f1": self.f1, "precision": self.precision, "recall": self.recall, "f1_threshold": self.threshold}


def best_f1(scores: NDArray[np.float64], correct: NDArray[Any], objects: int) -> OperatingPoint:
    """Take all detections at or above each score in turn; return the threshold with the highest F1 = 2PR / (P + R).

    `scores` (N,), `correct` (N,) bool, `objects` the number to be found. Equal scores enter together.
    """
    if not objects:
        return OperatingPoint(None, None, None, None)
    if not correct.any():
        return OperatingPoint(None, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(correct[order])
    taken = np.arange(1, len(order) + 1)
    f1 = 2 * tp / (taken + objects)
    # Only the last of equal scores is a threshold that can be set.
    f1[:-1][np.diff(scores[order]) == 0] = -1.0
    best = int(np.argmax(f1))
    return OperatingPoint(
        float(scores[order[best]]), float(tp[best] / taken[best]), float(tp[best] / objects), float(f1[best])
    )
