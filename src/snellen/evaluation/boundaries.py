"""How well the boundaries of a semantic label map are met: boundary IoU, and F1 of the contours."""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Labels = NDArray[np.uint16]
BOUNDARY_RATIO = 0.02
"""Width of the boundary region as a share of the image's diagonal (Cheng et al., CVPR 2021, section 5)."""
CONTOUR_RATIO = 0.0075
"""Distance at which two contours still meet, as a share of the diagonal (Csurka et al., BMVC 2013, section 4)."""


def boundary_width(shape: tuple[int, int], ratio: float = BOUNDARY_RATIO) -> int:
    """Pixels: `ratio` of the diagonal of (H, W), rounded half to even, at least 1, as the authors' code has it."""
    return max(1, round(ratio * float(np.hypot(*shape))))


def near_boundary(labels: Labels, width: int) -> NDArray[np.bool_]:
    """(H, W) pixels within `width` >= 1 (chessboard distance) of one of another label, or of the image's edge.

    That is each label's mask less its erosion by a 3 x 3 square, `width` times over, for all labels in one pass: a
    pixel of another label is one step further than the nearest pixel that touches one. `labels` below 65535.
    """
    padded = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=65535)
    square = np.ones((3, 3), dtype=np.uint8)
    uniform = (cv2.erode(padded, square) == cv2.dilate(padded, square)).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(uniform, cv2.DIST_C, cv2.DIST_MASK_3)[1:-1, 1:-1] < width)


def boundary_counts(true: Labels, predicted: Labels, classes: int, width: int) -> tuple[Ints, Ints]:
    """(C,) intersection and union in pixels of the classes' boundary regions (Cheng et al. 2021, eq. 4).

    Maps of one shape in which `classes` stands for no class in both: the edge towards it is boundary in both.
    """
    near_true, near_predicted = near_boundary(true, width), near_boundary(predicted, width)
    both = near_true & near_predicted & (true == predicted)
    inter, own, other = (
        np.bincount(labels[where], minlength=classes + 1)[:classes]
        for labels, where in ((true, both), (true, near_true), (predicted, near_predicted))
    )
    return inter.astype(np.int64), (own + other - inter).astype(np.int64)


def contour_f1(true: Labels, predicted: Labels, classes: int, distance: float) -> NDArray[np.float64]:
    """(C,) F1 of each class's contour (Csurka et al. 2013); NaN for a class that is not in `true`.

    Precision: the share of the predicted contour within `distance` pixels (Euclidean) of the true one; recall the
    other way round. A contour pixel lies in the class and has one of another class, not of no class (`classes`),
    above, below, left or right of it; the image's edge is no contour. NaN too where neither has a contour, 0 where
    only one has.
    """
    own, other = _contours(true, classes), _contours(predicted, classes)
    reach = int(distance)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = dy**2 + dx**2
    nearest = np.argsort(squared, kind="stable")[: np.count_nonzero(squared <= distance**2)]
    steps = np.stack([dy[nearest], dx[nearest]], axis=1)
    expected, found = _meetings(own, other, steps, classes)
    named, right = _meetings(other, own, steps, classes)
    there = np.bincount(true.ravel(), minlength=classes + 1)[:classes] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = right / named, found / expected
        f1 = np.where(found + right > 0, 2 * precision * recall / (precision + recall), 0.0)
    return np.asarray(np.where(there & (expected + named > 0), f1, np.nan))


def _contours(labels: Labels, nothing: int) -> Labels:
    """The map with 65535 wherever there is no contour."""
    touched = np.zeros(labels.shape, dtype=bool)
    for one, beside in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = (labels[one] != labels[beside]) & (labels[one] != nothing) & (labels[beside] != nothing)
        touched[one] |= differs
        touched[beside] |= differs
    return np.where(touched, labels, np.uint16(65535))


@njit(cache=True)
def _meetings(contours, others, steps, classes):  # type: ignore[no-untyped-def]
    """(C,) contour pixels of each class, and how many of them have one of `others` of the class within `steps`."""
    total, met = np.zeros(classes), np.zeros(classes)
    height, width = contours.shape
    for y in range(height):
        for x in range(width):
            k = contours[y, x]
            if k >= classes:
                continue
            total[k] += 1
            for s in range(len(steps)):
                v, u = y + steps[s, 0], x + steps[s, 1]
                if 0 <= v < height and 0 <= u < width and others[v, u] == k:
                    met[k] += 1
                    break
    return total, met
