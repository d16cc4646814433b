"""95 % intervals by drawing the evaluated images again, with replacement (Efron's percentile bootstrap).

Nothing is matched again: a draw is a weight for each image, and a detection counts as often as its image was drawn.
Few images make a percentile interval too narrow; the percentiles are moved outwards (see `percentile_levels`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from snellen.evaluation.coco_core import IGNORED, RECALL_THRESHOLDS, TRUE, Matching
from snellen.evaluation.interpolation import interpolated
from snellen.evaluation.pairs import Bools, Floats, Ints
from snellen.evaluation.significance import percentile_levels

MIN_VALUES = 10


def image_draws(num_images: int, replicates: int, seed: int) -> Iterator[Floats]:
    """Yield, for each replicate, (num_images,) how often every image was drawn."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, num_images, num_images), minlength=num_images).astype(np.float64)


def interval(values: Sequence[float] | Floats, images: int | None = None) -> tuple[float | None, float | None]:
    """95 % interval of replicates of a score over `images`, NaN left out; (None, None) without at least ten values."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) < MIN_VALUES or (images is not None and images < 2):
        return None, None
    low, high = np.percentile(values, percentile_levels(images) if images else (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class Replicates:
    """The scores of every draw; NaN where a draw held no object to score. R draws, K classes."""

    metrics: dict[str, Floats]
    """COCO metric -> (R,)."""
    ap: Floats
    """(R, K) AP@[.5:.95], or the mean over the thresholds given."""
    ap50: Floats
    """(R, K) AP at the first threshold."""


@dataclass(frozen=True)
class _Events:
    """Where the staircases of one area range change. P detections that count at some threshold, by class and score."""

    images: NDArray[np.int32]
    """(P,)."""
    base: Bools
    """(P,) counted at the first IoU threshold."""
    starts: Ints
    """(K + 1,) where each class begins."""
    place: NDArray[np.int32]
    """(E,) which of the P; by threshold, class and falling score."""
    hit: NDArray[np.int8]
    """(E,) 1: a true positive here."""
    shift: NDArray[np.int8]
    """(E,) how the count of this detection differs from that at the first threshold: -1, 0 or 1."""
    limit: NDArray[np.int8]
    """(E,) the smallest of the detection limits that still holds it."""
    event_starts: Ints
    """(T * K + 1,)."""


def replicate_detection(
    matching: Matching,
    order: Ints,
    starts: Ints,
    object_classes: Ints,
    object_images: Ints,
    object_ignored: Bools,
    *,
    num_images: int,
    replicates: int,
    seed: int = 0,
    max_dets: Sequence[int] = (1, 10, 100),
) -> Replicates:
    """Score `replicates` draws of the images as `coco_summary` and `interpolated_precision` would.

    `order` and `starts` as from `matching.staircase_order()`; `object_ignored` (A, G) objects that do not count in
    each area range. With one area range the metrics of sizes are left out, with one IoU threshold mAP75 too.
    """
    areas, thresholds, _ = matching.status.shape
    num_classes = matching.positives.shape[1]
    rank = np.arange(len(matching.rows)) - _group_starts(matching)
    limit = np.searchsorted(np.asarray(max_dets) - 1, rank).astype(np.int8)
    events = [_events(matching.status[a], order, starts, matching.images, limit, num_classes) for a in range(areas)]
    ap = np.empty((areas, thresholds, num_classes))
    recall = np.empty((areas, thresholds, num_classes, len(max_dets)))
    names = _names(areas, thresholds, max_dets)
    metrics = {name: np.full(replicates, np.nan) for name in names}
    class_ap, class_ap50 = (np.full((replicates, num_classes), np.nan) for _ in range(2))
    objects = [np.flatnonzero(~row) for row in object_ignored]
    for r, weights in enumerate(image_draws(num_images, replicates, seed) if num_images else ()):
        for a, e in enumerate(events):
            mine = objects[a]
            positives = np.bincount(object_classes[mine], weights[object_images[mine]], num_classes)
            _replicate(
                weights, positives.astype(np.float64), e.images, e.base, e.starts, e.place, e.hit, e.shift, e.limit,
                e.event_starts, RECALL_THRESHOLDS, ap[a], recall[a],
            )  # fmt: skip
        class_ap[r], class_ap50[r] = ap[0].mean(axis=0), ap[0, 0]
        for name, (kind, a, index) in names.items():
            values = (ap if kind == "ap" else recall)[a]
            values = values if kind == "ap" and index is None else values[index]
            if (defined := ~np.isnan(values)).any():
                metrics[name][r] = values[defined].mean()
    return Replicates(metrics, class_ap, class_ap50)


def _names(areas: int, thresholds: int, max_dets: Sequence[int]) -> dict[str, tuple[str, int, object]]:
    """Metric -> (ap or recall, area range, what to index the table with)."""
    sizes = ("_small", "_medium", "_large")[: areas - 1]
    every = slice(None)
    return {
        "mAP": ("ap", 0, None),
        "mAP50": ("ap", 0, 0),
        **({"mAP75": ("ap", 0, 5)} if thresholds > 5 else {}),
        **{f"mAP{name}": ("ap", a, None) for a, name in enumerate(sizes, 1)},
        **{f"mAR@{m}": ("recall", 0, (every, every, i)) for i, m in enumerate(max_dets)},
        **{f"mAR{name}": ("recall", a, (every, every, -1)) for a, name in enumerate(sizes, 1)},
    }


def _group_starts(matching: Matching) -> Ints:
    """(N,) where the (class, image) group of each detection of the matching begins."""
    fresh = np.ones(len(matching.rows), dtype=bool)
    fresh[1:] = (np.diff(matching.classes) != 0) | (np.diff(matching.images) != 0)
    return np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))


def _events(
    status: NDArray[np.uint8], order: Ints, starts: Ints, images: Ints, limit: NDArray[np.int8], num_classes: int
) -> _Events:
    counts = (status != IGNORED).any(axis=0)[order]
    kept = order[counts]
    class_starts = np.append(0, np.cumsum(counts))[starts]
    base = status[0, kept] != IGNORED
    parts, totals = [], []
    for row in status[:, kept]:
        hit = row == TRUE
        shift = (row != IGNORED).astype(np.int8) - base
        place = np.flatnonzero(hit | (shift != 0))
        parts.append((place, hit[place], shift[place], limit[kept[place]]))
        totals.append(np.diff(np.searchsorted(place, class_starts)))
    place, hit, shift, limits = (np.concatenate(column) for column in zip(*parts, strict=True))
    event_starts = np.append(0, np.cumsum(np.concatenate(totals)))
    return _Events(
        images[kept].astype(np.int32), base, class_starts, place.astype(np.int32), hit.astype(np.int8),
        shift.astype(np.int8), limits.astype(np.int8), event_starts,
    )  # fmt: skip


@njit(cache=True)
def _replicate(  # type: ignore[no-untyped-def]
    weights, positives, images, base, starts, place, hit, shift, limit, event_starts, recalls, ap, recall
):  # fmt: skip
    num_thresholds, num_classes, num_limits = recall.shape
    running = np.empty(len(images))
    longest = 0
    for cell in range(num_thresholds * num_classes):
        longest = max(longest, event_starts[cell + 1] - event_starts[cell])
    reached, precision = np.empty(longest), np.empty(longest)
    within = np.zeros(num_limits)
    for k in range(num_classes):
        if positives[k] <= 0:
            ap[:, k] = np.nan
            recall[:, k] = np.nan
            continue
        total = 0.0
        for i in range(starts[k], starts[k + 1]):
            if base[i]:
                total += weights[images[i]]
            running[i] = total
        for t in range(num_thresholds):
            cell = t * num_classes + k
            found, moved, n = 0.0, 0.0, 0
            within[:] = 0
            for e in range(event_starts[cell], event_starts[cell + 1]):
                i = place[e]
                weight = weights[images[i]]
                if weight == 0:
                    continue
                moved += shift[e] * weight
                if hit[e]:
                    found += weight
                    within[limit[e]] += weight
                    reached[n] = found / positives[k]
                    precision[n] = found / (running[i] + moved)
                    n += 1
            ap[t, k] = interpolated(precision, reached, n, recalls)
            seen = 0.0
            for m in range(num_limits):
                seen += within[m]
                recall[t, k, m] = seen / positives[k]
