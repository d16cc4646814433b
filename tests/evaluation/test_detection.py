"""Scores, and the edge cases in which COCO tools crash or are silently wrong."""

import math

import numpy as np
import polars as pl
import pytest

from snellen.boxes import pairwise_iou
from snellen.evaluation.detection import evaluate_detection, light_map50
from snellen.evaluation.facts import BACKGROUND_CLASS, ScoreFacts
from tests.evaluation.coco_reference import Case, pycocotools_eval, random_case

NAMES = ["cat", "dog"]
IMAGES = ["a", "b", "c"]


def objects(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["image", "class_name", "x1", "y1", "x2", "y2"], orient="row")


def predictions(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame(
        rows, schema=["image", "class_name", "score", "x1", "y1", "x2", "y2"], orient="row", strict=False
    )


TRUTH = objects(("a", "cat", 0, 0, 40, 40), ("b", "cat", 50, 50, 90, 90), ("c", "cat", 10, 10, 60, 60))
FOUND = [("a", "cat", 0.9, 0, 0, 40, 40), ("b", "cat", 0.8, 50, 50, 90, 90), ("c", "cat", 0.7, 10, 10, 60, 60)]


def evaluate(truth: pl.DataFrame, guesses: pl.DataFrame, **options) -> ScoreFacts:
    facts = evaluate_detection(truth, guesses, NAMES, images=IMAGES, **options)
    assert light_map50(truth, guesses, NAMES, images=IMAGES) == facts.score("mAP50")
    return facts


def frames(case: Case) -> tuple[pl.DataFrame, pl.DataFrame, list[str], list[str]]:
    names, images = [f"c{k}" for k in range(case.num_classes)], [f"{i}.jpg" for i in range(case.num_images)]

    def frame(b: np.ndarray, k: np.ndarray, i: np.ndarray, **more: np.ndarray) -> pl.DataFrame:
        corners = {"x1": b[:, 0], "y1": b[:, 1], "x2": b[:, 0] + b[:, 2], "y2": b[:, 1] + b[:, 3]}
        return pl.DataFrame({"image": [images[v] for v in i], "class_name": [names[v] for v in k], **corners, **more})

    return (
        frame(case.object_boxes, case.object_classes, case.object_images, crowd=case.object_crowd),
        frame(case.boxes, case.classes, case.images, score=case.scores),
        names,
        images,
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_twelve_numbers_agree_with_pycocotools(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), objects=80, noise=100)
    truth, guesses, names, images = frames(case)
    facts = evaluate_detection(truth, guesses, names, images=images)
    # Corners to width and back rounds in the last bit, hence not exactly equal here.
    assert facts.scores["value"].head(12).to_list() == pytest.approx(pycocotools_eval(case).stats.tolist(), abs=1e-9)
    assert light_map50(truth, guesses, names, images=images) == facts.score("mAP50")
    low, high = facts.scores.filter(metric="mAP50").select("low", "high").row(0)
    assert low < high


def test_everything_found_is_a_perfect_score() -> None:
    facts = evaluate(TRUTH, predictions(*FOUND))
    assert [facts.score(m) for m in ("mAP", "mAP50", "f1", "precision", "recall")] == [1.0] * 5
    assert facts.score("f1_threshold") == 0.7
    assert facts.objects["found"].all()
    assert set(facts.error_costs.values()) == {0.0}


# --- the edge-case table ------------------------------------------------------------------------------------------


def test_no_detections_score_zero() -> None:
    facts = evaluate(TRUTH, predictions())
    assert facts.score("mAP") == 0.0
    assert facts.score("f1") == 0.0
    assert facts.error_costs["missed"] == 1.0


def test_no_objects_are_undefined_not_minus_one() -> None:
    facts = evaluate(objects(), predictions(*FOUND))
    assert facts.score("mAP") is None
    assert facts.error_costs == {}
    assert facts.predictions["outcome"].to_list() == ["background"] * 3


def test_only_crowd_is_undefined_and_its_detections_ignored() -> None:
    facts = evaluate(TRUTH.with_columns(crowd=True), predictions(*FOUND))
    assert facts.score("mAP") is None
    assert facts.predictions["outcome"].to_list() == ["ignored"] * 3


def test_no_images_at_all() -> None:
    facts = evaluate_detection(TRUTH, predictions(*FOUND), NAMES, images=[])
    assert facts.score("mAP") is None
    assert facts.problems["kind"].to_list() == ["unknown-image"] * 3 + ["object-unknown-image"] * 3


def test_detections_of_a_class_without_objects_are_shown_though_they_cost_nothing() -> None:
    facts = evaluate(TRUTH, predictions(*FOUND, ("a", "dog", 0.95, 200, 200, 240, 240)))
    assert facts.score("mAP") == 1.0
    dog = facts.per_class.row(1, named=True)
    assert (dog["objects"], dog["predictions"], dog["ap"]) == (0, 1, None)
    assert (BACKGROUND_CLASS, "dog", 1) in facts.confusion.rows()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (("a", "cow", 0.9, 0, 0, 40, 40), "unknown-class"),
        (("z", "cat", 0.9, 0, 0, 40, 40), "unknown-image"),
        ((None, "cat", 0.9, 0, 0, 40, 40), "unknown-image"),
        (("a", "cat", 0.9, math.nan, 0, 40, 40), "nan-box"),
        (("a", "cat", 0.9, None, 0, 40, 40), "nan-box"),
        (("a", "cat", 0.9, 0, 0, math.inf, 40), "infinite-box"),
        (("a", "cat", math.nan, 0, 0, 40, 40), "nan-score"),
        (("a", "cat", None, 0, 0, 40, 40), "nan-score"),
        (("a", "cat", math.inf, 0, 0, 40, 40), "infinite-score"),
        (("a", "cat", 55.0, 0, 0, 40, 40), "score-out-of-range"),
        (("a", "cat", -0.1, 0, 0, 40, 40), "score-out-of-range"),
        (("a", "cat", 0.9, 40, 0, 0, 40), "inverted-box"),
        (("a", "cat", 0.9, 0, 0, 0, 40), "empty-box"),
    ],
)
def test_a_bad_prediction_is_listed_and_the_score_is_that_of_the_others(row: tuple, kind: str) -> None:
    facts = evaluate(TRUTH, predictions(*FOUND[1:], row))
    assert facts.problems.select("kind", "row").rows() == [(kind, 3)]
    assert facts.score("mAP50") == evaluate(TRUTH, predictions(*FOUND[1:])).score("mAP50")
    assert facts.score("mAP50") < 1.0


