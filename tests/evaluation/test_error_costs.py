"""Costs of errors against the definition: score the mended detections anew and take the difference."""

import numpy as np
import polars as pl
import pytest

from snellen.evaluation.coco_core import FALSE, IGNORED, TRUE, Matching, interpolated_precision, match_boxes
from snellen.evaluation.crowding import crowding
from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.error_costs import COST_KINDS, SPECIAL, Remedies, kind_costs, remedies
from snellen.evaluation.errors import CLASSIFICATION, KINDS, LOCALISATION, Analysis, analyse
from snellen.evaluation.ordering import class_order
from snellen.evaluation.pairs import BoxOverlap
from tests.evaluation.coco_reference import Case, random_case


def explained(case: Case) -> tuple[Matching, Analysis, Remedies]:
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    overlap = BoxOverlap(case.boxes, case.object_boxes, case.object_crowd)
    analysis = analyse(
        matching, overlap, case.object_classes, case.object_images, case.object_crowd, num_images=case.num_images
    )
    order, starts = matching.staircase_order()
    return matching, analysis, remedies(matching, analysis, case.object_classes, case.object_crowd, order, starts)


def map50(status: np.ndarray, classes: np.ndarray, scores: np.ndarray, left: np.ndarray, held: np.ndarray) -> float:
    order, starts = class_order(classes, scores, len(left))
    ap = interpolated_precision(status[None], order, starts, np.ones(len(order)), left)[0].mean(axis=0)
    ap[(left <= 0) & held] = 1.0
    return float(ap[held].mean())


def by_definition(case: Case, matching: Matching, analysis: Analysis, errors: np.ndarray, missed: np.ndarray) -> float:
    """mAP50 with `errors` mended and the objects `missed` taken off, minus mAP50."""
    status, classes = matching.status[0, 0].copy(), matching.classes.copy()
    positives = matching.positives[0].astype(float)
    held = positives > 0
    base = map50(status, classes, matching.scores, positives, held)
    status[errors] = IGNORED
    for d in errors:
        kind, target = analysis.outcomes[d], analysis.target[d]
        if kind in (LOCALISATION, CLASSIFICATION) and analysis.claimant[target] == d:
            status[d], classes[d] = TRUE, case.object_classes[target]
    left = positives - np.bincount(case.object_classes[missed], minlength=case.num_classes)
    return map50(status, classes, matching.scores, left, held) - base


@pytest.mark.parametrize("seed", range(8))
def test_costs_are_what_mending_wins(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), num_images=20, objects=120, per_object=2, noise=150)
    matching, analysis, mending = explained(case)
    missed = (analysis.found < 0) & (analysis.claimant < 0) & ~case.object_crowd
    rng = np.random.default_rng(seed)
    groups = rng.integers(-1, 3, len(matching.rows)), rng.integers(-1, 3, len(case.object_classes))
    none = np.zeros(0, dtype=int)
    for index, kind in enumerate(KINDS, start=LOCALISATION):
        won = mending.costs(kind, *groups, 3).sum(axis=1)
        counts = mending.count(kind, *groups, 3)
        for g in range(3):
            errors = np.flatnonzero((analysis.outcomes == index) & (groups[0] == g))
            assert won[g] == pytest.approx(by_definition(case, matching, analysis, errors, none), abs=1e-12), kind
            assert counts[g] == len(errors)
    won = mending.costs("missed", *groups, 3).sum(axis=1)
    for g in range(3):
        lost = np.flatnonzero(missed & (groups[1] == g))
        assert won[g] == pytest.approx(by_definition(case, matching, analysis, none, lost), abs=1e-12)
    totals = {kind: won.sum() for kind, won in kind_costs(mending, len(matching.rows), case.object_crowd).items()}
    assert totals.keys() == {*COST_KINDS, *SPECIAL}
    everything = np.flatnonzero((analysis.found < 0) & ~case.object_crowd)
    assert totals["false_negative"] == pytest.approx(by_definition(case, matching, analysis, none, everything))
    status = np.where(matching.status[0, 0] == FALSE, IGNORED, matching.status[0, 0])
    positives = matching.positives[0].astype(float)
    clean = map50(status, matching.classes, matching.scores, positives, positives > 0)
    dirty = map50(matching.status[0, 0], matching.classes, matching.scores, positives, positives > 0)
    assert totals["false_positive"] == pytest.approx(clean - dirty)


