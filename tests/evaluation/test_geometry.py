"""The same tables scored by box, mask, rotated box and keypoints."""

import numpy as np
import polars as pl
import pytest

from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.masks import encode

IMAGES, NAMES = ["a", "b"], ["cat", "dog"]
SIZES = pl.DataFrame({"image": IMAGES, "width": [100, 100], "height": [80, 80]})
BOX = {"x1": 10.0, "y1": 10.0, "x2": 50.0, "y2": 50.0}
SQUARE = [[10.0, 10.0, 50.0, 10.0, 50.0, 50.0, 10.0, 50.0]]
CORNER = [[10.0, 10.0, 50.0, 10.0, 10.0, 50.0]]
"""Half of the square."""


def run(objects: list[dict], predictions: list[dict], by: str, **options) -> ScoreFacts:
    def rows(records: list[dict], defaults: dict) -> pl.DataFrame:
        return pl.DataFrame(
            [{"image": "a", "class_name": "cat", **BOX, **defaults, **r} for r in records], strict=False
        )

    options = {"bootstrap": 20, "image_properties": SIZES} | options
    return evaluate_detection(
        rows(objects, {}), rows(predictions, {"score": 0.9}), NAMES, images=IMAGES, by=by, **options
    )


def rle(rings_mask: np.ndarray) -> dict[str, object]:
    return {"rle": encode(rings_mask[None]).compressed(0).decode(), "rle_height": 80, "rle_width": 100}


def test_masks_tell_apart_what_boxes_do_not() -> None:
    objects, predictions = [{"rings": SQUARE}], [{"rings": CORNER}]
    assert run(objects, predictions, "box").score("mAP50") == pytest.approx(1.0)
    facts = run(objects, predictions, "mask")
    assert facts.score("mAP50") == 0.0
    assert facts.predictions["iou"].to_list() == pytest.approx([0.5], abs=0.03)
    assert "IoU of masks" in facts.convention
    assert facts.objects["area"].to_list() == [1600.0]


def test_run_lengths_and_polygons_meet() -> None:
    mask = np.zeros((80, 100), dtype=bool)
    mask[10:50, 10:50] = True
    facts = run([{"rings": SQUARE, "rle": None, "rle_height": None, "rle_width": None}], [rle(mask)], "mask")
    assert facts.predictions["iou"].to_list() == pytest.approx([1.0])
    unknown = run([{"rings": SQUARE}], [rle(mask)], "mask", image_properties=None)
    assert unknown.score("mAP") == pytest.approx(1.0)  # the image is as large as the run lengths say


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ({"rle": "x", "rle_height": 80, "rle_width": 100}, "malformed-rle"),
        ({"rle": "1", "rle_height": 80, "rle_width": 100}, "rle-size"),
        ({"rle": "1", "rle_height": 100, "rle_width": 80}, "mask-size"),
        ({"rle": None, "rle_height": None, "rle_width": None}, "no-segmentation"),
    ],
)
def test_a_mask_that_cannot_be_read_is_listed_and_the_others_are_scored(shape: dict, kind: str) -> None:
    good = {"rle": encode(np.ones((1, 80, 100), dtype=bool)).compressed(0).decode(), "rle_height": 80, "rle_width": 100}
    facts = run([good], [shape, {**good, "score": 0.5}], "mask")
    assert facts.problems.select("kind", "row").rows() == [(kind, 1)]
    assert facts.score("mAP") == pytest.approx(1.0)
    facts = run([shape, good], [good], "mask")
    assert facts.problems.select("kind", "row").rows() == [(f"object-{kind}", 1)]
    assert facts.score("mAP") == pytest.approx(1.0)


