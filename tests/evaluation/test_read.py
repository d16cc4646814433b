import json
from pathlib import Path

import pytest

from snellen.evaluation.read import PredictionsError, read_predictions


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
