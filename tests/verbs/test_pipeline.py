"""`evaluate --fix` and what `predict` makes of it, on a run as a user has one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torchvision.ops import box_iou
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.data.digits import Digits
from snellen.errors import UseError
from snellen.evaluation.pipeline import Pipeline, load_pipeline
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs import fit_pipeline as verb
from snellen.verbs.evaluate import evaluate
from snellen.verbs.fit_pipeline import fit_pipeline, write_pipeline
from snellen.verbs.predict import predict

pytestmark = pytest.mark.slow


def altered(run: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of the run with other weights."""
    shutil.copytree(run, folder)
    path = folder / "checkpoints" / "best.pt"
    state = torch.load(path, weights_only=True)
    change(state["model"])
    torch.save(state, path)
    return folder


@pytest.fixture
def run(classification_exam: Result, tmp_path: Path) -> Path:
    """A classifier with a spoilt head and logits that are five times too large: as sure of itself as it is wrong."""

    def spoil(model: dict[str, torch.Tensor]) -> None:
        noise = torch.randn(model["head.weight"].shape, generator=torch.Generator().manual_seed(0))
        model["head.weight"] = 5 * (model["head.weight"] + 2 * model["head.weight"].std() * noise)
        model["head.bias"] *= 5

    assert classification_exam.folder
    return altered(classification_exam.folder, tmp_path / "run", spoil)


@pytest.fixture
def detector(detection_exam: Result, tmp_path: Path) -> Path:
    """A detector of one epoch, with scores high enough to show boxes."""

    def raise_scores(model: dict[str, torch.Tensor]) -> None:
        model["class_heads.0.pointwise.bias"] += 2.5

    assert detection_exam.folder
    return altered(detection_exam.folder, tmp_path / "run", raise_scores)


def ece_of(run: Path, digits: Digits, tmp_path: Path, plain: LoadedSettings, pipeline: bool) -> float:
    """Calibration error of what `predict` writes, scored as anybody's labels with their probability."""
    told = predict(run, [digits.classification / "val"], pipeline=pipeline)
    right = np.array([Path(i).parent.name == c for i, c in told.select("image", "class_name").iter_rows()], float)
    confidence = told["score"].to_numpy()
    bins = np.ceil(confidence * 15).astype(int)
    return float(sum(abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in np.unique(bins)) / len(right))


def test_a_boasting_classifier_is_mended(run: Path, digits: Digits, plain: LoadedSettings, tmp_path: Path) -> None:
    raw = ece_of(run, digits, tmp_path, plain, pipeline=False)
    fixed = fit_pipeline(run, digits.classification)
    assert fixed.pipeline, fixed.reason
    assert fixed.path.is_file()
    gain = {g.metric: g for g in fixed.gains}["ECE"]
    assert gain.before == pytest.approx(raw, abs=0.02)
    assert gain.after < gain.before
    assert ece_of(run, digits, tmp_path, plain, pipeline=True) < raw
    assert ece_of(run, digits, tmp_path, plain, pipeline=False) == raw
    assert "before" in str(fixed)


def test_thresholds_of_the_pipeline_decide_what_is_shown(detector: Path, digits: Digits) -> None:
    images = [digits.detection]
    raw = predict(detector, images, threshold=0.02)
    model_names = load_names(detector)
    assert len(raw.filter(pl.col("score") >= 0.1)) > 50
    first = raw.filter(pl.col("score") >= 0.1)["class_name"].mode()[0]
    steps = Pipeline(
        task="detection", class_names=tuple(model_names), split="val", images=32, threshold=0.1,
        thresholds={first: 1.0},
    )  # fmt: skip
    assert write_pipeline(detector / "pipeline.json", steps) is None
    shown = predict(detector, images)
    assert first not in set(shown["class_name"])
    expected = raw.filter((pl.col("score") >= 0.1) & (pl.col("class_name") != first))
    assert len(shown) == len(expected)
    assert predict(detector, images, threshold=0.02).equals(raw)
    assert len(predict(detector, images, pipeline=False)) == len(raw.filter(pl.col("score") >= 0.25))


