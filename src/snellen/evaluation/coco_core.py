"""COCO scoring on plain arrays, bit-identical to pycocotools 2.0 and more than a hundred times faster.

Three steps: sort once by (class, image, falling score), match every (class, image) group, walk the precision/recall
staircase of every class. How much a detection overlaps an object is asked of an `Overlap`: boxes, masks, keypoints
and rotated boxes differ in nothing else. The loops that numpy cannot express are compiled by numba and cached on disk.

Known traps of the reference that are mended here: a ground truth with id 0 counts as found (there are no ids), and
the largest of `max_dets` is used for AP whatever its value (the reference returns -1 unless it is 100).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from snellen.evaluation.ordering import class_order, fall_within, grouped
from snellen.evaluation.pairs import Bools, BoxOverlap, Floats, Ints, Overlap, pairs_of, run_starts

IOU_THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS: Floats = np.linspace(0.0, 1.0, 101)
"""float64 on purpose: in float32 some of the 101 samples fall on the wrong side of a step."""
AREA_RANGES: Floats = np.array([[0.0, 1e10], [0.0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""Rows: all, small, medium, large; px^2, both ends included."""
AREA_NAMES = ("", "_small", "_medium", "_large")
MAX_DETS = (1, 10, 100)

FALSE, TRUE, IGNORED = 0, 1, 2
"""What a detection counts as: a false positive, a true positive, nothing."""


@dataclass(frozen=True)
class Objects:
    """What is to be found; M objects."""

    classes: Ints
    """(M,) 0-based."""
    images: Ints
    """(M,) 0-based."""
    areas: Floats
    """(M,) px^2, as the size classes take it."""
    crowd: Bools
    """(M,) a region of many: may be matched by any number of detections."""
    ignore: Bools
    """(M,) neither counted nor missed; every crowd is."""


@dataclass(frozen=True)
class Detections:
    """What was found; N detections. Equal scores keep the order given."""

    classes: Ints
    """(N,) 0-based."""
    images: Ints
    """(N,) 0-based."""
    scores: Floats
    """(N,) no NaN."""
    areas: Floats
    """(N,) px^2, as the size classes take it."""
    unjudged: Bools | None = None
    """(N,) counts as nothing unless it matches (LVIS: its class is not annotated exhaustively in this image)."""
    considered: Bools | None = None
    """(N,) takes part at all (LVIS: among the best of its image, and of a class that was looked for there)."""


@dataclass(frozen=True)
class Matching:
    """Detections matched to objects. N detections (those within the largest of `max_dets`), sorted as `rows` says."""

    rows: Ints
    """(N,) row of the input that each sorted detection came from."""
    classes: Ints
    """(N,) 0-based class."""
    images: Ints
    """(N,) 0-based image."""
    scores: Floats
    """(N,)."""
    status: NDArray[np.uint8]
    """(A, T, N) FALSE, TRUE or IGNORED in each area range at each IoU threshold."""
    match: Ints
    """(N,) input row of the object matched in the first area range at the first threshold; -1 when none."""
    match_overlap: Floats
    """(N,) its overlap; 0 when none."""
    true_positives: Ints
    """(A, T, K, M) counts within each of the M detection limits."""
    positives: Ints
    """(A, K) objects that are not ignored."""
    iou_thresholds: Floats
    """(T,)."""
    max_dets: tuple[int, ...]
    """The M detection limits, ascending."""

    def staircase_order(self) -> tuple[Ints, Ints]:
        """(N,) detections by class and falling score, ties in image order, and (K + 1,) where each class starts."""
        return class_order(self.classes, self.scores, self.positives.shape[1])


def match(
    objects: Objects,
    detections: Detections,
    overlap: Overlap,
    *,
    num_classes: int,
    num_images: int,
    iou_thresholds: Floats = IOU_THRESHOLDS,
    area_ranges: Floats = AREA_RANGES,
    max_dets: Sequence[int] = MAX_DETS,
) -> Matching:
    """Match detections to objects as `COCOeval.evaluate` does, greedily by falling score in every image and class.

    `area_ranges` are (A, 2) lowest and highest px^2, both included. Memory: A x T bytes a detection and, at a time,
    `pairs.CHUNK` overlaps.
    """
    limits = tuple(sorted(max_dets))
    rows, keys = _ranked(detections, num_classes, num_images, limits[-1])
    object_rows = grouped(objects.classes, num_classes, grouped(objects.images, num_images)[0])[0]
    object_keys = objects.classes[object_rows] * num_images + objects.images[object_rows]
    pairs = pairs_of(rows, keys, object_rows, object_keys)

    areas = objects.areas[object_rows]
    crowd = objects.crowd[object_rows]
    ignore = objects.ignore[object_rows] | (areas < area_ranges[:, :1]) | (areas > area_ranges[:, 1:])
    own = detections.areas[rows]
    outside = (own < area_ranges[:, :1]) | (own > area_ranges[:, 1:])
    if detections.unjudged is not None:
        outside |= detections.unjudged[rows]
    classes = detections.classes[rows]

    status = np.zeros((len(area_ranges), len(iou_thresholds), len(rows)), dtype=np.uint8)
    status |= (outside * np.uint8(IGNORED))[:, None]
    matched = np.full(len(rows), -1, dtype=np.int64)
    matched_overlap = np.zeros(len(rows))
    counts = np.zeros((*status.shape[:2], num_classes, len(limits)), dtype=np.int64)
    for chunk in pairs.chunks():
        _match(
            overlap(chunk), chunk.offsets, chunk.starts, chunk.ends, chunk.object_starts, chunk.object_ends, classes,
            ignore, crowd, np.minimum(iou_thresholds, 1 - 1e-10), np.asarray(limits),
            status, matched, matched_overlap, counts,
        )  # fmt: skip
    found = matched >= 0
    matched[found] = object_rows[matched[found]]
    object_classes = objects.classes[object_rows]
    positives = np.stack([np.bincount(object_classes[~row], minlength=num_classes) for row in ignore])
    return Matching(
        rows, classes, detections.images[rows], detections.scores[rows], status, matched, matched_overlap, counts,
        positives.astype(np.int64), iou_thresholds, limits,
    )  # fmt: skip


