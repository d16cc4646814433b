import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.multilabel import evaluate_multilabel


def evaluate(y: np.ndarray, s: np.ndarray, **options) -> ScoreFacts:
    return evaluate_multilabel(
        [f"{i}.png" for i in range(len(y))], y, s, [f"l{k}" for k in range(y.shape[1])], **options
    )


def expected(y: np.ndarray, s: np.ndarray, threshold: float = 0.5) -> dict[str, float | None]:
    """scikit-learn over the labels that some image has; None where it warns or gives NaN."""
    told, own = (s >= threshold).astype(int), np.flatnonzero(y.any(axis=0))
    both = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
    aps = [metrics.average_precision_score(y[:, k], s[:, k]) for k in own]
    out: dict[str, float | None] = {
        "subset_accuracy": metrics.accuracy_score(y, told),
        "hamming_loss": metrics.hamming_loss(y, told),
        "samples_f1": metrics.f1_score(y, told, average="samples", zero_division=0),
        "mean_ap": np.mean(aps) if len(own) else None,
        "weighted_ap": np.average(aps, weights=y.sum(0)[own]) if len(own) else None,
        "micro_ap": metrics.average_precision_score(y.ravel(), s.ravel()) if len(own) else None,
        "roc_auc": metrics.roc_auc_score(y[:, both], s[:, both]) if len(both) else None,
        "micro_roc_auc": metrics.roc_auc_score(y.ravel(), s.ravel()) if 0 < y.sum() < y.size else None,
    }
    for name, score in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        for average in ("macro", "weighted"):
            value = score(y, told, labels=own, average=average, zero_division=0) if len(own) else None
            out[f"{average}_{name}"] = value
        defined = told.any() if name == "precision" else y.any()
        out[f"micro_{name}"] = score(y.ravel(), told.ravel(), zero_division=0) if defined else None
    best = [max(metrics.f1_score(y[:, k], s[:, k] >= t) for t in np.unique(s[:, k])) for k in own]
    out["mean_best_f1"] = np.mean(best) if len(own) else None
    return out


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 12), st.integers(2, 5), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.95]))
def test_every_score_equals_scikit_learn(n: int, labels: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random((n, labels)) < share).astype(int)
    s = rng.integers(0, 6, (n, labels)) / 5
    facts = evaluate(y, s, bootstrap=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics._classification.UndefinedMetricWarning)
        want = expected(y, s)
    for metric, value in want.items():
        got = facts.score(metric)
        assert got == (None if value is None else pytest.approx(value, abs=1e-9)), metric
        assert (facts.scores.filter(metric=metric)["undefined"][0] is None) == (value is not None)
    for k, row in enumerate(facts.per_class.iter_rows(named=True)):
        assert (row["objects"], row["predictions"]) == (y[:, k].sum(), (s[:, k] >= 0.5).sum())
        if y[:, k].any():
            assert row["ap"] == pytest.approx(metrics.average_precision_score(y[:, k], s[:, k]))
            assert row["f1"] == pytest.approx(metrics.f1_score(y[:, k], s[:, k] >= 0.5))
        else:
            assert (row["ap"], row["recall"]) == (None, None)
            assert "no image has the label" in row["undefined"]


def test_each_label_is_told_the_threshold_it_wants() -> None:
    y = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    s = np.array([[0.3, 0.9], [0.2, 0.8], [0.1, 0.7], [0.05, 0.6]])
    rows = evaluate(y, s).per_class
    assert rows["best_threshold"].to_list() == [0.2, 0.9]
    assert rows["f1"].to_list() == pytest.approx([0.0, 0.4])
    assert rows["precision"][0] is None


def test_predictions_and_objects_name_what_was_told_and_missed() -> None:
    y, s = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0.9, 0.6, 0.1], [0.2, 0.1, 0.3]])
    facts = evaluate(y, s)
    told = facts.predictions.select("image", "class_name", "score", "outcome").rows()
    assert told == [("0.png", "l0", 0.9, "correct"), ("0.png", "l1", 0.6, "background")]
    assert facts.objects.select("class_name", "found", "score").rows() == [("l0", True, 0.9), ("l2", False, 0.1)]


def test_bad_rows_are_listed_and_left_out() -> None:
    rng = np.random.default_rng(0)
    y, s = rng.integers(0, 2, (20, 4)).astype(float), rng.random((20, 4))
    clean = evaluate(y[4:], s[4:])
    s[0, 1], s[1, 2], s[2, 3], y[3, 0] = np.nan, -np.inf, 4.2, 2
    facts = evaluate(y, s)
    assert facts.problems["kind"].to_list() == ["nan-score", "infinite-score", "score-out-of-range", "not-a-label"]
    assert facts.problems["row"].to_list() == [1, 2, 3, 4]
    assert "4.2 (1 of 4 labels)" in facts.problems["value"].to_list()
    assert facts.score("mean_ap") == clean.score("mean_ap")


def test_nothing_to_score_is_undefined_and_saved_facts_return(tmp_path) -> None:
    facts = evaluate(np.zeros((2, 3)), np.full((2, 3), np.nan))
    assert facts.score("mean_ap") is None
    assert facts.scores["undefined"].unique().to_list() == ["no image could be scored"]
    facts.save(tmp_path)
    assert ScoreFacts.load(tmp_path).problems.equals(facts.problems)
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        evaluate_multilabel(["a", "b"], np.zeros((2, 3)), np.zeros((2, 2)), ["x", "y", "z"])


def test_intervals_and_curves_are_there() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random((200, 3)) < 0.3).astype(int)
    s = np.clip(0.4 * y + 0.6 * rng.random((200, 3)), 0, 1)
    facts = evaluate(y, s)
    for metric in ("mean_ap", "roc_auc", "macro_f1", "micro_f1", "subset_accuracy", "hamming_loss"):
        row = facts.scores.filter(metric=metric).row(0, named=True)
        assert row["low"] < row["value"] < row["high"], metric
    assert set(facts.curves["class_name"]) == {"l0", "l1", "l2", "(all)"}
    assert facts.reliability.select(pl.col("count").sum()).item() == 600
