"""Why a detection is wrong and what each kind of error costs (TIDE: Bolya et al., ECCV 2020).

Kinds, tested in this order for every detection that is not a true positive at IoU 0.5 (t_f = 0.5, t_b = 0.1):
localisation (overlap t_b..t_f with an object of its class), classification (overlap >= t_f with an object of another
class), duplicate (overlap >= t_f with an object of its class that a better detection took), background (no overlap
above t_b), both. A missed object is one that no localisation or classification error could have claimed.
"""

from dataclasses import dataclass

import numpy as np

from snellen.boxes import pairwise_iou
from snellen.evaluation.coco_core import (
    FALSE,
    IGNORED,
    TRUE,
    Bools,
    Floats,
    Ints,
    Matching,
    class_order,
    interpolated_precision,
    mean_defined,
)

FOREGROUND, BACKGROUND = 0.5, 0.1
KINDS = ("localisation", "classification", "both", "duplicate", "background")
OUTCOMES = np.array(["correct", "ignored", *KINDS])


@dataclass(frozen=True)
class Analysis:
    """Every detection explained, in the order of the matching, and every object."""

    outcomes: Ints
    """(N,) index into OUTCOMES."""
    best_iou: Floats
    """(N,) largest overlap with any object of the image."""
    target: Ints
    """(N,) row of the object a detection speaks of: its match, or the one its error would claim; -1: none."""
    object_best_iou: Floats
    """(G,) largest overlap with a detection of the object's class."""
    found: Ints
    """(G,) position in the matching of the detection that matched the object; -1: missed."""


def analyse(
    matching: Matching, boxes: Floats, object_boxes: Floats, object_classes: Ints, object_images: Ints, crowd: Bools
) -> Analysis:
    """Explain every detection of `matching`; `boxes` (N, 4) xyxy in its order, objects (G, 4) in the order given."""
    status = matching.status[0, 0]
    names = {str(name): index for index, name in enumerate(OUTCOMES)}
    outcomes = np.full(len(boxes), names["background"], dtype=np.int64)
    outcomes[status == TRUE] = names["correct"]
    outcomes[status == IGNORED] = names["ignored"]
    best_iou = np.zeros(len(boxes))
    target = matching.match.copy()
    object_best = np.zeros(len(object_boxes))
    found = np.full(len(object_boxes), -1, dtype=np.int64)
    hit = np.flatnonzero(status == TRUE)
    found[matching.match[hit]] = hit

    by_image = np.argsort(matching.images, kind="stable")
    objects_by_image = np.argsort(object_images, kind="stable")
    for image in np.unique(object_images):
        mine = by_image[slice(*np.searchsorted(matching.images[by_image], [image, image + 1]))]
        here = objects_by_image[slice(*np.searchsorted(object_images[objects_by_image], [image, image + 1]))]
        if not len(mine):
            continue
        iou = pairwise_iou(boxes[mine], object_boxes[here])
        best_iou[mine] = iou.max(axis=1)
        same = matching.classes[mine][:, None] == object_classes[here][None, :]
        object_best[here] = np.where(same, iou, 0).max(axis=0)
        # Objects that do not count cannot be the reason of an error.
        counts = ~crowd[here]
        own = np.where(same & counts, iou, -1.0)
        other = np.where(~same & counts, iou, -1.0)
        own_best, other_best = own.max(axis=1), other.max(axis=1)
        wrong = status[mine] == FALSE
        localised = wrong & (own_best >= BACKGROUND) & (own_best < FOREGROUND)
        classified = wrong & ~localised & (other_best >= FOREGROUND)
        duplicate = wrong & ~localised & ~classified & (own_best >= FOREGROUND)
        touching = np.maximum(own_best, other_best) > BACKGROUND
        both = wrong & ~localised & ~classified & ~duplicate & touching
        for kind, mask in (
            ("localisation", localised),
            ("classification", classified),
            ("duplicate", duplicate),
            ("both", both),
        ):
            outcomes[mine[mask]] = names[kind]
            claimed = (other if kind in ("classification", "both") else own).argmax(axis=1)
            target[mine[mask]] = here[claimed[mask]]
    return Analysis(outcomes, best_iou, target, object_best, found)


def error_costs(matching: Matching, analysis: Analysis, object_classes: Ints, crowd: Bools) -> dict[str, float]:
    """Points of mAP50 (0..1) won by mending only the errors of one kind; also `missed`.

    A localisation or classification error becomes the true positive it would have been when it is the best claimant
    of an object nobody found, else it is deleted; duplicate, background and both are deleted; a missed object is
    taken off the count.
    """
    num_classes = matching.positives.shape[1]
    positives = matching.positives[0].astype(np.float64)
    status = matching.status[0, 0]
    base = _map50(status, matching.classes, matching.scores, positives)
    if base is None:
        return {}
    costs: dict[str, float] = {}
    claimed = analysis.found >= 0
    for kind in KINDS:
        errors = np.flatnonzero(OUTCOMES[analysis.outcomes] == kind)
        mended, classes = status.copy(), matching.classes.copy()
        mended[errors] = IGNORED
        if kind in ("localisation", "classification"):
            open_errors = errors[analysis.found[analysis.target[errors]] < 0]
            open_errors = open_errors[np.argsort(-matching.scores[open_errors], kind="stable")]
            objects, first = np.unique(analysis.target[open_errors], return_index=True)
            mended[open_errors[first]] = TRUE
            classes[open_errors[first]] = object_classes[objects]
            claimed[objects] = True
        costs[kind] = max(0.0, (_map50(mended, classes, matching.scores, positives) or 0.0) - base)
    missed = ~claimed & ~crowd
    left = positives - np.bincount(object_classes[missed], minlength=num_classes)
    # A class whose objects were all missed has no AP left; without the misses it would have been perfect.
    precision = _precision50(status, matching.classes, matching.scores, left)
    ap = precision.mean(axis=0)
    ap[(left <= 0) & (positives > 0)] = 1.0
    costs["missed"] = max(0.0, float(ap[positives > 0].mean()) - base)
    return costs


def _precision50(status: np.ndarray, classes: Ints, scores: Floats, positives: Floats) -> Floats:
    order, starts = class_order(classes, scores, len(positives))
    return interpolated_precision(status[None], order, starts, np.ones(len(scores)), positives)[0]


def _map50(status: np.ndarray, classes: Ints, scores: Floats, positives: Floats) -> float | None:
    return mean_defined(_precision50(status, classes, scores, positives))
