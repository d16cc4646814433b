import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.evaluation.coco_core import IGNORED, TRUE, Detections, Matching, Objects
from snellen.evaluation.pairs import BoxOverlap
from snellen.evaluation.voc import match_voc, voc_ap
from tests.evaluation.coco_reference import Case, random_case


def matched(case: Case) -> Matching:
    areas, own = (b[:, 2] * b[:, 3] for b in (case.object_boxes, case.boxes))
    never = np.zeros(len(areas), dtype=bool)
    return match_voc(
        Objects(case.object_classes, case.object_images, areas, never, case.object_crowd),
        Detections(case.classes, case.images, case.scores, own),
        BoxOverlap(case.boxes, case.object_boxes, never),
        num_classes=case.num_classes,
        num_images=case.num_images,
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h) if w > 0 and h > 0 else 0.0


def kit(case: Case, k: int) -> tuple[float, float]:
    """VOCevaldet.m and VOCap.m, detection by detection: AP of 2007 and of 2010 on; NaN without objects."""
    own = [i for i in range(len(case.object_classes)) if case.object_classes[i] == k]
    positives = sum(not case.object_crowd[i] for i in own)
    if not positives:
        return np.nan, np.nan
    mine = np.flatnonzero(case.classes == k)
    # Ties in the order of the images, as the core has them: the kit sorts as MATLAB does.
    mine = mine[np.argsort(case.images[mine], kind="stable")]
    mine = mine[np.argsort(-case.scores[mine], kind="stable")]
    seen: set[int] = set()
    tp = fp = 0
    recall, precision = [0.0], [0.0]
    for d in mine:
        here = [i for i in own if case.object_images[i] == case.images[d]]
        ious = [iou(case.boxes[d], case.object_boxes[i]) for i in here]
        best = int(np.argmax(ious)) if here else -1
        if here and ious[best] >= 0.5:
            if case.object_crowd[here[best]]:
                continue
            tp, fp = (tp, fp + 1) if here[best] in seen else (tp + 1, fp)
            seen.add(here[best])
        else:
            fp += 1
        recall.append(tp / positives)
        precision.append(tp / (tp + fp))
    eleven = 0.0
    for t in np.linspace(0, 1, 11):
        eleven += max((p for r, p in zip(recall, precision, strict=True) if r >= t), default=0.0) / 11
    recall, precision = [*recall, 1.0], [*precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    area = sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))
    return eleven, area


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), difficult=st.sampled_from([0.0, 0.3]), ties=st.booleans())
def test_both_averages_are_those_of_the_development_kit(seed: int, difficult: float, ties: bool) -> None:
    case = random_case(
        np.random.default_rng(seed), num_images=5, objects=25, per_object=2, noise=20, crowd=difficult, ties=ties,
        size=100.0,
    )  # fmt: skip
    matching = matched(case)
    expected = np.array([kit(case, k) for k in range(case.num_classes)])
    assert voc_ap(matching, "2007") == pytest.approx(expected[:, 0], abs=1e-12, nan_ok=True)
    assert voc_ap(matching, "2010") == pytest.approx(expected[:, 1], abs=1e-12, nan_ok=True)


def tiny(scores: list[float], boxes: list[list[float]], objects: list[list[float]], difficult: list[bool]) -> Matching:
    n, m = len(boxes), len(objects)
    return matched(
        Case(
            np.array(objects, dtype=float),
            np.zeros(m, int),
            np.zeros(m, int),
            np.array(difficult),
            np.array(boxes, dtype=float),
            np.zeros(n, int),
            np.zeros(n, int),
            np.array(scores),
            1,
            1,
        )
    )


def test_a_detection_asks_only_for_the_object_it_overlaps_most() -> None:
    objects = [[0, 0, 100, 100], [0, 0, 100, 80]]
    found = tiny([0.9, 0.8], [[0, 0, 100, 100], [0, 0, 100, 95]], objects, [False, False])
    assert (found.status[0, 0] == TRUE).tolist() == [True, False]  # COCO would give it the second object
    assert voc_ap(found, "2010").tolist() == [0.5]


def test_what_matches_a_difficult_object_counts_as_nothing() -> None:
    found = tiny([0.9, 0.8, 0.7], [[0, 0, 9, 9]] * 2 + [[50, 50, 9, 9]], [[0, 0, 9, 9], [50, 50, 9, 9]], [True, False])
    assert found.status[0, 0].tolist() == [IGNORED, IGNORED, TRUE]
    assert voc_ap(found, "2007") == pytest.approx([1.0])