def match_boxes(
    object_boxes_xywh: Floats,
    object_classes: Ints,
    object_images: Ints,
    object_crowd: Bools,
    object_areas: Floats,
    boxes_xywh: Floats,
    classes: Ints,
    images: Ints,
    scores: Floats,
    *,
    num_classes: int,
    num_images: int,
    iou_thresholds: Floats = IOU_THRESHOLDS,
    area_ranges: Floats = AREA_RANGES,
    max_dets: Sequence[int] = MAX_DETS,
) -> Matching:
    """Match boxes: (n, 4) x, y, width, height in float64 pixels, finite; classes and images are 0-based int64."""
    return match(
        Objects(object_classes, object_images, object_areas, object_crowd, object_crowd),
        Detections(classes, images, scores, boxes_xywh[:, 2] * boxes_xywh[:, 3]),
        BoxOverlap(np.ascontiguousarray(boxes_xywh), np.ascontiguousarray(object_boxes_xywh), object_crowd),
        num_classes=num_classes,
        num_images=num_images,
        iou_thresholds=iou_thresholds,
        area_ranges=area_ranges,
        max_dets=max_dets,
    )


def interpolated_precision(
    status: NDArray[np.uint8], order: Ints, starts: Ints, weights: Floats, positives: Floats
) -> Floats:
    """Return (T, 101, K) precision at the recall thresholds as `COCOeval.accumulate` does; -1 for K without objects.

    `status` is (T, N), `order` and `starts` as from `class_order`, `weights` (N,) how often each detection counts and
    `positives` (K,) the objects, counted likewise: ones for the score itself, draws per image for a bootstrap.
    """
    out = np.empty((len(status), len(RECALL_THRESHOLDS), len(positives)))
    lowest, highest = status.min(axis=0), status.max(axis=0)
    varied = (lowest != highest) | (lowest == TRUE)
    _precision(
        np.ascontiguousarray(status), varied, lowest == FALSE, order, starts, weights, positives, RECALL_THRESHOLDS, out
    )
    return out


def mean_defined(values: Floats) -> float | None:
    """Mean of the entries that are not -1; None when there is none."""
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else None


def recalls(matching: Matching) -> Floats:
    """Return (A, T, K, M) share of the objects found within each detection limit; -1 for classes without objects."""
    positives = matching.positives[:, None, :, None].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(positives > 0, matching.true_positives / positives, -1.0)


def coco_summary(matching: Matching, area_names: Sequence[str] = AREA_NAMES) -> dict[str, float | None]:
    """The twelve numbers of COCO (fewer or more where limits or area ranges are others); None: undefined.

    mAP, mAP50, mAP75, mAP of every area range, mAR@limit, mAR of every area range. All but the mAR@limit look at the
    detections within the largest limit. `area_names` are the suffixes of the ranges, the first of which is all.
    """
    order, starts = matching.staircase_order()
    ones = np.ones(len(matching.rows))
    recall = recalls(matching)
    summary: dict[str, float | None] = {}
    for area, name in enumerate(area_names):
        positives = matching.positives[area].astype(np.float64)
        precision = interpolated_precision(matching.status[area], order, starts, ones, positives)
        summary["mAP" + name] = mean_defined(precision)
        if not area:
            for percent in (50, 75):
                at = np.isclose(matching.iou_thresholds, percent / 100)
                summary[f"mAP{percent}"] = mean_defined(precision[at])
    for index, limit in enumerate(matching.max_dets):
        summary[f"mAR@{limit}"] = mean_defined(recall[0, ..., index])
    for area, name in enumerate(area_names[1:], 1):
        summary["mAR" + name] = mean_defined(recall[area, ..., -1])
    return summary