def load_names(run: Path) -> list[str]:
    from snellen.training.run_folder import RunFolder, read_model

    return list(read_model(RunFolder(run))[1])


def test_a_looser_suppression_leaves_boxes_that_overlap_more(detector: Path, digits: Digits) -> None:
    image = next(digits.detection.rglob("*.png"))

    def closest() -> float:
        told = predict(detector, [image], threshold=0.02)
        overlaps = [0.0]
        for own in told.partition_by("class_name"):
            boxes = torch.tensor(own.select("x1", "y1", "x2", "y2").rows())
            overlaps.append(float(box_iou(boxes, boxes).fill_diagonal_(0).max()))
        return max(overlaps)

    strict = closest()
    names = tuple(load_names(detector))
    steps = Pipeline(task="detection", class_names=names, split="val", images=9, nms_iou=0.8)
    write_pipeline(detector / "pipeline.json", steps)
    assert strict <= 0.55
    assert 0.55 < closest() <= 0.85


def test_the_command_line_fixes_and_says_what_it_applies(
    detector: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(
        app, ["evaluate", str(detector), "--data", str(digits.detection), "--fix", "--fail-on", "never"]
    )
    assert told.exit_code == 0, told.output
    assert "pipeline" in told.output
    names = tuple(load_names(detector))
    write_pipeline(
        detector / "pipeline.json", Pipeline(task="detection", class_names=names, split="val", images=9, threshold=0.5)
    )
    image = next((digits.detection).rglob("*.png"))
    told = CliRunner().invoke(app, ["predict", str(detector), str(image)])
    assert told.exit_code == 0, told.output
    assert "pipeline.json is applied: threshold 0.50" in told.stderr
    told = CliRunner().invoke(app, ["predict", str(detector), str(image), "--no-pipeline"])
    assert "pipeline" not in told.stderr


def test_a_pipeline_that_is_there_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    first = Pipeline(task="detection", class_names=("a",), split="val", images=9, threshold=0.1)
    second = first.model_copy(update={"threshold": 0.2})
    assert write_pipeline(path, first) is None
    assert write_pipeline(path, first) is None
    assert write_pipeline(path, second) == tmp_path / "pipeline.1.json"
    path.write_text("mine")
    assert write_pipeline(path, first) == tmp_path / "pipeline.2.json"
    assert load_pipeline(path) == first
    assert load_pipeline(tmp_path / "pipeline.1.json") == first
    assert (tmp_path / "pipeline.2.json").read_text() == "mine"


def test_a_kill_leaves_the_old_pipeline_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipeline.json"
    first = Pipeline(task="detection", class_names=("a",), split="val", images=9, threshold=0.1)
    write_pipeline(path, first)

    def killed(*_: object, **__: object) -> None:
        path.with_name("pipeline.json.tmp").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write_pipeline(path, first.model_copy(update={"threshold": 0.2}))
    assert load_pipeline(path) == first


def test_another_runs_pipeline_and_a_hostile_one_are_refused_in_one_line(detector: Path, digits: Digits) -> None:
    image = next((digits.detection).rglob("*.png"))
    path = detector / "pipeline.json"
    path.write_text(Pipeline(task="detection", class_names=("a",), split="val", images=9).model_dump_json())
    with pytest.raises(UseError, match="are not this run's"):
        predict(detector, [image])
    path.write_text('{"__class__": "os.system"}')
    with pytest.raises(UseError, match="no pipeline of this program") as error:
        predict(detector, [image])
    assert "\n" not in str(error.value)
    assert len(predict(detector, [image], pipeline=False)) >= 0


def test_nothing_is_fitted_on_what_was_learned(detector: Path, digits: Digits, plain: LoadedSettings) -> None:
    with pytest.raises(UseError, match="the run learned from"):
        fit_pipeline(detector, digits.detection, split="train")
    with pytest.raises(UseError, match="no run folder"):
        fit_pipeline(digits.detection, digits.detection)
    with pytest.raises(UseError, match="is a classification dataset"):
        fit_pipeline(detector, digits.classification)
    assert not (detector / "pipeline.json").exists()
    with pytest.raises(UseError, match="scored by its boxes"):
        evaluate(detector, digits.detection, convention="voc2007", settings=plain)
