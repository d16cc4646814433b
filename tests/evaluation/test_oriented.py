import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.evaluation.coco_core import Detections, Objects, coco_summary, match
from snellen.evaluation.oriented import OrientedOverlap, areas, convex, corners
from snellen.evaluation.pairs import BoxOverlap, Pairs
from snellen.evaluation.voc import match_voc, voc_ap
from tests.evaluation.coco_reference import random_case


def iou(a: np.ndarray, b: np.ndarray, crowd: bool = False) -> float:
    pairs = Pairs(*(np.array([0]),) * 3, np.array([1]), np.array([0]), np.array([1]), np.array([0, 1]))
    return float(OrientedOverlap(a[None], b[None], np.array([crowd]))(pairs)[0])


def quad(*box: float) -> np.ndarray:
    return corners(np.array([box], dtype=float))[0]


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), turn=st.integers(0, 3), back=st.booleans())
def test_overlap_is_that_of_opencv_and_minds_no_order_of_corners(seed: int, turn: int, back: bool) -> None:
    # Drawn at random, as OpenCV loses some pairs with edges in common.
    rng = np.random.default_rng(seed)
    a, b = (np.array([*rng.uniform(-30, 30, 2), *rng.uniform(1, 80, 2), rng.uniform(-10, 10)]) for _ in range(2))
    one, two = corners(a[None])[0], corners(b[None])[0]
    shared, _ = cv2.intersectConvexConvex(one.astype(np.float32), two.astype(np.float32))
    found = iou(one, two)
    assert found == pytest.approx(shared / (a[2] * a[3] + b[2] * b[3] - shared), abs=1e-3)
    other = np.roll(two[::-1] if back else two, turn, axis=0)
    assert iou(one, other) == pytest.approx(found, abs=1e-9)
    assert iou(two, one) == pytest.approx(found, abs=1e-9)


integers = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=400, deadline=None)
@given(a=integers, b=integers, angle=st.sampled_from([0.0, math.pi / 2, 0.3, 1.0, -2.5]))
def test_boxes_turned_alike_overlap_as_before_also_with_edges_in_common(a: tuple, b: tuple, angle: float) -> None:
    width = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    height = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    expected = width * height / (a[2] * a[3] + b[2] * b[3] - width * height)
    turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    one, two = (quad(x + w / 2, y + h / 2, w, h, 0) @ turned for x, y, w, h in (a, b))
    assert iou(one, two) == pytest.approx(expected, abs=1e-9)


def test_known_overlaps() -> None:
    square = quad(0, 0, 2, 2, 0)
    assert iou(square, square) == 1.0
    octagon = 8 * (math.sqrt(2) - 1)
    assert iou(square, quad(0, 0, 2, 2, math.pi / 4)) == pytest.approx(octagon / (8 - octagon))
    assert iou(square, quad(2, 0, 2, 2, 0)) == 0.0
    assert iou(square, quad(1e6, 1e6, 2, 2, 1)) == 0.0
    assert iou(square, quad(0, 0, 4, 4, 0.3), crowd=True) == pytest.approx(1.0)
    far = quad(1e7, -1e7, 30, 3, 0.7)
    assert iou(far, far) == pytest.approx(1.0, abs=1e-6)


def test_quadrilaterals_that_are_none_are_told_apart() -> None:
    square = quad(0, 0, 2, 2, 0.3)
    bow_tie = square[[0, 2, 1, 3]]
    dent = np.array([[0, 0], [4, 0], [1, 1], [0, 4]], dtype=float)
    line = np.array([[0, 0], [1, 0], [2, 0], [3, 0]], dtype=float)
    broken = square * np.array([1, np.nan])
    endless = square * 1e300
    quads = np.stack([square, square[::-1], bow_tie, dent, line, broken, endless])
    assert convex(quads).tolist() == [True, True, False, False, False, False, False]
    assert areas(quads[:2]) == pytest.approx([4, 4])


def test_unrotated_boxes_score_as_boxes() -> None:
    case = random_case(np.random.default_rng(2), objects=80, noise=100)

    def turned(xywh: np.ndarray) -> np.ndarray:
        return corners(np.hstack([xywh[:, :2] + xywh[:, 2:] / 2, xywh[:, 2:], np.zeros((len(xywh), 1))]))

    area, own = (b[:, 2] * b[:, 3] for b in (case.object_boxes, case.boxes))
    objects = Objects(case.object_classes, case.object_images, area, case.object_crowd, case.object_crowd)
    detections = Detections(case.classes, case.images, case.scores, own)
    size = {"num_classes": case.num_classes, "num_images": case.num_images}
    rotated = OrientedOverlap(turned(case.boxes), turned(case.object_boxes), case.object_crowd)
    plain = BoxOverlap(case.boxes, case.object_boxes, case.object_crowd)
    assert coco_summary(match(objects, detections, rotated, **size)) == pytest.approx(
        coco_summary(match(objects, detections, plain, **size)), abs=1e-9
    )
    dota = voc_ap(match_voc(objects, detections, rotated, **size), "2007")
    assert dota == pytest.approx(voc_ap(match_voc(objects, detections, plain, **size), "2007"))
