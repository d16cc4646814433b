import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.evaluation import pairs
from snellen.evaluation.coco_core import coco_summary, interpolated_precision, match_boxes
from snellen.evaluation.ordering import class_order
from tests.evaluation.coco_reference import Case, pycocotools_eval, random_case


def numbers(case: Case) -> list[float]:
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    s = coco_summary(matching)
    keys = ["mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "mAR@1", "mAR@10", "mAR@100"]
    return [-1.0 if s[k] is None else s[k] for k in [*keys, "mAR_small", "mAR_medium", "mAR_large"]]


@settings(max_examples=220, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bit_identical_to_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(
        rng,
        num_images=int(rng.integers(1, 25)),
        num_classes=int(rng.integers(1, 9)),
        objects=int(rng.integers(1, 90)),
        per_object=float(rng.uniform(0.1, 3)),
        noise=int(rng.integers(0, 120)),
        crowd=float(rng.choice([0.0, 0.1, 0.6])),
        ties=bool(rng.integers(0, 2)),
        size=float(rng.choice([100.0, 640.0])),
    )
    if not len(case.boxes):
        return  # pycocotools cannot score no detections
    reference = pycocotools_eval(case, first_id=int(rng.choice([1, 7, 0])), gap=int(rng.choice([1, 13])))
    assert numbers(case) == reference.stats.tolist()


def test_precision_and_recall_arrays_equal_pycocotools() -> None:
    case = random_case(np.random.default_rng(5), objects=200, noise=300)
    reference = pycocotools_eval(case)
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    order, starts = matching.staircase_order()
    for area in range(4):
        mine = interpolated_precision(
            matching.status[area], order, starts, np.ones(len(order)), matching.positives[area].astype(float)
        )
        assert np.array_equal(mine, reference.eval["precision"][:, :, :, area, 2])


def test_more_than_a_hundred_detections_on_one_image_are_cut_as_in_the_reference() -> None:
    case = random_case(np.random.default_rng(6), num_images=1, num_classes=1, objects=30, per_object=9, noise=200)
    assert numbers(case) == pycocotools_eval(case).stats.tolist()


def test_overlaps_taken_in_small_parts_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(np.random.default_rng(9), objects=200, noise=300)
    whole = numbers(case)
    for size in (1, 7, 100):
        monkeypatch.setattr(pairs, "CHUNK", size)
        assert numbers(case) == whole


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.5, -0.0, 0.0, 1e-9, 0.3, 0.3000001, 1.0, 1e300]))),
    repeats=st.integers(1, 40),
)
def test_detections_are_ordered_stably_by_class_and_falling_score(rows: list, repeats: int) -> None:
    classes = np.array([k for k, _ in rows] * repeats, dtype=np.int64)
    scores = np.array([s for _, s in rows] * repeats)
    order, starts = class_order(classes, scores, 5)
    assert order.tolist() == np.lexsort((-scores, classes)).tolist()
    assert starts.tolist() == np.searchsorted(np.sort(classes), np.arange(6)).tolist()


def test_a_larger_detection_limit_is_scored_and_not_minus_one() -> None:
    case = random_case(np.random.default_rng(7), num_images=1, num_classes=1, objects=30, per_object=9, noise=200)
    matching = match_boxes(
        *case.arguments, num_classes=case.num_classes, num_images=case.num_images, max_dets=(1, 10, 300)
    )
    assert len(matching.rows) > 100
    summary = coco_summary(matching)
    assert (summary["mAP"] or 0) > 0
    assert (summary["mAR@300"] or 0) >= (summary["mAR@10"] or 0) > 0


@pytest.mark.parametrize("max_dets", [(1, 5, 100), (3, 50, 100), (100, 10, 1)])
def test_other_detection_limits_equal_pycocotools(max_dets: tuple[int, ...]) -> None:
    case = random_case(np.random.default_rng(11), num_images=2, num_classes=2, objects=60, per_object=9, noise=200)
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images, max_dets=max_dets)
    mine = [-1.0 if v is None else v for v in coco_summary(matching).values()]
    assert mine == pycocotools_eval(case, max_dets=max_dets).stats.tolist()


def test_weights_count_an_image_twice() -> None:
    case = random_case(np.random.default_rng(8), num_images=3, crowd=0)
    doubled = Case(
        *(
            np.concatenate([a, a])
            for a in (case.object_boxes, case.object_classes, case.object_images, case.object_crowd)
        ),
        *(np.concatenate([a, a]) for a in (case.boxes, case.classes, case.images, case.scores)),
        case.num_classes,
        case.num_images * 2,
    )
    doubled.object_images[len(case.object_images) :] += case.num_images
    doubled.images[len(case.images) :] += case.num_images
    once = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    order, starts = once.staircase_order()
    weighted = interpolated_precision(once.status[0], order, starts, np.full(len(order), 2.0), once.positives[0] * 2.0)
    assert weighted.max() > 0
    twice = match_boxes(*doubled.arguments, num_classes=case.num_classes, num_images=case.num_images * 2)
    order, starts = twice.staircase_order()
    plain = interpolated_precision(
        twice.status[0], order, starts, np.ones(len(order)), twice.positives[0].astype(float)
    )
    assert np.allclose(weighted, plain, atol=1e-12)
