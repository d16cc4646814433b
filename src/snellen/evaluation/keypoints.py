"""Object keypoint similarity and COCO's ten numbers for keypoints, equal to pycocotools 2.0.

    OKS = mean over the labelled points of exp(-d^2 / (2 s^2 (2 sigma)^2)), s^2 the object's area

An object without a labelled point is ignored; a detection near it is measured by how far its points lie outside twice
the object's box. Detections have no visibility: all their points count.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from snellen.evaluation.coco_core import (
    Detections,
    Matching,
    Objects,
    coco_summary,
    match,
    mean_defined,
    recalls,
)
from snellen.evaluation.pairs import Bools, Floats, Ints, Pairs

MAX_DETS = 20
COCO_PERSON_SIGMAS: Floats = (
    np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], dtype=np.float64) / 1000
)
"""Of the 17 points of a person: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles."""


@dataclass(frozen=True)
class KeypointOverlap:
    """OKS of P points."""

    points: Floats
    """(N, P, 2) detections: x, y, pixels, finite."""
    object_points: Floats
    """(M, P, 3) x, y, visibility; labelled where it is above 0."""
    object_boxes_xywh: Floats
    """(M, 4)."""
    object_areas: Floats
    """(M,) px^2."""
    sigmas: Floats
    """(P,) how far annotators of a point disagree, in shares of the object's size."""

    def __call__(self, pairs: Pairs) -> Floats:
        """Measure `pairs` as `COCOeval.computeOks` does."""
        out = np.empty(pairs.offsets[-1])
        _oks(
            self.points, self.object_points, self.object_boxes_xywh, self.object_areas, (2 * self.sigmas) ** 2,
            pairs.detections, pairs.objects, pairs.starts, pairs.ends, pairs.object_starts, pairs.object_ends, out,
        )  # fmt: skip
        return out


def labelled(object_points: Floats) -> Ints:
    """(M,) how many points of an object (M, P, 3) are labelled."""
    return np.count_nonzero(object_points[..., 2] > 0, axis=1)


def match_keypoints(
    classes: Ints,
    images: Ints,
    scores: Floats,
    points: Floats,
    object_classes: Ints,
    object_images: Ints,
    object_areas: Floats,
    object_boxes_xywh: Floats,
    object_crowd: Bools,
    object_points: Floats,
    sigmas: Floats = COCO_PERSON_SIGMAS,
    *,
    num_classes: int,
    num_images: int,
    max_dets: int = MAX_DETS,
) -> Matching:
    """Match poses. A detection is as large as the box around its points; arrays as in `KeypointOverlap`.

    Raises ValueError when the number of points differs from that of the sigmas.
    """
    if not points.shape[1] == object_points.shape[1] == len(sigmas):
        raise ValueError(
            f"{points.shape[1]} points a detection, {object_points.shape[1]} an object and {len(sigmas)} sigmas"
        )
    extent = points.max(axis=1) - points.min(axis=1)
    ignore = object_crowd | (labelled(object_points) == 0)
    return match(
        Objects(object_classes, object_images, object_areas, object_crowd, ignore),
        Detections(classes, images, scores, extent[:, 0] * extent[:, 1]),
        KeypointOverlap(points, object_points, object_boxes_xywh, object_areas, sigmas),
        num_classes=num_classes,
        num_images=num_images,
        max_dets=(max_dets,),
    )


def keypoint_summary(matching: Matching) -> dict[str, float | None]:
    """COCO's ten numbers: mAP, mAP50, mAP75, mAP_medium, mAP_large, and mAR likewise; None: undefined."""
    summary = coco_summary(matching)
    recall = recalls(matching)[0, ..., -1]
    limit = matching.max_dets[-1]
    ten = {name: summary[name] for name in ("mAP", "mAP50", "mAP75", "mAP_medium", "mAP_large")}
    ten["mAR"] = summary[f"mAR@{limit}"]
    for percent in (50, 75):
        ten[f"mAR{percent}"] = mean_defined(recall[np.isclose(matching.iou_thresholds, percent / 100)])
    return ten | {name: summary[name] for name in ("mAR_medium", "mAR_large")}


@njit(cache=True)
def _oks(  # type: ignore[no-untyped-def]
    points, object_points, object_boxes, areas, variances, rows, object_rows, starts, ends, object_starts,
    object_ends, out,
):  # fmt: skip
    p = 0
    for g in range(len(starts)):
        for a in range(starts[g], ends[g]):
            d = rows[a]
            for b in range(object_starts[g], object_ends[g]):
                o = object_rows[b]
                x, y, w, h = object_boxes[o]
                labelled = 0
                for k in range(len(variances)):
                    labelled += object_points[o, k, 2] > 0
                total = 0.0
                for k in range(len(variances)):
                    if labelled:
                        if object_points[o, k, 2] <= 0:
                            continue
                        dx = points[d, k, 0] - object_points[o, k, 0]
                        dy = points[d, k, 1] - object_points[o, k, 1]
                    else:
                        dx = max(0.0, x - w - points[d, k, 0]) + max(0.0, points[d, k, 0] - (x + 2 * w))
                        dy = max(0.0, y - h - points[d, k, 1]) + max(0.0, points[d, k, 1] - (y + 2 * h))
                    # 2^-52: objects without area, as in the reference.
                    total += np.exp(-(dx**2 + dy**2) / variances[k] / (areas[o] + 2.220446049250313e-16) / 2)
                out[p] = total / (labelled if labelled else len(variances))
                p += 1
