"""LVIS's federated protocol (Gupta, Dollar and Girshick, CVPR 2019, section 3.1): 13 numbers, equal to lvis-api 0.5.

Of a great many classes, only some were looked for in each image. A detection counts where its class has an object or
is known to be absent; elsewhere nobody knows, and it is left out. Where the class is there but not every object is
annotated, a detection that matches nothing counts as nothing. At most 300 detections of an image count, over all
classes. The frequency of a class says in how many training images it occurs: rare 1..10, common 11..100, frequent.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snellen.evaluation.coco_core import (
    Detections,
    Matching,
    Objects,
    coco_summary,
    interpolated_precision,
    match,
    mean_defined,
)
from snellen.evaluation.ordering import fall_within, grouped
from snellen.evaluation.pairs import Bools, Ints, Overlap

CONVENTION = (
    "LVIS: COCO's AP over IoU 0.50:0.95, at most 300 detections an image; detections of classes that were not looked "
    "for in an image are left out, and those of classes not annotated exhaustively there cannot be false"
)
MAX_DETS = 300
FREQUENCIES = {"r": "_rare", "c": "_common", "f": "_frequent"}


@dataclass(frozen=True)
class Federation:
    """What was looked for where; images and classes are 0-based."""

    frequency: np.ndarray
    """(K,) "r", "c" or "f" of every class."""
    negative: Ints
    """(P, 2) image and class known to be absent there."""
    not_exhaustive: Ints
    """(Q, 2) image and class of which not every object is annotated there."""


def match_lvis(
    objects: Objects,
    detections: Detections,
    overlap: Overlap,
    federation: Federation,
    *,
    num_classes: int,
    num_images: int,
    max_dets: int = MAX_DETS,
) -> Matching:
    """Match as LVISEval does; `max_dets` is an image's limit over all classes. No object is a crowd in LVIS."""
    size: dict[str, Any] = {"num_classes": num_classes, "num_images": num_images}
    judged = federated(objects, detections, federation, **size, max_dets=max_dets)
    return match(objects, judged, overlap, **size, max_dets=(max_dets,))


def federated(
    objects: Objects,
    detections: Detections,
    federation: Federation,
    *,
    num_classes: int,
    num_images: int,
    max_dets: int = MAX_DETS,
) -> Detections:
    """The detections, marked as the federation says: which count at all, and which cannot be false."""
    keys = detections.images * num_classes + detections.classes
    verified = np.concatenate([objects.images * num_classes + objects.classes, _keys(federation.negative, num_classes)])
    considered = best_of_image(detections, num_images, max_dets) & np.isin(keys, verified)
    unjudged = np.isin(keys, _keys(federation.not_exhaustive, num_classes))
    return replace(detections, considered=considered, unjudged=unjudged)


def best_of_image(detections: Detections, num_images: int, limit: int) -> Bools:
    """(N,) whether a detection is among the `limit` best of its image, whatever its class; ties keep their order."""
    rows, starts = grouped(detections.images, num_images)
    kept = np.ones(len(rows), dtype=np.bool_)
    if np.diff(starts).max(initial=0) > limit:
        fall_within(rows, starts, detections.scores)
        rank = np.arange(len(rows)) - np.repeat(starts[:-1], np.diff(starts))
        kept[rows[rank >= limit]] = False
    return kept


def lvis_summary(matching: Matching, federation: Federation) -> dict[str, float | None]:
    """The thirteen numbers: COCO's AP and AR (mAR@300), and mAP_rare, mAP_common, mAP_frequent; None: undefined."""
    summary = coco_summary(matching)
    order, starts = matching.staircase_order()
    positives = matching.positives[0].astype(np.float64)
    precision = interpolated_precision(matching.status[0], order, starts, np.ones(len(order)), positives)
    by_frequency = {
        "mAP" + name: mean_defined(precision[..., federation.frequency == letter])
        for letter, name in FREQUENCIES.items()
    }
    at = list(summary).index("mAP_large") + 1
    items = list(summary.items())
    return dict([*items[:at], *by_frequency.items(), *items[at:]])


def _keys(pairs: Ints, num_classes: int) -> Ints:
    return pairs[:, 0] * num_classes + pairs[:, 1]
