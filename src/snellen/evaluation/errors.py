"""Why a detection is wrong (TIDE: Bolya et al., ECCV 2020, section 2.2).

Kinds, tested in this order for every detection that is a false positive at IoU 0.5 (t_f = 0.5, t_b = 0.1):
localisation (best overlap with an object of its class in t_b..t_f), classification (overlap >= t_f with an object of
another class), duplicate (overlap > t_f with an object of its class that a better detection took), background (no
overlap above t_b), both. An object nobody found is missed when no localisation or classification error claims it.

Equal to tidecv 1.0.1 but for three things: it explains also the detections that a crowd region excuses (they cost
nothing, so here they stay `ignored`), keeps 100 detections an image instead of 100 a class and image, and counts
classes that only detections name, with an AP of 0, into the mean.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from snellen.evaluation.coco_core import IGNORED, TRUE, Matching
from snellen.evaluation.ordering import grouped
from snellen.evaluation.pairs import Bools, Floats, Ints, Overlap, pairs_of

FOREGROUND, BACKGROUND = 0.5, 0.1
KINDS = ("localisation", "classification", "both", "duplicate", "background")
OUTCOMES = np.array(["correct", "ignored", *KINDS])
CORRECT, EXCUSED, LOCALISATION, CLASSIFICATION, BOTH, DUPLICATE, NOTHING = range(len(OUTCOMES))
"""Indices into OUTCOMES."""


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
    """(G,) position in the matching of the detection that matched the object; -1: not found."""
    claimant: Ints
    """(G,) of an object not found: position of the best localisation or classification error on it; -1: missed."""


def analyse(
    matching: Matching,
    overlap: Overlap,
    object_classes: Ints,
    object_images: Ints,
    crowd: Bools,
    *,
    num_images: int,
) -> Analysis:
    """Explain every detection of `matching` by its overlap with all objects of its image, of any class.

    `overlap` is what the matching asked, so that masks, keypoints and rotated boxes are explained as they were scored;
    objects (G,) in the order given.
    """
    status = matching.status[0, 0]
    outcomes = np.full(len(status), NOTHING, dtype=np.int64)
    outcomes[status == IGNORED] = EXCUSED
    outcomes[status == TRUE] = CORRECT
    best_iou = np.zeros(len(status))
    target = matching.match.copy()
    object_best = np.zeros(len(object_classes))
    found, claimant = (np.full(len(object_classes), -1, dtype=np.int64) for _ in range(2))
    hit = np.flatnonzero(status == TRUE)
    found[matching.match[hit]] = hit
    order = grouped(matching.images, num_images)[0]
    object_rows = grouped(object_images, num_images)[0]
    pairs = pairs_of(matching.rows[order], matching.images[order], object_rows, object_images[object_rows])
    for chunk in pairs.chunks():
        _explain(
            overlap(chunk), chunk.offsets, chunk.starts, chunk.ends, chunk.object_starts, chunk.object_ends, order,
            object_rows, matching.classes, matching.scores, object_classes, crowd, found,
            outcomes, best_iou, target, object_best, claimant,
        )  # fmt: skip
    return Analysis(outcomes, best_iou, target, object_best, found, claimant)


@njit(cache=True)
def _explain(  # type: ignore[no-untyped-def]
    overlaps, offsets, starts, ends, object_starts, object_ends, order, object_rows, classes, scores, object_classes,
    crowd, found, outcomes, best_iou, target, object_best, claimant,
):  # fmt: skip
    for g in range(len(starts)):
        i = offsets[g]
        for p in range(starts[g], ends[g]):
            d = order[p]
            kind, most, own, other, own_object, other_object = classes[d], 0.0, 0.0, 0.0, -1, -1
            for q in range(object_starts[g], object_ends[g]):
                overlap = overlaps[i]
                i += 1
                if not overlap > 0:
                    continue
                j = object_rows[q]
                most = max(most, overlap)
                if object_classes[j] == kind:
                    object_best[j] = max(object_best[j], overlap)
                    # Objects that do not count cannot be the reason of an error.
                    if overlap > own and not crowd[j]:
                        own, own_object = overlap, j
                elif overlap > other and not crowd[j]:
                    other, other_object = overlap, j
            best_iou[d] = most
            if outcomes[d] != NOTHING:
                continue
            if BACKGROUND <= own <= FOREGROUND:
                outcomes[d], target[d] = LOCALISATION, own_object
            elif other >= FOREGROUND:
                outcomes[d], target[d] = CLASSIFICATION, other_object
            elif own > FOREGROUND:
                outcomes[d], target[d] = DUPLICATE, own_object
            elif max(own, other) > BACKGROUND:
                outcomes[d], target[d] = BOTH, other_object
            if outcomes[d] == LOCALISATION or outcomes[d] == CLASSIFICATION:
                j = target[d]
                # The best claimant of either kind: mending one kind must not give an object two true positives.
                if found[j] < 0 and (claimant[j] < 0 or scores[d] > scores[claimant[j]]):
                    claimant[j] = d
