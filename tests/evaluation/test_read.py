import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.masks import encode
from snellen.evaluation.read import PredictionsError, read_predictions

RESULT = {"image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}


def test_coco_results_become_corners_and_names(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}]))
    predictions, problems = read_predictions(path, image_names={"7": "a.jpg"}, class_names={"2": "dog"})
    assert predictions.row(0) == ("a.jpg", "dog", 0.5, 10.0, 20.0, 40.0, 60.0)
    assert problems.is_empty()


def test_records_that_hold_no_prediction_are_listed_with_their_position(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    good = {"image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}
    bad = [
        3,
        {**good, "bbox": [1, 2, 3]},
        {**good, "score": "high"},
        {**good, "bbox": [1, 2, None, 4]},
        {**good, "score": True},
    ]
    path.write_text(json.dumps([good, *bad]))
    predictions, problems = read_predictions(path)
    assert len(predictions) == 1
    assert problems["row"].to_list() == [2, 3, 4, 5, 6]
    assert problems["kind"].to_list() == [
        "not-an-object",
        "missing-field",
        "not-a-number",
        "missing-field",
        "not-a-number",
    ]


def test_a_score_as_text_is_read_as_the_number_it_is(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": "x", "category_id": 1, "bbox": [0, 0, 1, 1], "score": "0.25"}]))
    assert read_predictions(path)[0]["score"].to_list() == [0.25]


def test_nan_passes_so_that_scoring_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('[{"image_id": 1, "category_id": 1, "bbox": [NaN, 0, 1, 1], "score": 0.5}]')
    assert read_predictions(path)[0]["x1"].is_nan().to_list() == [True]


def test_csv_with_common_column_names(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("filename,class,confidence,xmin,ymin,xmax,ymax\na.jpg,cat,0.9,1,2,3,4\nb.jpg,cat,,1,2,3,4\n")
    predictions, problems = read_predictions(path)
    assert predictions.row(0) == ("a.jpg", "cat", 0.9, 1.0, 2.0, 3.0, 4.0)
    assert problems.row(0)[:3] == ("missing-field", 2, "b.jpg")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.csv", "a,b\n1,2\n", "lacks image, class_name"),
        ("p.json", "{", "not JSON"),
        ("p.json", '{"a": 1}', "expected a list"),
        ("p.json", "[" * 100_000, "not JSON"),
        ("p.json", '{"annotations": 3}', "expected a list"),
        ("p.json", "3", "expected a list"),
        ("p.txt", "x", "expected .json"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PredictionsError, match=says):
        read_predictions(tmp_path / name)


def test_a_missing_file_is_an_error_of_use(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="no such file"):
        read_predictions(tmp_path / "nothing.json")


def read(path: Path, records: Any, **options) -> tuple[pl.DataFrame, pl.DataFrame]:
    path.write_text(json.dumps(records))
    return read_predictions(path, **options)


def test_masks_and_keypoints_become_columns(tmp_path: Path) -> None:
    mask = np.zeros((1, 20, 30), dtype=bool)
    mask[0, 5:10, 8:20] = True
    masks = encode(mask)
    text, counts = masks.compressed(0).decode(), masks.counts(0).tolist()
    ring, points = [1.0, 2, 9, 3, 5, 12], [4.0, 5, 2, 8, 3, 1]
    frame, problems = read(
        tmp_path / "r.json",
        [
            {**RESULT, "segmentation": {"size": [20, 30], "counts": text}},
            {**RESULT, "segmentation": {"size": [20, 30], "counts": counts}, "bbox": None},
            {**RESULT, "segmentation": [ring], "bbox": None},
            {**RESULT, "keypoints": points, "bbox": None},
            RESULT,
        ],
    )
    assert problems.is_empty()
    assert frame["rle"].to_list() == [text, text, None, None, None]
    assert frame["rle_width"].to_list() == [30, 30, None, None, None]
    assert frame["rings"].to_list() == [None, None, [ring], None, None]
    assert frame["xyv"].to_list() == [None, None, None, points, None]
    boxes = frame.select("x1", "y1", "x2", "y2").rows()
    assert boxes == [(10, 20, 40, 60), (8, 5, 20, 10), (1, 2, 9, 12), (4, 3, 8, 5), (10, 20, 40, 60)]


def test_run_lengths_without_a_box_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    bad = [
        {"size": [20, 30], "counts": "x"},
        {"size": [10**30, 30], "counts": "x"},
        {"size": [20], "counts": "0"},
        {"size": [20, 30], "counts": [2, "a"]},
    ]
    records = [{**RESULT, "bbox": None, "segmentation": s} for s in bad]
    frame, problems = read(tmp_path / "r.json", [*records, RESULT])
    assert len(frame) == 1
    assert problems.select("kind", "row").rows() == [
        ("malformed-rle", 1),
        ("image-size", 2),
        ("image-size", 3),
        ("rle-size", 4),
    ]


def test_a_list_in_an_object_is_read_too(tmp_path: Path) -> None:
    assert len(read(tmp_path / "r.json", {"annotations": [RESULT], "info": {}})[0]) == 1


def test_one_bad_record_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b'[{"image_id": "\xff", "category_id": 1}, ' + json.dumps(RESULT).encode() + b"]")
    frame, problems = read_predictions(path)
    assert len(frame) == 1
    assert problems.select("kind", "row").rows() == [("malformed-record", 1)]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "a"]), inner),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(
    changes=st.lists(
        st.dictionaries(
            st.sampled_from(["image_id", "category_id", "bbox", "score", "segmentation", "keypoints"]), anything
        ),
        max_size=4,
    ),
    by=st.sampled_from(["box", "mask", "keypoints"]),
)
def test_records_of_anything_are_read_or_listed_and_can_be_scored(tmp_path: Path, changes: list, by: str) -> None:
    frame, problems = read(tmp_path / "r.json", [{**RESULT, **c} for c in changes])
    assert len(frame) + len(problems) == len(changes)
    truth = pl.DataFrame(
        {
            "image": ["7"], "class_name": ["2"], "x1": [0.0], "y1": [0.0], "x2": [9.0], "y2": [9.0],
            "rings": [[[0.0, 0.0, 9.0, 0.0, 9.0, 9.0]]], "xyv": [[1.0] * 51],
        }
    )  # fmt: skip
    for name in ("rings", "xyv"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=truth[name].dtype).alias(name))
    facts = evaluate_detection(truth, frame, ["2"], images=["7"], by=by, bootstrap=0)
    left_out = facts.problems.filter(~pl.col("kind").str.starts_with("object-"))
    assert len(facts.predictions) + len(left_out) == len(frame)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), suffix=st.sampled_from(["json", "csv"]))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    path.write_bytes(data)
    try:
        frame, problems = read_predictions(path)
    except PredictionsError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert len(frame) + len(problems) >= 0