@pytest.mark.parametrize("corner", [math.nan, math.inf, None])
def test_a_bad_object_is_listed_and_left_out(corner: float | None) -> None:
    bad = pl.DataFrame(
        [("a", "cat", corner, 0.0, 40.0, 40.0)], schema=TRUTH.schema | {"x1": pl.Float64}, orient="row", strict=False
    )
    facts = evaluate(
        pl.concat([TRUTH.cast({pl.Int64: pl.Float64}), bad.cast({pl.Int64: pl.Float64})]), predictions(*FOUND)
    )
    assert facts.score("mAP") == 1.0
    assert facts.problems["kind"][0].startswith("object-")


def test_all_predictions_bad() -> None:
    facts = evaluate(TRUTH, predictions(("a", "cow", 0.9, 0, 0, 40, 40)))
    assert facts.score("mAP") == 0.0


def test_a_rounding_above_one_is_one() -> None:
    facts = evaluate(TRUTH, predictions(("a", "cat", 1.0000001, 0, 0, 40, 40), *FOUND[1:]))
    assert facts.problems.is_empty()
    assert facts.predictions["score"].max() == 1.0


def test_scores_as_text_are_read_and_other_text_is_listed() -> None:
    guesses = predictions(*FOUND).with_columns(score=pl.Series(["0.9", "high", "0.7"]))
    facts = evaluate(TRUTH, guesses)
    assert facts.problems.select("kind", "row").rows() == [("nan-score", 2)]


