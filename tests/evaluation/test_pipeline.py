"""The prediction pipeline: what is fitted wins on unseen images, and no file, however bad, does harm."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.errors import UseError
from snellen.evaluation.calibration import expected_calibration_error
from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.pipeline import Pipeline, load_pipeline
from snellen.evaluation.pipeline_fit import fit_classification, fit_detections
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.scaling import IsotonicScaling, TemperatureScaling
from snellen.evaluation.suppression import by_image_and_class, suppress
from tests.rules.evaluation_injections import CLASSES, detector, digits, good_detector, in_pairs, objects


def inflated(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """A detector whose scores promise far more than they keep."""
    rng = np.random.default_rng(seed)
    truth, images = objects(rng, 200, 4, 3)
    guesses = detector(
        truth, images, rng, jitter=0.08, missed=0.15, noise=6, classes=3, certainty=(3.0, 2.5)
    )  # fmt: skip
    return truth, guesses.with_columns(pl.col("score") ** 0.3), images


def fit(truth: pl.DataFrame, guesses: dict[float, pl.DataFrame], images: list[str], own: float = 0.5, names=CLASSES):
    return fit_detections(
        truth, guesses, names, images=images, own_iou=own, split="val", default_threshold=0.25
    )  # fmt: skip


def gains(fitted) -> dict[str, tuple[float, float]]:
    return {g.metric: (g.before, g.after) for g in fitted.gains}


def test_inflated_scores_are_mended_on_images_never_seen() -> None:
    truth, guesses, images = inflated(3)
    fitted = fit(truth, {0.5: guesses}, images, names=CLASSES[:3])
    assert fitted.pipeline
    assert fitted.pipeline.scaling
    before, after = gains(fitted)["ECE"]
    assert after < before / 3
    new_truth, new, new_images = inflated(4)
    raw = evaluate_detection(new_truth, new, CLASSES[:3], images=new_images, bootstrap=0)
    mended = fitted.pipeline.detections(new, threshold=0.0, otherwise=0.25)
    again = evaluate_detection(new_truth, mended, CLASSES[:3], images=new_images, bootstrap=0)
    assert again.score("ece") < raw.score("ece") / 2  # type: ignore[operator]
    assert again.score("mAP") == pytest.approx(raw.score("mAP"), abs=1e-9)
    promised = gains(fitted)["ECE"][1]
    assert again.score("ece") == pytest.approx(promised, abs=0.05)


def test_classes_that_score_on_other_scales_get_their_own_thresholds() -> None:
    truth, guesses, images = good_detector()
    low = pl.col("class_name").is_in(["dog", "fish"])
    half = pl.when(low).then(pl.col("score") / 2).otherwise(0.5 + pl.col("score") / 2)
    fitted = fit(truth, {0.5: guesses.with_columns(half.alias("score"))}, images)
    assert fitted.pipeline
    own = fitted.pipeline.thresholds
    assert own.keys() == set(CLASSES)
    assert max(own["dog"], own["fish"]) < min(own["cat"], own["bird"])
    before, after = gains(fitted)["mean F1"]
    assert after > before + 0.05


def test_suppression_that_removes_neighbours_is_loosened() -> None:
    truth, beside, images = in_pairs((0.25, 0.6))
    truth = pl.concat([truth, beside])
    guesses = detector(truth, images, np.random.default_rng(1))
    sifted, _ = sift_boxes(guesses, images, CLASSES, scored=True)
    order, groups = by_image_and_class(sifted, len(CLASSES), len(images))
    tables = {iou: guesses[order[suppress(groups, iou)]] for iou in (0.3, 0.5, 0.7)}
    fitted = fit(truth, tables, images, own=0.3)
    assert fitted.pipeline
    assert fitted.pipeline.nms_iou == 0.7
    assert gains(fitted)["mAP"][1] > gains(fitted)["mAP"][0] + 0.05
    assert fit(truth, {0.7: tables[0.7], 0.3: tables[0.3]}, images, own=0.7).pipeline.nms_iou is None  # type: ignore[union-attr]


def test_what_is_printed_is_what_new_images_get() -> None:
    """Fitted ten times, the cross-validated F1 is on average that of a large set of new images."""
    said, got = [], []
    for seed in range(5):
        truth, guesses, images = inflated(10 + seed)
        fitted = fit(truth, {0.5: guesses}, images, names=CLASSES[:3])
        assert fitted.pipeline
        said.append(gains(fitted)["mean F1"][1])
        new_truth, new, new_images = inflated(100 + seed)
        shown = fitted.pipeline.detections(new, threshold=None, otherwise=0.25)
        scores = evaluate_detection(new_truth, shown, CLASSES[:3], images=new_images, bootstrap=0)
        per_class = []
        for name in CLASSES[:3]:
            right = len(scores.predictions.filter(class_name=name, outcome="correct"))
            total = len(shown.filter(class_name=name)) + len(new_truth.filter(class_name=name))
            per_class.append(2 * right / total)
        got.append(np.mean(per_class))
    assert np.mean(said) == pytest.approx(np.mean(got), abs=0.02)


def test_a_classifier_is_mended_and_a_sound_one_is_left_alone() -> None:
    labels, p, _ = digits(noise=2.0)
    y = np.array([int(label) for label in labels])
    names = [str(k) for k in range(10)]
    sharp = p**6 / (p**6).sum(1, keepdims=True)
    fitted = fit_classification(sharp, y, names, split="val")
    assert fitted.pipeline
    before, after = gains(fitted)["ECE"]
    assert after < before / 3
    mended = fitted.pipeline.probabilities(sharp)
    right = (mended.argmax(1) == y).astype(float)
    assert expected_calibration_error(mended.max(1), right) < 0.1
    sound = fitted.pipeline.probabilities(sharp)
    again = fit_classification(sound, y, names, split="val")
    assert again.pipeline is None
    assert "wins" in again.reason


def test_too_little_to_fit_on_says_so() -> None:
    truth, guesses, images = good_detector(16, 6, 2)
    fitted = fit(truth, {0.5: guesses}, images, names=CLASSES[:2])
    assert fitted.pipeline is None
    assert "too few" in fitted.reason
    assert fit_classification(np.full((5, 2), 0.5), np.zeros(5, int), ["a", "b"], split="val").pipeline is None


def test_nothing_right_and_nothing_there_is_survived() -> None:
    truth, guesses, images = good_detector()
    elsewhere = guesses.with_columns(pl.col("x1", "x2") + 5000)
    assert fit(truth, {0.5: elsewhere}, images).pipeline is None or gains(fit(truth, {0.5: elsewhere}, images))
    assert fit(truth, {0.5: guesses.head(0)}, images).pipeline is None
    assert fit(truth.head(0), {0.5: guesses}, images).pipeline is None


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    temperature=st.floats(0.01, 100),
    threshold=st.none() | st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_calibrated_scores_keep_their_order_and_their_range(
    scores: list[float], temperature: float, threshold: float | None
) -> None:
    steps = Pipeline(
        task="detection", class_names=("a",), split="val", images=1, threshold=0.5,
        scaling=TemperatureScaling(temperature=temperature, images=1),
    )  # fmt: skip
    got = steps.calibrated(np.array(scores))
    assert ((got >= 0) & (got <= 1)).all()
    assert (np.diff(got[np.argsort(scores, kind="stable")]) >= 0).all()
    table = pl.DataFrame({"class_name": ["a"] * len(scores), "score": scores})
    shown = steps.detections(table, threshold, 0.25)
    assert len(shown) == (got >= (0.5 if threshold is None else threshold)).sum()


def test_a_plateau_keeps_the_order_of_the_boxes() -> None:
    flat = IsotonicScaling.fit(np.linspace(0, 1, 100), np.tile([0, 1], 50))
    steps = Pipeline(task="detection", class_names=("a",), split="val", images=1, scaling=flat)
    assert (np.diff(steps.calibrated(np.linspace(0, 1, 50))) > 0).all()


GOOD = {
    "version": 1, "task": "detection", "class_names": ["cat", "dog"], "split": "val", "images": 20,
    "thresholds": {"cat": 0.4}, "threshold": 0.3, "nms_iou": 0.6,
    "scaling": {"kind": "temperature", "temperature": 2.0, "images": 300},
}  # fmt: skip


def test_a_pipeline_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(GOOD))
    steps = load_pipeline(path)
    path.write_text(steps.model_dump_json())
    assert load_pipeline(path) == steps
    assert str(steps) == (
        "suppression at IoU 0.6, temperature calibration, thresholds of 1 classes (0.40 to 0.40), threshold 0.30 for "
        "the others"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nms_iou": float("nan")}, "nms_iou"),
        ({"nms_iou": 0}, "nms_iou"),
        ({"nms_iou": 1e308}, "nms_iou"),
        ({"threshold": -1}, "threshold"),
        ({"thresholds": {"cow": 0.1}}, "thresholds of no class: 'cow'"),
        ({"thresholds": {"cat": "x\ny"}}, "thresholds.cat"),
        ({"class_names": []}, "class_names"),
        ({"class_names": ["cat", "cat"]}, "twice"),
        ({"scaling": {"kind": "pickle"}}, "scaling"),
        ({"scaling": {"kind": "temperature", "temperature": 0, "images": 1}}, "temperature"),
        (
            {"scaling": {"kind": "isotonic", "images": 1, "maps": [{"scores": [0.5], "shares": [1]}] * 2}},
            "2 maps, expected 1",
        ),
        ({"task": "classification"}, "neither suppression nor thresholds"),
        ({"version": 2}, "version"),
        ({"run_me": "__import__('os')"}, "run_me"),
    ],
)
def test_a_hostile_pipeline_is_refused_in_one_line(change: dict, says: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UseError) as error:
        load_pipeline(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"[1]"])
def test_what_is_no_document_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_bytes(content)
    with pytest.raises(UseError) as error:
        load_pipeline(path)
    assert "\n" not in str(error.value)


def test_pipes_folders_and_giants_are_not_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("pipe", "folder", "giant", "absent"):
        with pytest.raises(UseError):
            load_pipeline(tmp_path / name)
