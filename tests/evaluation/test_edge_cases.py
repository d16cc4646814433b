"""The cases in which COCO evaluators crash, return -1 or are silently wrong: here each is a number or a finding.

All but the last three come through files, as a user's would: a COCO dataset and COCO results. The references' behaviour
is noted beside each.
"""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from snellen.data.examine import examine
from snellen.evaluation.coco_core import coco_summary, match_boxes
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.severity import Tier
from snellen.verbs.scoring.predictions import score_predictions
from tests.evaluation.coco_reference import pycocotools_eval, random_case

BOXES = [[10, 10, 40, 40], [30, 20, 40, 40], [50, 5, 40, 50]]
TRUTH: dict[str, Any] = {
    "images": [{"id": i + 1, "file_name": f"{i + 1}.png", "width": 120, "height": 90} for i in range(3)],
    "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
    "annotations": [
        {"id": i + 1, "image_id": i + 1, "category_id": 3, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, b in enumerate(BOXES)
    ],
}
FOUND = [{"image_id": i + 1, "category_id": 3, "bbox": b, "score": 0.9 - i / 10} for i, b in enumerate(BOXES)]
PERFECT = pytest.approx(1.0)


@pytest.fixture
def score(tmp_path: Path):
    for i in range(3):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(tmp_path / f"{i + 1}.png")

    def run(truth: dict[str, Any], results: Any) -> ScoreFacts:
        (tmp_path / "annotations.json").write_text(json.dumps(truth))
        results_path = tmp_path.parent / f"{tmp_path.name}_results.json"
        results_path.write_text(results if isinstance(results, str) else json.dumps(results))
        return score_predictions(results_path, examine(tmp_path, tier=Tier.HEADERS, cache=False))

    return run


def changed(**fields: Any) -> dict[str, Any]:
    """The truth with fields of its first object changed; None drops one from all."""
    truth = copy.deepcopy(TRUTH)
    for name, value in fields.items():
        if value is None:
            for annotation in truth["annotations"]:
                annotation.pop(name)
        else:
            truth["annotations"][0][name] = value
    return truth


def kinds(facts: ScoreFacts) -> list[str]:
    return facts.problems["kind"].to_list()


def test_everything_right(score) -> None:
    facts = score(TRUTH, FOUND)
    assert facts.score("mAP") == PERFECT
    assert kinds(facts) == []


def test_no_detections_score_zero(score) -> None:
    """Pycocotools: IndexError."""
    facts = score(TRUTH, [])
    assert (facts.score("mAP"), facts.score("mAR@100"), facts.score("f1")) == (0.0, 0.0, 0.0)
    assert facts.objects["found"].to_list() == [False] * 3


def test_no_objects_are_undefined(score) -> None:
    """All: -1."""
    facts = score(TRUTH | {"annotations": []}, FOUND)
    assert facts.score("mAP") is None
    assert facts.predictions_without_objects == 3


def test_only_crowd_is_undefined_and_its_detections_count_as_nothing(score) -> None:
    """All: -1."""
    truth = copy.deepcopy(TRUTH)
    for annotation in truth["annotations"]:
        annotation["iscrowd"] = 1
    facts = score(truth, FOUND)
    assert facts.score("mAP") is None
    assert facts.predictions["outcome"].to_list() == ["ignored"] * 3


def test_false_positives_of_a_class_without_objects_are_counted(score) -> None:
    """All: AP 1.0 and not a word."""
    facts = score(TRUTH, [*FOUND, {**FOUND[0], "category_id": 8, "score": 0.99}])
    assert facts.score("mAP") == PERFECT
    assert facts.predictions_without_objects == 1
    assert facts.per_class.filter(class_name="dog").select("objects", "predictions", "ap").rows() == [(0, 1, None)]


def test_an_unknown_category_is_named(score) -> None:
    """All: silently dropped."""
    facts = score(TRUTH, [*FOUND, {**FOUND[0], "category_id": 99}])
    assert facts.score("mAP") == PERFECT
    assert facts.problems.select("kind", "row", "value").rows() == [("unknown-class", 4, "99")]


def test_an_unknown_image_is_named(score) -> None:
    """Pycocotools: AssertionError; hotcoco: silently dropped."""
    facts = score(TRUTH, [*FOUND, {**FOUND[0], "image_id": 77}])
    assert facts.score("mAP") == PERFECT
    assert facts.problems.select("kind", "row", "value").rows() == [("unknown-image", 4, "77")]


@pytest.mark.parametrize("fields", [{"id": 0}, {"id": 2}, {"id": None}])
def test_ids_of_objects_do_not_matter(score, fields: dict[str, Any]) -> None:
    """Pycocotools: id 0 never counts as found (0.626 for 1.0), equal ids 0.168, no ids KeyError."""
    facts = score(changed(**fields), FOUND)
    assert facts.score("mAP") == PERFECT
    assert facts.objects["found"].to_list() == [True] * 3


@pytest.mark.parametrize("fields", [{"area": None}, {"iscrowd": None}, {"area": None, "iscrowd": None}])
def test_objects_without_area_or_crowd_are_scored(score, fields: dict[str, Any]) -> None:
    """Pycocotools: KeyError."""
    facts = score(changed(**fields), FOUND)
    assert facts.score("mAP") == PERFECT
    assert facts.score("mAP_medium") == PERFECT


def test_image_ids_may_be_text(score) -> None:
    """Hotcoco, faster-coco-eval and vernier: ValueError."""
    truth = copy.deepcopy(TRUTH)
    for record in [*truth["images"], *truth["annotations"]]:
        name = "id" if "file_name" in record else "image_id"
        record[name] = f"frame-{record[name]}"
    facts = score(truth, [{**r, "image_id": f"frame-{r['image_id']}"} for r in FOUND])
    assert facts.score("mAP") == PERFECT


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_box_that_is_no_number_is_left_out_and_named(score, place: int, value: float) -> None:
    """Pycocotools: a NaN box counts as a true positive (0.917, honest 0.833 with half the object's score)."""
    bad = copy.deepcopy(FOUND)
    bad[0]["bbox"][place] = value
    facts = score(TRUTH, bad)
    assert kinds(facts)[0] in ("nan-box", "infinite-box")
    assert len(facts.problems) == 1
    assert facts.score("mAP") == score(TRUTH, FOUND[1:]).score("mAP") < 1


@pytest.mark.parametrize("place", range(4))
def test_an_object_that_is_no_number_is_left_out(score, place: int) -> None:
    """Pycocotools: 1.0; faster-coco-eval: 0.752. The dataset's own exam names the box."""
    facts = score(changed(bbox=[math.nan if i == place else v for i, v in enumerate(BOXES[0])]), FOUND[1:])
    assert facts.score("mAP") == PERFECT
    assert len(facts.objects) == 2


@pytest.mark.parametrize(("value", "kind"), [(math.nan, "nan-score"), (math.inf, "infinite-score")])
def test_a_score_that_is_no_number_is_left_out_and_named(score, value: float, kind: str) -> None:
    """Pycocotools: NaN silent, infinity ranked first."""
    facts = score(TRUTH, [{**FOUND[0], "score": value}, *FOUND[1:]])
    assert facts.problems.select("kind", "row").rows() == [(kind, 1)]
    assert facts.score("mAP") == score(TRUTH, FOUND[1:]).score("mAP") < 1


@pytest.mark.parametrize(
    ("box", "kind"),
    [([10, 10, 0, 40], "empty-box"), ([10, 10, 40, 0], "empty-box"), ([50, 10, -40, 40], "inverted-box")],
)
def test_a_box_without_area_is_left_out_and_named(score, box: list[int], kind: str) -> None:
    """All: silently a false positive, or an object that nothing can match."""
    facts = score(TRUTH, [*FOUND, {**FOUND[0], "bbox": box, "score": 0.95}])
    assert facts.problems.select("kind", "row").rows() == [(kind, 4)]
    assert facts.score("mAP") == PERFECT
    assert score(changed(bbox=box), FOUND[1:]).score("mAP") == PERFECT


def test_scores_as_text_are_numbers_where_they_spell_one(score) -> None:
    """Pycocotools: TypeError."""
    assert score(TRUTH, [{**r, "score": str(r["score"])} for r in FOUND]).score("mAP") == PERFECT
    facts = score(TRUTH, [*FOUND, {**FOUND[0], "score": "high"}])
    assert facts.problems.select("kind", "row").rows() == [("not-a-number", 4)]


def test_any_limit_on_detections_gives_the_right_number() -> None:
    """Pycocotools: AP is -1 unless the largest limit is 100."""
    case = random_case(np.random.default_rng(1), num_images=2, num_classes=1, objects=40, per_object=4, noise=100)
    size = {"num_classes": 1, "num_images": 2}
    wide = coco_summary(match_boxes(*case.arguments, **size, max_dets=(1, 10, 300)))
    assert wide["mAP"] == pytest.approx(
        float(np.mean(pycocotools_eval(case, max_dets=(1, 10, 300)).eval["precision"][:, :, :, 0, 2]))
    )
    assert pycocotools_eval(case, max_dets=(1, 10, 300)).stats[0] == -1


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0])
def test_equal_scores_are_taken_in_the_order_given(value: float) -> None:
    """All but torchmetrics agree, and so do we."""
    case = random_case(np.random.default_rng(2), objects=80, noise=60)
    case.scores[:] = value
    size = {"num_classes": case.num_classes, "num_images": case.num_images}
    mine = coco_summary(match_boxes(*case.arguments, **size))
    assert list(mine.values()) == pycocotools_eval(case).stats.tolist()


def test_nothing_at_all() -> None:
    none = np.zeros(0)
    empty = [np.zeros((0, 4)), none.astype(int), none.astype(int), none.astype(bool), none]
    summary = coco_summary(match_boxes(*empty, *empty[:3], none, num_classes=0, num_images=0))
    assert set(summary.values()) == {None}
    assert pl.DataFrame([summary]).width == 12
