import numpy as np
import pytest

from snellen.evaluation.coco_core import match_boxes
from snellen.evaluation.lrp import Lrp, lrp
from tests.evaluation.coco_reference import Case, random_case


def of(case: Case) -> Lrp:
    return lrp(match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images))


def tiny(boxes: list[list[float]], scores: list[float], objects: list[list[float]]) -> Lrp:
    n, m = len(boxes), len(objects)
    return of(
        Case(
            np.array(objects, dtype=float).reshape(-1, 4),
            np.zeros(m, int),
            np.zeros(m, int),
            np.zeros(m, bool),
            np.array(boxes, dtype=float).reshape(-1, 4),
            np.zeros(n, int),
            np.zeros(n, int),
            np.array(scores),
            1,
            1,
        )
    )


BOX, OTHER, FAR = [0, 0, 100, 100], [200, 0, 100, 100], [400, 0, 100, 100]


def test_perfect_boxes_have_no_error() -> None:
    found = tiny([BOX, OTHER], [0.9, 0.8], [BOX, OTHER])
    assert (found.olrp[0], found.threshold[0]) == (0.0, 0.8)


def test_the_parts_are_how_far_off_how_many_wrong_and_how_many_missed() -> None:
    found = tiny([[0, 0, 100, 80], FAR], [0.9, 0.95], [BOX, OTHER, [0, 300, 50, 50]])
    # One of IoU 0.8, one false, two missed: (0.2 / 0.5 + 1 + 2) / 4.
    assert found.olrp == pytest.approx([3.4 / 4])
    parts = (found.localisation[0], found.false_positive[0], found.false_negative[0], found.threshold[0])
    assert parts == pytest.approx((0.2, 0.5, 2 / 3, 0.9))


def test_the_threshold_leaves_out_what_costs_more_than_it_finds() -> None:
    found = tiny([BOX, FAR, FAR, OTHER], [0.9, 0.5, 0.5, 0.4], [BOX, OTHER])
    assert (found.olrp[0], found.threshold[0]) == (0.5, 0.9)


def test_equal_scores_cannot_be_parted() -> None:
    found = tiny([BOX, FAR], [0.9, 0.9], [BOX])
    assert found.olrp.tolist() == [0.5]


def test_nothing_right_is_the_worst_and_no_objects_undefined() -> None:
    assert tiny([FAR], [0.9], [BOX]).summary() == {
        "oLRP": 1.0, "oLRP_localisation": None, "oLRP_fp": None, "oLRP_fn": 1.0,
    }  # fmt: skip
    assert tiny([FAR], [0.9], []).summary() == dict.fromkeys(["oLRP", "oLRP_localisation", "oLRP_fp", "oLRP_fn"], None)
    assert tiny([], [], [BOX]).olrp.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_the_least_of_the_error_tried_at_every_score(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), objects=80, noise=60, ties=seed % 2 == 0)
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    expected = []
    for k in range(case.num_classes):
        errors = []
        for threshold in np.unique(case.scores):
            own = (matching.classes == k) & (matching.scores >= threshold)
            true, false = own & (matching.status[0, 0] == 1), own & (matching.status[0, 0] == 0)
            missed = matching.positives[0, k] - true.sum()
            total = (1 - matching.match_overlap[true]).sum() / 0.5 + false.sum() + missed
            errors.append(total / (true.sum() + false.sum() + missed))
        expected.append(min(errors))
    assert lrp(matching).olrp == pytest.approx(expected)