def boxes(*rows: tuple) -> dict[str, np.ndarray]:
    """(class, x, width) on one image: x, 0, width, 100."""
    return {
        "boxes": np.array([[x, 0.0, w, 100.0] for _, x, w, *_ in rows]),
        "classes": np.array([row[0] for row in rows]),
        "images": np.zeros(len(rows), dtype=np.int64),
    }


def small_case(objects: list[tuple], detections: list[tuple]) -> Case:
    o, d = boxes(*objects), boxes(*detections)
    return Case(
        o["boxes"], o["classes"], o["images"], np.zeros(len(objects), dtype=bool),
        d["boxes"], d["classes"], d["images"], np.array([row[3] for row in detections]), 2, 1,
    )  # fmt: skip


def test_two_errors_on_one_object_make_one_true_positive() -> None:
    """A wrong name at 0.9 and a loose box at 0.8 claim one object: the better one is the remedy, by TIDE."""
    case = small_case([(0, 0, 100)], [(1, 0, 100, 0.9), (0, 0, 40, 0.8)])
    _, analysis, mending = explained(case)
    assert analysis.outcomes.tolist() == [LOCALISATION, CLASSIFICATION]  # by class, as the matching sorts
    assert analysis.claimant.tolist() == [1]
    costs = {kind: won.sum() for kind, won in kind_costs(mending, 2, case.object_crowd).items()}
    assert (costs["classification"], costs["localisation"], costs["missed"]) == (1.0, 0.0, 0.0)
    assert costs["false_negative"] == 1.0


def test_an_overlap_of_a_half_with_a_taken_object_is_a_loose_box() -> None:
    case = small_case([(0, 0, 100)], [(0, 0, 100, 0.9), (0, 0, 50, 0.8), (0, 0, 51, 0.7), (0, 91, 200, 0.6)])
    _, analysis, _ = explained(case)
    assert [(*("correct", "ignored"), *KINDS)[k] for k in analysis.outcomes] == [
        "correct", "localisation", "duplicate", "background",
    ]  # fmt: skip


def test_crowding_counts_neighbours_but_no_crowd_regions() -> None:
    objects = np.array(
        [[0, 0, 10, 10], [5, 0, 15, 10], [14, 0, 24, 10], [0, 0, 99, 99], [100, 0, 110, 10]], dtype=float
    )
    found = crowding(objects, np.array([0, 0, 1, 0, 0]), np.zeros(5, dtype=int), np.array([0, 0, 0, 1, 0], bool), 1)
    assert found.neighbours.tolist() == [1, 2, 1, 3, 0]
    assert found.any_iou[:3] == pytest.approx([1 / 3, 1 / 3, 1 / 19])
    assert found.same_class_iou.tolist()[2] == 0.0


def test_lost_points_by_class_and_size_border_and_brightness() -> None:
    truth = pl.DataFrame(
        [
            ("a", "cat", 0.0, 0.0, 20.0, 20.0),
            ("a", "dog", 40.0, 40.0, 60.0, 60.0),
            ("b", "cat", 10.0, 10.0, 60.0, 60.0),
        ],
        schema=["image", "class_name", "x1", "y1", "x2", "y2"],
        orient="row",
    )
    found = truth[1:].with_columns(score=pl.Series([0.9, 0.8]))
    pictures = pl.DataFrame({"image": ["b", "a", "c"], "width": [100, 100, 100], "height": [100, 100, 100],
                             "brightness": [0.2, 0.5, 0.9]})  # fmt: skip
    facts = evaluate_detection(truth, found, ["cat", "dog"], images=["a", "b", "c"], image_properties=pictures)
    assert facts.objects["border"].to_list() == [True, False, False]
    assert facts.objects["cause"].to_list() == ["missed", "found", "found"]
    assert facts.predictions["object"].to_list() == [2, 1]
    assert facts.predictions["hits"].to_list() == [1023, 1023]
    costs = {(p, b): (n, c) for _, p, b, n, c in facts.costs.filter(kind="missed").rows()}
    half = facts.error_costs["missed"]
    assert costs["class", "cat"] == (1, half)
    assert costs["size", "below 32 px"] == costs["border", "at the border"] == (1, half)
    assert costs["crowding", "alone"] == (1, half)
    brightness = facts.slices.filter(property="brightness")
    assert brightness.select("objects", "found").rows() == [(1, 1), (2, 1), (0, 0)]
    assert facts.evaluated.rows() == [("a", 2, 1, 0, 1), ("b", 1, 1, 0, 0), ("c", 0, 0, 0, 0)]
