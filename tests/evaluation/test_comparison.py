import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import snellen
from snellen.errors import UseError
from snellen.evaluation.comparison import compare_scores
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.replicates import sample_of
from snellen.report.comparison import comparison_json, comparison_text
from tests.rules.evaluation_injections import classified, detector, digits, good_detector, objects, scored


def two_detectors(seed: int, images: int = 60, worse: float = 0.0) -> tuple[ScoreFacts, ScoreFacts]:
    """Two detectors of the same quality, but that the second misses `worse` more of the objects."""
    rng = np.random.default_rng(seed)
    truth, names = objects(rng, images, 4, 3)
    return tuple(
        scored(truth, detector(truth, names, rng, missed=missed, jitter=0.1, classes=3), names, 3, bootstrap=0)[0]
        for missed in (0.2, 0.2 + worse)
    )


def test_values_are_those_of_the_evaluations() -> None:
    for facts in (*two_detectors(0), scored(*good_detector())[0]):
        values = sample_of(facts, facts.evaluated["image"].to_list(), "a").values()
        for metric, value in values.metrics.items():
            assert value == pytest.approx(facts.score(metric), abs=1e-12), metric
        by_class = dict(facts.per_class.select("class_name", "ap").iter_rows())
        assert values.classes.tolist() == pytest.approx([by_class[name] for name in sorted(by_class)], abs=1e-12)
    labels, p, _ = digits()
    facts = classified(labels, p)[0]
    values = sample_of(facts, facts.predictions["image"].to_list(), "a").values()
    for metric, value in values.metrics.items():
        assert value == pytest.approx(facts.score(metric), abs=1e-12), metric


def test_equal_detectors_are_not_told_apart() -> None:
    told = 0
    for seed in range(30):
        first, second = two_detectors(seed)
        found = compare_scores([("a", first), ("b", second)], replicates=200, seed=seed)
        told += bool(found.metrics["real"].any()) or bool(found.classes["real"].any())
    assert told <= 4  # two families at 5 % each


def test_a_worse_detector_is_told_apart_and_by_how_much() -> None:
    first, second = two_detectors(0, images=150, worse=0.25)
    found = compare_scores([("a", first), ("b", second)], replicates=400)
    row = found.metrics.filter(name="mAP50").row(0, named=True)
    assert row["real"]
    assert not row["better"]
    assert row["low"] < row["difference"] < row["high"] < 0
    assert row["difference"] == pytest.approx(second.score("mAP50") - first.score("mAP50"))
    agreement = found.agreement.row(0, named=True)
    assert agreement["only_first"] > agreement["only_other"]
    assert agreement["both"] + agreement["only_first"] + agreement["only_other"] + agreement["neither"] == len(
        first.objects
    )
    assert "mAP50 -0." in str(found)


def test_the_same_run_twice_differs_in_nothing() -> None:
    facts, _ = two_detectors(1)
    found = compare_scores([("a", facts), ("b", facts)], replicates=100)
    assert not found.metrics["real"].any()
    assert found.metrics["p"].to_list() == [1.0] * len(found.metrics)
    assert "cannot be told apart" in comparison_text(found)


def test_classifiers_by_mcnemar() -> None:
    labels, p, _ = digits()
    _, noisy, _ = digits(noise=2.0)
    found = compare_scores([("a", classified(labels, p)[0]), ("b", classified(labels, noisy)[0])], replicates=200)
    accuracy, loss = (found.metrics.filter(name=name).row(0, named=True) for name in ("accuracy", "log_loss"))
    assert accuracy["p"] == found.agreement["p"][0] < 1e-6
    assert (accuracy["better"], loss["better"]) == (False, False)
    assert accuracy["difference"] < 0 < loss["difference"]
    assert found.classes["real"].sum() >= 3


def test_other_images_labels_classes_or_tasks_are_refused_in_one_line() -> None:
    truth, guesses, images = good_detector()
    whole = scored(truth, guesses, images, bootstrap=0)[0]
    half = scored(truth, guesses, images[:75], bootstrap=0)[0]
    most = scored(truth, guesses, images[:140], bootstrap=0)[0]
    moved = scored(truth.with_columns(pl.col("x2") + 1), guesses, images, bootstrap=0)[0]
    fewer = scored(truth, guesses, images, 3, bootstrap=0)[0]
    labels, p, _ = digits()
    for other, message in (
        (half, "75 are common"), (moved, "other labels"), (fewer, "fish"), (classified(labels, p)[0], "classification"),
    ):  # fmt: skip
        with pytest.raises(UseError, match=message) as refused:
            compare_scores([("a", whole), ("b", other)], replicates=100)
        assert "\n" not in str(refused.value)
    with pytest.raises(UseError, match="two runs"):
        compare_scores([("a", whole)])
    found = compare_scores([("a", whole), ("b", most)], replicates=100)
    assert found.notes == ["compared on the 140 images in common, of 150"]
    assert found.metrics["difference"].abs().max() < 0.02


def test_results_and_json(tmp_path: Path) -> None:
    first, second = two_detectors(2)
    a, b = (snellen.judge(facts, subject=name) for name, facts in (("a", first), ("b", second)))
    found = snellen.compare(a, b, replicates=100)
    assert found.runs["run"].to_list() == ["a", "b"]
    document = json.loads(comparison_json(found))
    assert [row["name"] for row in document["metrics"]] == ["mAP", "mAP50", "mAP75", "precision", "recall", "f1"]
    with pytest.raises(UseError, match="no scores"):
        snellen.compare(snellen.judge(subject="empty"), a)
    with pytest.raises(UseError, match="no finished exam"):
        snellen.compare(tmp_path, a)