def _ranked(detections: Detections, num_classes: int, num_images: int, limit: int) -> tuple[Ints, Ints]:
    """Rows by class, image and falling score, at most `limit` of each class and image, and their sorted keys."""
    rows, _ = grouped(detections.classes, num_classes, grouped(detections.images, num_images)[0])
    if detections.considered is not None:
        rows = rows[detections.considered[rows]]
    keys = detections.classes[rows] * num_images + detections.images[rows]
    starts = np.append(run_starts(keys), len(keys))
    fall_within(rows, starts, detections.scores)
    if len(keys) and np.diff(starts).max() > limit:
        kept = np.arange(len(keys)) - np.repeat(starts[:-1], np.diff(starts)) < limit
        return rows[kept], keys[kept]
    return rows, keys


@njit(cache=True)
def _match(  # type: ignore[no-untyped-def]
    overlaps, offsets, starts, ends, object_starts, object_ends, classes, ignore, crowd, thresholds, limits,
    status, match, match_overlap, counts,
):  # fmt: skip
    lowest = thresholds.min()
    most, most_objects = max((ends - starts).max(), 1), max((object_ends - object_starts).max(), 1)
    candidates, highest = np.empty(most, dtype=np.int64), np.empty(most)
    chosen = np.empty((len(thresholds), most), dtype=np.int64)
    order, taken = np.empty(most_objects, dtype=np.int64), np.empty(most_objects, dtype=np.bool_)
    for g in range(len(starts)):
        first, low = starts[g], object_starts[g]
        n = object_ends[g] - low
        near = overlaps[offsets[g] : offsets[g + 1]].reshape(ends[g] - first, n)
        found = 0
        for d in range(len(near)):
            top = 0.0
            for j in range(n):
                top = max(top, near[d, j])
            if top >= lowest:
                candidates[found], highest[found] = d, top
                found += 1
        if not found:
            continue
        uniform = False
        for a in range(len(status)):
            ignored = 0
            for j in range(n):
                ignored += ignore[a, low + j]
            # Without preference among the objects the choice is that of an earlier area range.
            plain = ignored == 0 or ignored == n
            if not (plain and uniform):
                # Objects that count come first, ignored ones last, each in the order given.
                k = 0
                for wanted in (False, True):
                    for j in range(n):
                        if ignore[a, low + j] == wanted:
                            order[k] = j
                            k += 1
                for t in range(len(thresholds)):
                    taken[:n] = False
                    for c in range(found):
                        chosen[t, c] = -1
                        if highest[c] < thresholds[t]:
                            continue
                        d, best, m = candidates[c], thresholds[t], -1
                        for k in range(n):
                            j = order[k]
                            if taken[j] and not crowd[low + j]:
                                continue
                            if m >= 0 and not ignore[a, low + m] and ignore[a, low + j]:
                                break
                            if near[d, j] >= best:
                                best, m = near[d, j], j
                        chosen[t, c] = m
                        if m >= 0:
                            taken[m] = True
                uniform = plain
            for c in range(found):
                d = candidates[c]
                for t in range(len(thresholds)):
                    m = chosen[t, c]
                    if m < 0:
                        continue
                    if a == 0 and t == 0:
                        match[first + d], match_overlap[first + d] = low + m, near[d, m]
                    if ignore[a, low + m]:
                        status[a, t, first + d] = 2
                        continue
                    status[a, t, first + d] = 1
                    for k in range(len(limits)):
                        if d < limits[k]:
                            counts[a, t, classes[first], k] += 1


@njit(cache=True)
def _precision(status, varied, false, order, starts, weights, positives, recalls, out):  # type: ignore[no-untyped-def]
    recall = np.empty(len(order))
    precision = np.empty(len(order))
    own = np.empty(len(order), dtype=np.int64)
    false_before = np.empty(len(order))
    for k in range(len(positives)):
        if positives[k] <= 0:
            out[:, :, k] = -1.0
            continue
        # Most detections are false, or ignored, at every threshold: they are counted once.
        some, before = 0, 0.0
        for i in range(starts[k], starts[k + 1]):
            d = order[i]
            if varied[d]:
                if weights[d] > 0:
                    own[some], false_before[some] = d, before
                    some += 1
            elif false[d]:
                before += weights[d]
        for t in range(len(status)):
            tp, fp, n = 0.0, 0.0, 0
            for i in range(some):
                d = own[i]
                if status[t, d] == 2:
                    continue
                if status[t, d] == 0:
                    fp += weights[d]
                    continue
                # Precision peaks at true positives, so the staircase needs no other point.
                tp += weights[d]
                recall[n] = tp / positives[k]
                precision[n] = tp / (fp + false_before[i] + tp + 2.220446049250313e-16)
                n += 1
            for i in range(n - 1, 0, -1):
                precision[i - 1] = max(precision[i - 1], precision[i])
            i = 0
            for r in range(len(recalls)):
                while i < n and recall[i] < recalls[r]:
                    i += 1
                out[t, r, k] = precision[i] if i < n else 0.0
