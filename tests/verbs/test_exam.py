"""The main job: every stage leaves its facts, one report is written, and a finished run can be read back."""

import json
from pathlib import Path

import pytest

from snellen.data.digits import Digits
from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs.evaluate import evaluate
from snellen.verbs.exam import exam
from snellen.verbs.predict import predict
from snellen.verbs.run_folder import read_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("which", ["detection_exam", "classification_exam"])
def test_an_exam_leaves_facts_findings_scores_and_one_report(which: str, request: pytest.FixtureRequest) -> None:
    result: Result = request.getfixturevalue(which)
    folder = result.folder
    assert folder
    for part in ("data", "network", "run", "scores"):
        assert (folder / "facts" / part / "scalars.json").is_file()
    assert (folder / "recipe.toml").is_file()
    assert (folder / "environment.json").is_file()
    assert json.loads((folder / "scores.json").read_text())
    assert json.loads((folder / "findings.json").read_text())["schema_version"]
    report = (folder / "report.html").read_text()
    assert len(report.encode()) <= 2_000_000
    assert "<script src" not in report
    assert result.run
    assert len(result.run.steps) > 0
    assert set(result.seconds) == {"check", "inspect", "preflight", "train", "evaluate", "judge"}


def test_two_epochs_on_the_digits_already_classify(classification_exam: Result) -> None:
    assert classification_exam.scores
    assert (classification_exam.scores.score("accuracy") or 0) > 0.85


def test_a_finished_run_is_read_back_with_the_same_findings(detection_exam: Result, plain: LoadedSettings) -> None:
    assert detection_exam.folder
    again = read_run(detection_exam.folder, plain)
    assert [f.to_dict() for f in again.verdict.findings] == [f.to_dict() for f in detection_exam.verdict.findings]
    assert again.recipe == detection_exam.recipe
    assert str(again).strip()
    assert "<" in again._repr_html_()


def test_a_run_is_not_overwritten(detection_exam: Result, digits: Digits, plain: LoadedSettings) -> None:
    with pytest.raises(UseError, match="already holds something"):
        exam(digits.detection, out=detection_exam.folder, settings=plain, epochs=1)


def test_evaluate_agrees_with_the_exam(detection_exam: Result, digits: Digits, plain: LoadedSettings) -> None:
    assert detection_exam.folder
    assert detection_exam.scores
    again = evaluate(detection_exam.folder, digits.detection, settings=plain)
    assert again.scores
    assert again.scores.score("mAP50") == pytest.approx(detection_exam.scores.score("mAP50"), abs=1e-9)


def test_anybodys_predictions_are_scored(digits: Digits, plain: LoadedSettings, tmp_path: Path) -> None:
    truth = json.loads((digits.detection / "val.json").read_text())
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9}
        for a in truth["annotations"]
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    perfect = evaluate(path, digits.detection, split="val", settings=plain)
    assert perfect.scores
    assert perfect.scores.score("mAP") == pytest.approx(1.0)
    for record in results:
        record["category_id"] += 1
    path.write_text(json.dumps(results))
    shifted = evaluate(path, digits.detection, split="val", settings=plain)
    assert {f.rule for f in shifted.verdict.roots} & {"shifted-class-ids", "predictions-of-unknown-class"}


def test_predict_tells_of_images_it_cannot_read(detection_exam: Result, digits: Digits, tmp_path: Path) -> None:
    assert detection_exam.folder
    (tmp_path / "broken.png").write_bytes(b"not an image")
    good = sorted((digits.detection / "images").rglob("*.png"))[:2]
    table = predict(detection_exam.folder, [*good, tmp_path / "broken.png"], threshold=0.02)
    assert table.filter(table["error"].is_not_null())["image"].to_list() == [str(tmp_path / "broken.png")]
    with pytest.raises(UseError, match="no such image"):
        predict(detection_exam.folder, [tmp_path / "absent.png"])
