"""How crowded the objects of an image stand."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from snellen.evaluation.ordering import grouped
from snellen.evaluation.pairs import Bools, Floats, Ints


@dataclass(frozen=True)
class Crowding:
    """How close every object's neighbours are; crowd regions are no neighbours. All (G,)."""

    neighbours: Ints
    """Other objects of the image whose box touches this one."""
    any_iou: Floats
    """Largest overlap with another object; 0 when none touches."""
    same_class_iou: Floats
    """Largest overlap with another object of the class."""


def crowding(object_boxes: Floats, classes: Ints, images: Ints, crowd: Bools, num_images: int) -> Crowding:
    """See Crowding; `object_boxes` (G, 4) xyxy, finite and of positive area."""
    order, starts = grouped(images, num_images)
    neighbours = np.zeros(len(classes), dtype=np.int64)
    any_iou, same = np.zeros(len(classes)), np.zeros(len(classes))
    _crowding(np.ascontiguousarray(object_boxes), classes, crowd, order, starts, neighbours, any_iou, same)
    return Crowding(neighbours, any_iou, same)


@njit(cache=True)
def _iou(a, b):  # type: ignore[no-untyped-def]
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@njit(cache=True)
def _crowding(boxes, classes, crowd, order, starts, neighbours, any_iou, same):  # type: ignore[no-untyped-def]
    for image in range(len(starts) - 1):
        for a in range(starts[image], starts[image + 1]):
            for b in range(a + 1, starts[image + 1]):
                overlap = _iou(boxes[order[a]], boxes[order[b]])
                if overlap <= 0:
                    continue
                for one, other in ((order[a], order[b]), (order[b], order[a])):
                    if crowd[other]:
                        continue
                    neighbours[one] += 1
                    any_iou[one] = max(any_iou[one], overlap)
                    if classes[one] == classes[other]:
                        same[one] = max(same[one], overlap)
