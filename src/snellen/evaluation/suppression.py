"""What non-maximum suppression did: the limit it left in the predictions, the objects it removed, other thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numba import njit

from snellen.boxes import CORNERS
from snellen.evaluation.coco_core import FALSE, TRUE, interpolated_precision, match_boxes, mean_defined
from snellen.evaluation.error_costs import FALSE_NEGATIVE, Remedies
from snellen.evaluation.errors import DUPLICATE, Analysis
from snellen.evaluation.facts import SUPPRESSION
from snellen.evaluation.ordering import fall_within, grouped
from snellen.evaluation.pairs import Bools, Floats, Ints
from snellen.evaluation.records import sift_boxes
from snellen.facts import table

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
MAX_LIMIT = 0.95
"""Boxes that overlap more than this within a class: nothing was suppressed."""
STRAYS = 0.001
"""Share of the predictions that may overlap more than the limit: boxes are scaled and rounded after suppression."""
MIN_NEAR = 20
"""Predictions within 0.1 below the limit: with fewer, no suppression shows."""


RISK = 0.05
"""An object is at risk whose overlap with another of its class reaches the limit less this: boxes are not exact."""


@dataclass(frozen=True)
class Groups:
    """N detections by image and class, the best first: what suppression and matching go through."""

    boxes: Floats
    """(N, 4) xyxy."""
    starts: Ints
    """(M + 1,) where each image and class begins."""


def suppression_limit(groups: Groups) -> float | None:
    """The IoU above which no two boxes of a class are left in an image; None where suppression does not show."""
    closest = np.sort(_closest_better(groups.boxes, groups.starts))
    if not len(closest):
        return None
    limit = float(closest[len(closest) - 1 - int(STRAYS * len(closest))])
    near = len(closest) - np.searchsorted(closest, limit - 0.1)
    return limit if 0 < limit < MAX_LIMIT and near >= MIN_NEAR else None


def suppress(groups: Groups, iou_threshold: float) -> Bools:
    """(N,) which boxes greedy suppression within each class keeps: none overlaps a kept better one by more."""
    return _suppress(groups.boxes, groups.starts, iou_threshold)


def lost_to_suppression(
    guesses: pl.DataFrame,
    objects: pl.DataFrame,
    remedies: Remedies,
    truth: pl.DataFrame,
    num_classes: int,
    num_images: int,
) -> dict[str, float]:
    """Objects that overlap another of their class by more than suppression lets two boxes: only one can be found.

    Returns limit (IoU; see `suppression_limit`), at_risk and lost (objects; lost: a neighbour is found and they are
    not) and cost (mAP50 points, 0..1, that finding the lost ones would win); empty where no suppression shows.
    `guesses` and `truth` as sifted, `objects` the facts' table.
    """
    limit = suppression_limit(by_image_and_class(guesses, num_classes, num_images)[1])
    if limit is None:
        return {}
    risk = ((objects["same_class_iou"] >= limit - RISK) & ~objects["crowd"]).to_numpy()
    found = objects["found"].to_numpy()
    place = truth["image_index"].to_numpy() * num_classes + truth["class_index"].to_numpy()
    beside = np.bincount(place[risk & found], minlength=num_images * num_classes) > 0
    lost = risk & ~found & beside[place]
    nothing = np.zeros(0, dtype=np.int8)
    cost = remedies.costs(FALSE_NEGATIVE, nothing, np.where(lost, 0, -1), 1).sum()
    return {
        "limit": limit,
        "at_risk": float(risk.sum()),
        "lost": float(lost.sum()),
        "cost": max(0.0, float(cost)),
    }


def sweep(
    objects: pl.DataFrame,
    predictions: pl.DataFrame,
    class_names: Sequence[str],
    *,
    images: Sequence[str],
    thresholds: Sequence[float] = THRESHOLDS,
) -> pl.DataFrame:
    """Score predictions given before suppression at each of `thresholds`, and as they are: the table `suppression`.

    Records as `evaluate_detection` takes them; those that cannot be scored are left out.
    """
    truth, _ = sift_boxes(objects, images, class_names, scored=False)
    guesses, _ = sift_boxes(predictions, images, class_names, scored=True)
    return sweep_sifted(truth, guesses, None, len(class_names), len(images), thresholds)


def sweep_sifted(
    truth: pl.DataFrame,
    guesses: pl.DataFrame,
    analysis: Analysis | None,
    num_classes: int,
    num_images: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> pl.DataFrame:
    """The same of records that `sift_boxes` returned.

    With the `analysis` of the `guesses`, in their order, duplicates are counted. Of predictions that were suppressed
    before, a lower threshold is right but for boxes whose suppressor it would have removed; a higher one changes
    nothing.
    """
    order, groups = by_image_and_class(guesses, num_classes, num_images)
    rows: list[dict[str, Any]] = []
    for threshold in (None, *thresholds):
        kept = order if threshold is None else order[suppress(groups, threshold)]
        left = guesses[kept]
        own, theirs = _xywh(left), _xywh(truth)
        matching = match_boxes(
            theirs, truth["class_index"].to_numpy(), truth["image_index"].to_numpy(), truth["crowd"].to_numpy(),
            theirs[:, 2] * theirs[:, 3], own, left["class_index"].to_numpy(), left["image_index"].to_numpy(),
            left["score"].to_numpy(), num_classes=num_classes, num_images=num_images,
            iou_thresholds=np.array([0.5]), area_ranges=np.array([[0.0, 1e10]]),
        )  # fmt: skip
        status = matching.status[0]
        precision = interpolated_precision(
            status, *matching.staircase_order(), np.ones(status.shape[1]), matching.positives[0].astype(np.float64)
        )
        doubled = None
        if analysis is not None:
            doubled = int(np.sum((analysis.outcomes[kept][matching.rows] == DUPLICATE) & (status[0] == FALSE)))
        rows.append(
            {
                "iou_threshold": threshold,
                "kept": len(kept),
                "map50": mean_defined(precision),
                "duplicates": doubled,
                "found": int(np.sum(status[0] == TRUE)),
            }
        )
    return table(SUPPRESSION, rows)


def by_image_and_class(guesses: pl.DataFrame, num_classes: int, num_images: int) -> tuple[Ints, Groups]:
    """The order in which suppression takes the `guesses`, and the groups in that order."""
    classes, images = guesses["class_index"].to_numpy(), guesses["image_index"].to_numpy()
    by_image = grouped(images, num_images)[0]
    order = grouped(classes, num_classes, by_image)[0]
    keys = classes[order] * max(1, num_images) + images[order]
    starts = np.append(np.flatnonzero(np.diff(keys, prepend=-1)), len(keys)).astype(np.int64)
    fall_within(order, starts, guesses["score"].to_numpy())
    return order, Groups(np.ascontiguousarray(guesses.select(CORNERS).to_numpy()[order]), starts)


def _xywh(records: pl.DataFrame) -> Floats:
    xyxy = records.select(CORNERS).to_numpy()
    return np.ascontiguousarray(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))


@njit(cache=True)
def _iou(boxes, i, j):  # type: ignore[no-untyped-def]
    width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
    height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    one = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
    return inter / (one + other - inter)


@njit(cache=True)
def _closest_better(boxes, starts):  # type: ignore[no-untyped-def]
    out = np.zeros(len(boxes))
    for g in range(len(starts) - 1):
        for i in range(starts[g] + 1, starts[g + 1]):
            for j in range(starts[g], i):
                out[i] = max(out[i], _iou(boxes, i, j))
    return out


@njit(cache=True)
def _suppress(boxes, starts, threshold):  # type: ignore[no-untyped-def]
    kept = np.ones(len(boxes), dtype=np.bool_)
    for g in range(len(starts) - 1):
        for i in range(starts[g], starts[g + 1]):
            for j in range(starts[g], i):
                if kept[j] and _iou(boxes, i, j) > threshold:
                    kept[i] = False
                    break
    return kept
