"""The score thresholds at which precision and recall balance best: one for all classes, and one for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS = 8
"""Parts of the images that are dealt out to choose thresholds on or to judge them on."""
DEALS = 20
CUTS = 200
"""Thresholds tried: quantiles of the scores of the right predictions."""


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


def best_f1(scores: Floats, correct: NDArray[Any], objects: int, beta: float = 1.0) -> OperatingPoint:
    """Take all detections at or above each score in turn; return the threshold with the highest F-beta.

    F = (1 + b^2) P R / (b^2 P + R) = (1 + b^2) TP / (taken + b^2 objects). `scores` (N,), `correct` (N,) bool,
    `objects` the number to be found. Equal scores enter together.
    """
    if not objects:
        return OperatingPoint(None, None, None, None)
    if not correct.any():
        return OperatingPoint(None, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(correct[order])
    taken = np.arange(1, len(order) + 1)
    f = (1 + beta**2) * tp / (taken + beta**2 * objects)
    # Only the last of equal scores is a threshold that can be set.
    f[:-1][np.diff(scores[order]) == 0] = -1.0
    best = int(np.argmax(f))
    return OperatingPoint(
        float(scores[order[best]]), float(tp[best] / taken[best]), float(tp[best] / objects), float(f[best])
    )


@dataclass(frozen=True)
class ThresholdGain:
    """What a threshold for each class wins over one for all, judged on images that did not choose them."""

    gain: float
    """Mean F1 over the classes, 0..1, mean of the deals; about 0 or below when one threshold is as good."""
    low: float
    """The worst deal."""
    high: float
    """The best deal."""


def threshold_gain(
    scores: Floats,
    correct: NDArray[Any],
    classes: Ints,
    images: Ints,
    objects: Ints,
    *,
    min_objects: int = 20,
    seed: int = 0,
) -> ThresholdGain | None:
    """Choose thresholds of best F1 on half of the images, score them on the other half, many times over.

    `scores`, `correct`, `classes`, `images` (N,) of the detections that count, `objects` (K, number of images). Both
    choices, one threshold of the best mean F1 and one for each class, see the same half. Classes with fewer than
    `min_objects` are left out; None with fewer than two, or fewer than 8 images.
    """
    use = np.flatnonzero(objects.sum(axis=1) >= min_objects)
    num_images = objects.shape[1]
    if len(use) < 2 or num_images < BLOCKS or not correct.any():
        return None
    rng = np.random.default_rng(seed)
    block = rng.permutation(num_images) % BLOCKS
    cuts = np.unique(np.quantile(scores[correct], np.linspace(0, 1, CUTS)))
    place = np.searchsorted(cuts, scores, side="right") - 1
    counted = place >= 0
    cell = (block[images] * len(objects) + classes) * len(cuts) + place
    shape = (BLOCKS, len(objects), len(cuts))

    def at_or_above(mask: NDArray[np.bool_]) -> Ints:
        counts = np.bincount(cell[mask], minlength=int(np.prod(shape))).reshape(shape)
        return counts[:, use, ::-1].cumsum(axis=2)[:, :, ::-1]

    taken, right = at_or_above(counted), at_or_above(counted & (correct != 0))
    held = np.stack([objects[use][:, block == b].sum(axis=1) for b in range(BLOCKS)])

    def f1(blocks: Sequence[int]) -> Floats:
        """(K, CUTS); a class without objects and predictions there is perfect: it decides nothing."""
        total = taken[blocks].sum(axis=0) + held[blocks].sum(axis=0)[:, None]
        return np.divide(2 * right[blocks].sum(axis=0), total, out=np.ones(total.shape), where=total > 0)

    gains = []
    for _ in range(DEALS):
        dealt = rng.permutation(BLOCKS)
        for chosen, judged in ((dealt[::2], dealt[1::2]), (dealt[1::2], dealt[::2])):
            seen, unseen = f1(chosen.tolist()), f1(judged.tolist())
            each = unseen[np.arange(len(use)), seen.argmax(axis=1)]
            gains.append(float(each.mean() - unseen[:, seen.mean(axis=0).argmax()].mean()))
    return ThresholdGain(float(np.mean(gains)), min(gains), max(gains))