def test_rotated_boxes_tell_apart_what_their_hulls_do_not() -> None:
    diamond = [[30.0, 10.0, 50.0, 30.0, 30.0, 50.0, 10.0, 30.0]]
    assert run([{"rings": diamond}], [{"rings": SQUARE}], "box").score("mAP75") == pytest.approx(1.0)
    facts = run([{"rings": diamond}], [{"rings": SQUARE}], "oriented")
    assert facts.predictions["iou"].to_list() == pytest.approx([0.5])
    assert facts.score("mAP75") == 0.0
    assert facts.objects["area"].to_list() == [800.0]
    bad = run(
        [{"rings": diamond}], [{"rings": diamond}, {"rings": [[0.0, 0.0, 9.0, 9.0, 9.0, 0.0, 0.0, 9.0]]}], "oriented"
    )
    assert bad.problems["kind"].to_list() == ["not-a-rotated-box"]
    assert bad.score("mAP") == pytest.approx(1.0)


def test_keypoints_are_scored_by_similarity_and_pass_what_is_not_labelled() -> None:
    points = [float(v) for k in range(17) for v in (10 + 2 * k, 20 + k, 2)]
    hidden = [0.0] * 51
    facts = run(
        [{"xyv": points, "image": "a"}, {"xyv": hidden, "image": "b"}],
        [{"xyv": points}, {"xyv": points[:-3]}, {"xyv": None}, {"xyv": [*points[:-1], float("nan")]}],
        "keypoints",
    )
    assert facts.score("mAP") == pytest.approx(1.0)
    assert facts.score("mAR50") == pytest.approx(1.0)
    assert facts.score("mAP_small") is None
    assert facts.problems.select("kind", "row").rows() == [("malformed-keypoints", n) for n in (2, 3, 4)]
    assert facts.objects["crowd"].to_list() == [False, True]
    assert "keypoint similarity" in facts.convention
    assert "at most 20" in facts.convention


def test_a_shape_that_no_column_holds_is_an_error() -> None:
    with pytest.raises(KeyError, match="xyv"):
        run([{}], [{}], "keypoints")


def test_the_stated_area_decides_the_size() -> None:
    facts = run([{"area": 500.0}], [{}], "box")
    assert facts.score("mAP_small") == pytest.approx(1.0)
    assert facts.score("mAP_medium") is None
    assert run([{}], [{}], "box").score("mAP_medium") == pytest.approx(1.0)
    assert run([{"area": float("nan")}], [{}], "box").score("mAP_medium") == pytest.approx(1.0)


def test_any_limit_on_detections_is_scored_and_said() -> None:
    far = [{"score": 0.95, "x1": 60.0 + k / 100, "x2": 90.0} for k in range(150)]
    assert run([{}], [*far, {}], "box").score("mAP") == 0.0
    facts = run([{}], [*far, {}], "box", max_dets=(1, 10, 300))
    assert facts.score("mAP") == pytest.approx(1 / 151)
    assert facts.score("mAR@300") == pytest.approx(1.0)
    assert "at most 300 detections" in facts.convention
    assert "pycocotools returns -1" in facts.convention


def test_every_class_has_its_numbers_by_size_and_the_other_conventions_stand_beside() -> None:
    facts = run([{}, {"image": "b"}], [{}, {"class_name": "dog"}, {"class_name": "dog"}], "box")
    cat, dog = facts.per_class.to_dicts()
    assert cat["ap_medium"] == pytest.approx(0.5, abs=0.01)
    assert (cat["ap_small"], cat["ar"], cat["olrp"]) == (None, 0.5, 0.5)
    assert (dog["ap_medium"], dog["ar"], dog["olrp"]) == (None, None, None)
    assert facts.predictions_without_objects == 2
    assert facts.score("oLRP") == 0.5
    # One of two found, one of three right: 1.25 P R / (0.25 P + R) and 5 P R / (4 P + R).
    assert facts.score("f05") == pytest.approx(1.25 / 6 / (0.25 / 3 + 0.5))
    assert facts.score("f2") == pytest.approx(5 / 6 / (4 / 3 + 0.5))
    assert facts.score("f2_threshold") == 0.9
    assert "VOC's matching" in facts.convention
    assert facts.score("mAP50_voc2010") == 0.5
    assert facts.score("mAP50_voc2007") == pytest.approx(6 / 11)
