"""PASCAL VOC's average precision: 11 points (2007 to 2009) or the whole area (2010 on), and DOTA's for rotated boxes.

Matching differs from COCO's: a detection asks only for the object of its class that it overlaps most. Is that object
taken by a better detection, this one is a duplicate, even where it overlaps another one by enough. Objects marked
difficult are neither counted nor missed, and what is matched to them counts as nothing.
Source: the development kit of VOC 2012, VOCevaldet.m. Its boxes end in the last pixel, so that they are xmax - xmin + 1
wide; here a box is x2 - x1 wide, which is the same box when x2 is the pixel's far side.
"""

import numpy as np
from numba import njit

from snellen.evaluation.coco_core import FALSE, TRUE, Detections, Matching, Objects
from snellen.evaluation.ordering import fall_within, grouped
from snellen.evaluation.pairs import Floats, Overlap, pairs_of, run_starts

CONVENTION = (
    "VOC's matching at IoU 0.5, the mean of the best precision at or above recall 0, 0.1 ... 1, and the area under "
    "precision made monotone over recall"
)


def match_voc(
    objects: Objects,
    detections: Detections,
    overlap: Overlap,
    *,
    num_classes: int,
    num_images: int,
    iou_threshold: float = 0.5,
) -> Matching:
    """Match by falling score, each detection to the object it overlaps most; all detections count, all sizes."""
    rows, _ = grouped(detections.classes, num_classes, grouped(detections.images, num_images)[0])
    keys = detections.classes[rows] * num_images + detections.images[rows]
    fall_within(rows, np.append(run_starts(keys), len(keys)), detections.scores)
    object_rows, _ = grouped(objects.classes, num_classes, grouped(objects.images, num_images)[0])
    object_keys = objects.classes[object_rows] * num_images + objects.images[object_rows]
    status = np.full(len(rows), FALSE, dtype=np.uint8)
    matched, matched_overlap = np.full(len(rows), -1, dtype=np.int64), np.zeros(len(rows))
    for chunk in pairs_of(rows, keys, object_rows, object_keys).chunks():
        _match(
            overlap(chunk), chunk.offsets, chunk.starts, chunk.ends, chunk.object_starts, chunk.object_ends,
            objects.ignore[object_rows], iou_threshold, status, matched, matched_overlap,
        )  # fmt: skip
    found = matched >= 0
    matched[found] = object_rows[matched[found]]
    classes = detections.classes[rows]
    return Matching(
        rows, classes, detections.images[rows], detections.scores[rows], status[None, None], matched, matched_overlap,
        np.bincount(classes[status == TRUE], minlength=num_classes)[None, None, :, None],
        np.bincount(objects.classes[~objects.ignore], minlength=num_classes)[None],
        np.array([iou_threshold]), (len(rows),),
    )  # fmt: skip


def voc_ap(matching: Matching, year: str) -> Floats:
    """Return (K,) AP of every class by `year`, "2007" or "2010"; NaN for a class without objects.

    Taken from the first area range and threshold of `matching`; that of `match_voc`, or of COCO's matching.
    """
    order, starts = matching.staircase_order()
    status = matching.status[0, 0][order]
    ap = np.full(len(starts) - 1, np.nan)
    for k in np.flatnonzero(matching.positives[0]):
        own = status[starts[k] : starts[k + 1]]
        tp, fp = np.cumsum(own == TRUE), np.cumsum(own == FALSE)
        recall = tp / matching.positives[0, k]
        precision = np.maximum.accumulate((tp / np.maximum(tp + fp, 1))[::-1])[::-1]
        if year == "2007":
            at = np.searchsorted(recall, np.linspace(0.0, 1.0, 11))
            ap[k] = np.append(precision, 0.0)[at].sum() / 11
        else:
            ap[k] = (np.diff(recall, prepend=0.0) * precision).sum()
    return ap


@njit(cache=True)
def _match(  # type: ignore[no-untyped-def]
    overlaps, offsets, starts, ends, object_starts, object_ends, ignore, threshold, status, match, match_overlap
):
    for g in range(len(starts)):
        low, n = object_starts[g], object_ends[g] - object_starts[g]
        near = overlaps[offsets[g] : offsets[g + 1]].reshape(ends[g] - starts[g], n)
        taken = np.zeros(n, dtype=np.bool_)
        for d in range(len(near)):
            best, m = -1.0, -1
            for j in range(n):
                if near[d, j] > best:
                    best, m = near[d, j], j
            if m < 0 or best < threshold:
                continue
            if ignore[low + m]:
                status[starts[g] + d] = 2
            elif not taken[m]:
                taken[m] = True
                status[starts[g] + d] = 1
                match[starts[g] + d], match_overlap[starts[g] + d] = low + m, best
