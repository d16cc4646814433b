"""`check --with-model`: planted label errors are found with a run's own model, and with anybody's predictions."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from snellen.boxes import CORNERS
from snellen.cli.app import app
from snellen.data.digits import Digits, build_digits
from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs.check import check
from snellen.verbs.fix import fix
from snellen.verbs.train import train
from tests.evaluation.label_noise import KINDS, Wrong, hits, plant_label_noise

RULES = {"overlooked": "overlooked-object", "swapped": "swapped-class", "misplaced": "misplaced-box"}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Wrong], Path]:
    """Scenes of which one object in twenty of each kind is wrong, the errors, and true boxes as predictions."""
    folder = tmp_path_factory.mktemp("spoilt")
    scenes = build_digits(folder, train_scenes=60, val_scenes=40).detection
    predictions = folder / "predictions.csv"
    rng = np.random.default_rng(0)
    with predictions.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "class_name", "score", *CORNERS])
        for split in ("train", "val"):
            document = json.loads((scenes / f"{split}.json").read_text())
            names = {i["id"]: i["file_name"] for i in document["images"]}
            for label in document["annotations"]:
                x, y, w, h = label["bbox"]
                # By number, as the classes are called by digits, and another one's number is a digit too.
                number = label["category_id"]
                rows.writerow([names[label["image_id"]], number, rng.uniform(0.6, 0.99), x, y, x + w, y + h])
    return scenes, plant_label_noise(scenes), predictions


def of(result: Result, rule: str) -> list[object]:
    return [f for f in result.verdict.findings if f.rule == rule]


def test_predictions_point_at_the_records_to_mend(
    spoilt: tuple[Path, list[Wrong], Path], plain: LoadedSettings
) -> None:
    data, planted, predictions = spoilt
    result = check(data, with_model=predictions, settings=plain, cache=False)
    boxes = {(w.image, tuple(round(v, 1) for v in w.box)): w.kind for w in planted}
    for kind, rule in RULES.items():
        found = [f for f in result.verdict.findings if f.rule == rule]
        count = sum(w.kind == kind for w in planted)
        assert len(found) >= 0.15 * count
        for finding in found:
            assert finding.place.file in ("train.json", "val.json")
            assert finding.place.box is not None
            assert boxes[finding.place.image, tuple(round(v, 1) for v in finding.place.box)] == kind
            assert finding.evidence["image_was"] == "not known"
            assert finding.fix is not None
            if kind != "overlooked":
                assert finding.place.row == finding.fix.edit["row"]
    assert result.scores is not None
    assert "not known" in result.scores.split
    assert "scores on all (100 images, not known whether trained on)" in str(result)


def test_without_a_model_nothing_of_it_runs(digits: Digits, plain: LoadedSettings) -> None:
    result = check(digits.detection, settings=plain, cache=False)
    assert result.scores is None
    assert not set(RULES.values()) & set(result.verdict.ran)


def test_unsafe_fixes_take_the_models_box(
    spoilt: tuple[Path, list[Wrong], Path], plain: LoadedSettings, tmp_path: Path
) -> None:
    data, planted, predictions = spoilt
    fixed = fix(data, tmp_path / "mended", unsafe=True, with_model=predictions, settings=plain)
    count = fixed.made["misplaced-box"]
    assert count >= 0.3 * sum(w.kind == "misplaced" for w in planted)
    assert fixed.result is not None
    assert not of(fixed.result, "misplaced-box")
    assert fixed.left["overlooked-object", "`label the object` is not made in coco datasets: do it by hand"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "no such run"),
        ("other.csv", "image,class_name,score,x1,y1,x2,y2\nnowhere.png,3,0.9,1,1,9,9\n", "names no image of"),
        ("broken.json", "{", "broken.json"),
        ("text.md", "#", "expected .json"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    digits: Digits, plain: LoadedSettings, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UseError, match=message) as error:
        check(digits.detection, with_model=tmp_path / name, settings=plain, cache=False)
    assert "\n" not in str(error.value)


def test_probabilities_of_a_file_judge_labelled_images(digits: Digits, plain: LoadedSettings, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits.classification / "val", data)
    names = [str(k) for k in range(10)]
    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", *names])
        for path in sorted(data.rglob("*.png")):
            rows.writerow([path.name, *(0.95 if k == path.parent.name else 0.05 / 9 for k in names)])
    moved = sorted((data / "3").glob("*.png"))[:3]
    for path in moved:
        path.rename(data / "5" / path.name)
    result = check(data, with_model=tmp_path / "p.csv", settings=plain, cache=False)
    found = [f for f in result.verdict.findings if f.rule == "mislabelled-image"]
    assert {f.place.image for f in found} == {f"5/{path.name}" for path in moved}
    assert all(f.evidence["suggested"] == "3" and f.place.class_name == "5" for f in found)


def test_the_command_line_names_the_suspects(spoilt: tuple[Path, list[Wrong], Path], tmp_path: Path) -> None:
    data, _planted, predictions = spoilt
    ran = CliRunner().invoke(app, ["check", str(data), "--with-model", str(predictions), "--no-cache"])
    assert "overlooked-object (LBL030)" in ran.output
    refused = CliRunner().invoke(app, ["check", str(data), "--with-model", str(tmp_path / "none")])
    assert isinstance(refused.exception, UseError)


@pytest.mark.slow
def test_an_exam_lists_the_labels_its_own_predictions_speak_against(
    detection_exam: Result, classification_exam: Result
) -> None:
    for result in (detection_exam, classification_exam):
        assert result.scores is not None
        assert result.scores.learned_images == 0
        assert {"overlooked-object", "mislabelled-image"} <= set(result.verdict.ran)
        assert result.scores.suspects["learned"].fill_null(True).not_().all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_trained_on_wrong_labels_finds_them(plain: LoadedSettings, tmp_path: Path) -> None:
    data = build_digits(tmp_path, train_scenes=400, val_scenes=200).detection
    planted = plant_label_noise(data)
    train(data, out=tmp_path / "run", settings=plain, epochs=14)
    result = check(data, with_model=tmp_path / "run", settings=plain, cache=False)
    scores = result.scores
    assert scores is not None
    assert scores.learned_images == 400
    found = scores.suspects.with_columns(
        right=pl.Series([bool(h) for h in hits(scores.suspects, scores.objects, planted)])
    )
    for kind in KINDS:
        mine = found.filter((pl.col("kind") == kind) & ~pl.col("learned"))
        count = sum(w.kind == kind and "/val/" in w.image for w in planted)
        assert mine["right"].mean() >= 0.6
        assert mine["right"].sum() >= 0.15 * count
    assert found.filter("learned")["right"].mean() >= 0.6
    said = {f.evidence["image_was"] for f in result.verdict.findings if f.rule in RULES.values()}
    assert said == {"held out", "trained on"}


@pytest.mark.slow
def test_a_classifier_trained_on_wrong_labels_finds_them(plain: LoadedSettings, tmp_path: Path) -> None:
    data = build_digits(tmp_path, train_scenes=1, val_scenes=1).classification
    rng = np.random.default_rng(0)
    wrong = set()
    for path in sorted(data.rglob("*.png")):
        if rng.random() < 0.05:
            other = path.parent.parent / str((int(path.parent.name) + rng.integers(1, 10)) % 10) / path.name
            path.rename(other)
            wrong.add(other.relative_to(data).as_posix())
    train(data, out=tmp_path / "run", settings=plain)
    result = check(data, with_model=tmp_path / "run", settings=plain, cache=False)
    found = [f for f in result.verdict.findings if f.rule == "mislabelled-image"]
    held_out = [f.place.image in wrong for f in found if f.evidence["image_was"] == "held out"]
    assert np.mean(held_out) >= 0.6
    assert sum(held_out) >= 0.3 * sum(w.startswith("val/") for w in wrong)