def test_equal_scores_keep_the_order_given() -> None:
    same = predictions(*[(i, c, 0.5, *box) for i, c, _, *box in FOUND])
    assert evaluate(TRUTH, same).score("mAP") == 1.0


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match="score"):
        evaluate_detection(TRUTH, TRUTH, NAMES, images=IMAGES)


# --- why points are lost ------------------------------------------------------------------------------------------


def test_every_error_type_is_told_apart_and_costs_what_mending_it_wins() -> None:
    truth = objects(
        ("a", "cat", 0, 0, 40, 40),
        ("a", "dog", 100, 100, 140, 140),
        ("b", "cat", 0, 0, 40, 40),
        ("c", "cat", 0, 0, 40, 40),
    )
    facts = evaluate(
        truth,
        predictions(
            ("a", "cat", 0.95, 300, 300, 340, 340),  # nothing there
            ("a", "cat", 0.90, 100, 100, 140, 140),  # a dog
            ("b", "cat", 0.85, 20, 0, 60, 40),  # IoU 1/3
            ("a", "cat", 0.80, 0, 0, 40, 40),
            ("a", "cat", 0.75, 1, 0, 41, 40),  # again
            ("a", "cat", 0.70, 120, 100, 160, 140),  # overlaps a dog by a third
        ),
    )
    by_score = facts.predictions.sort("score", descending=True)
    assert by_score["outcome"].to_list() == [
        "background",
        "classification",
        "localisation",
        "correct",
        "duplicate",
        "both",
    ]
    assert by_score["true_class"].to_list() == [None, "dog", "cat", "cat", "cat", "dog"]
    assert by_score["iou"].to_list() == pytest.approx([0, 1, 1 / 3, 1, 39 / 41, 1 / 3])
    costs = facts.error_costs
    # The dog's AP goes from 0 to 1 and one false positive of the cats goes: more than half a point.
    assert costs["classification"] > 0.5
    assert costs["localisation"] > 0.1
    assert costs["background"] > 0
    assert costs["duplicate"] == 0.0  # it comes after the last true positive
    assert costs["missed"] > 0


def test_confusion_counts_every_object_and_every_shown_detection_once() -> None:
    case = random_case(np.random.default_rng(4), objects=120, noise=150, crowd=0)
    truth, guesses, names, images = frames(case)
    facts = evaluate_detection(truth, guesses, names, images=images)
    for name in names:
        assert facts.confusion.filter(true_class=name)["count"].sum() == truth.filter(class_name=name).height
    shown = facts.predictions.filter(pl.col("score") >= facts.score("f1_threshold"))
    assert facts.confusion.filter(pl.col("predicted_class") != BACKGROUND_CLASS)["count"].sum() == len(shown)


def test_curves_fall_in_score_and_end_at_the_recall_reached() -> None:
    truth, guesses, names, images = frames(random_case(np.random.default_rng(4), objects=120, noise=150))
    facts = evaluate_detection(truth, guesses, names, images=images)
    for _, curve in facts.curves.group_by("class_name"):
        assert len(curve) <= 101
        assert curve["recall"].is_sorted()
        assert curve["precision"].is_sorted(descending=True)
        assert curve["score"].is_sorted(descending=True)


def test_more_images_narrow_the_interval() -> None:
    def width(images: int) -> float:
        rng = np.random.default_rng(0)
        case = random_case(
            rng, num_images=images, num_classes=1, objects=5 * images, per_object=0.8, noise=images, crowd=0
        )
        truth, guesses, names, files = frames(case)
        low, high = (
            evaluate_detection(truth, guesses, names, images=files)
            .scores.filter(metric="mAP50")
            .select("low", "high")
            .row(0)
        )
        return high - low

    assert width(200) < 0.6 * width(20)


def test_iou_is_intersection_over_union() -> None:
    iou = pairwise_iou(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]]))
    assert iou[0].tolist() == pytest.approx([50 / 150, 0, 1])