# --- YOLO -----------------------------------------------------------------------------------------------------------

SIZES = {"a.jpg": (100.0, 50.0)}


def yolo(folder: Path, text: str, **options) -> tuple[pl.DataFrame, pl.DataFrame]:
    (folder / "a.txt").write_text(text)
    (folder / "empty.txt").write_text("")
    options = {"image_names": {"a": "a.jpg"}, "class_names": {"0": "cat"}, "image_sizes": SIZES} | options
    return read_predictions(folder, **options)


def test_yolo_rows_become_pixels_of_their_image(tmp_path: Path) -> None:
    frame, problems = yolo(tmp_path, "0 0.5 0.5 0.2 0.4 0.9\n\n1 0.1 0.2 0.3 0.2 0.3 0.6 0.8\n")
    assert problems.is_empty()
    assert frame.drop("rings").rows() == [
        ("a.jpg", "cat", 0.9, 40.0, 15.0, 60.0, 35.0),
        ("a.jpg", "1", 0.8, 10.0, 10.0, 30.0, 30.0),
    ]
    assert frame["rings"].to_list() == [None, [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0]]]


def test_yolo_rows_that_are_no_predictions_are_listed(tmp_path: Path) -> None:
    frame, problems = yolo(tmp_path, "0 0.5 0.5 0.2 0.4\n0 a 0.5 0.2 0.4 0.9\n0\n0 0.5 0.5 0.2 0.4 nan\n")
    assert problems.select("kind", "row").rows() == [("missing-field", 1), ("not-a-number", 2), ("missing-field", 3)]
    assert problems["value"][0] == "a.txt:1: 0 0.5 0.5 0.2 0.4"
    assert frame["score"].is_nan().to_list() == [True]


def test_yolo_needs_the_size_of_the_image_and_files(tmp_path: Path) -> None:
    frame, problems = yolo(tmp_path, "0 0.5 0.5 0.2 0.4 0.9", image_sizes={})
    assert frame.is_empty()
    assert problems["kind"].to_list() == ["no-image-size"]
    (tmp_path / "none").mkdir()
    with pytest.raises(PredictionsError, match=r"no \.txt file"):
        read_predictions(tmp_path / "none")


def test_yolo_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0 0.5 0.5 0.2 0.4 0.9")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "secret")
    assert len(yolo(tmp_path / "in", "")[0]) == 0
