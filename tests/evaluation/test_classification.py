import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from snellen.evaluation.classification import evaluate_classification


def case(seed: int, n: int = 300, classes: int = 7, present: int | None = None):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, present or classes, n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), y] += rng.normal(1.5, 1, n)
    p = np.exp(logits)
    p = np.round(p / p.sum(1, keepdims=True), 3)  # rounding makes ties
    return y, p / p.sum(1, keepdims=True)


def evaluate(y: np.ndarray, p: np.ndarray, **options):
    names = [f"c{k}" for k in range(p.shape[1])]
    return evaluate_classification([f"{i}.png" for i in range(len(y))], [names[k] for k in y], p, names, **options)


@pytest.mark.parametrize("seed", range(8))
def test_every_score_equals_scikit_learn(seed: int) -> None:
    y, p = case(seed)
    guess = p.argmax(1)
    facts = evaluate(y, p)
    expected = {
        "accuracy": metrics.accuracy_score(y, guess),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, guess),
        "macro_precision": metrics.precision_score(y, guess, average="macro", zero_division=0),
        "macro_recall": metrics.recall_score(y, guess, average="macro"),
        "macro_f1": metrics.f1_score(y, guess, average="macro"),
        "mcc": metrics.matthews_corrcoef(y, guess),
        "kappa": metrics.cohen_kappa_score(y, guess),
        "roc_auc": metrics.roc_auc_score(y, p, multi_class="ovr"),
        "mean_ap": np.mean([metrics.average_precision_score(y == k, p[:, k]) for k in range(7)]),
        "brier": np.mean(np.sum((p - np.eye(7)[y]) ** 2, axis=1)),
        "log_loss": metrics.log_loss(y, p),
        "top5_accuracy": np.mean([t in np.argsort(-row, kind="stable")[:5] for t, row in zip(y, p, strict=True)]),
    }
    for metric, value in expected.items():
        assert facts.score(metric) == pytest.approx(value, abs=1e-12), metric
    matrix = np.zeros((7, 7), dtype=int)
    for row in facts.confusion.iter_rows(named=True):
        matrix[int(row["true_class"][1:]), int(row["predicted_class"][1:])] = row["count"]
    assert (matrix == metrics.confusion_matrix(y, guess)).all()
    assert facts.scores.filter(metric="accuracy")["low"][0] < expected["accuracy"]
    assert facts.scores.filter(metric="accuracy")["high"][0] > expected["accuracy"]


def test_calibration_error_is_zero_when_confidence_is_right_and_large_when_not() -> None:
    y = np.repeat([0, 1], 500)
    sure = np.tile([0.9, 0.1], (1000, 1))
    sure[450:500], sure[500:950] = [0.1, 0.9], [0.1, 0.9]
    facts = evaluate(y, sure)
    assert facts.score("accuracy") == pytest.approx(0.9)
    assert facts.score("ece") == pytest.approx(0.0, abs=1e-12)
    boasting = np.where(sure > 0.5, 1.0, 0.0)
    assert evaluate(y, boasting).score("ece") == pytest.approx(0.1)


def test_a_class_without_images_is_undefined_and_not_counted() -> None:
    y, p = case(1, present=6)
    facts = evaluate(y, p)
    row = facts.per_class.row(6, named=True)
    assert (row["objects"], row["ap"], row["recall"]) == (0, None, None)
    assert facts.score("balanced_accuracy") == pytest.approx(
        metrics.recall_score(y, p.argmax(1), average="macro", labels=range(6))
    )


def test_bad_rows_are_listed_and_left_out() -> None:
    y, p = case(2, n=50)
    clean = evaluate(y[5:], p[5:])
    p[0, 0], p[1, 0], p[2] = np.nan, np.inf, np.arange(7) - 3.0
    p[3] = 0.05
    names = [f"c{k}" for k in range(7)]
    labels = [names[k] for k in y]
    labels[4] = "ghost"
    facts = evaluate_classification([f"{i}.png" for i in range(50)], labels, p, names)
    assert facts.problems["kind"].to_list() == [
        "nan-score",
        "infinite-score",
        "score-out-of-range",
        "not-a-distribution",
        "unknown-class",
    ]
    assert facts.problems["row"].to_list() == [1, 2, 3, 4, 5]
    assert len(facts.predictions) == 45
    assert facts.score("accuracy") == clean.score("accuracy")


def test_nothing_left_is_undefined_and_no_crash() -> None:
    facts = evaluate(np.array([0, 1]), np.full((2, 3), np.nan))
    assert facts.score("accuracy") is None
    assert len(facts.problems) == 2
    assert evaluate(np.zeros(0, dtype=int), np.zeros((0, 3))).score("accuracy") is None


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        evaluate_classification(["a", "b"], ["x", "y"], np.zeros((2, 4)), ["x", "y", "z"])


def test_f1_of_sure_precision_and_no_recall_is_near_zero() -> None:
    # The harmonic mean punishes what the arithmetic mean (0.5) would forgive.
    y = np.r_[np.zeros(1000, int), np.ones(1000, int)]
    p = np.tile([0.0, 1.0], (2000, 1))
    p[0] = [1.0, 0.0]
    row = evaluate(y, p).per_class.row(0, named=True)
    assert row["precision"] == 1.0
    assert row["recall"] == pytest.approx(0.001)
    assert row["f1"] < 0.002


def test_facts_survive_saving(tmp_path) -> None:
    facts = evaluate(*case(3), train_scores={"accuracy": 0.9})
    facts.save(tmp_path)
    again = type(facts).load(tmp_path)
    assert again.scores.equals(facts.scores)
    assert again.train_scores == {"accuracy": 0.9}


@settings(max_examples=120, deadline=None)
@given(st.integers(2, 6), st.integers(1, 25), st.integers(0, 2**32 - 1), st.sampled_from(["tied", "constant", "sharp"]))
@example(classes=5, n=5, seed=1, kind="constant")
def test_scores_equal_scikit_learn_on_small_and_odd_cases(classes: int, n: int, seed: int, kind: str) -> None:
    """Absent classes, single classes, constant scores and ties; what scikit-learn warns to be undefined is null."""
    rng = np.random.default_rng(seed)
    y = rng.choice(rng.integers(0, classes, max(1, classes - 1)), n)
    raw = {
        "tied": rng.integers(1, 4, (n, classes)).astype(float),
        "constant": np.ones((n, classes)),
        "sharp": np.eye(classes)[rng.integers(0, classes, n)],
    }[kind]
    p = raw / raw.sum(axis=1, keepdims=True)
    guess, present = p.argmax(axis=1), np.unique(y)
    facts = evaluate(y, p, bootstrap=20)
    common = {"labels": present, "zero_division": 0}
    one = [float(metrics.recall_score(y == k, guess == k)) for k in present]
    expected: dict[str, float | None] = {
        "accuracy": metrics.accuracy_score(y, guess),
        "balanced_accuracy": np.mean(one),
        "g_mean": np.prod(one) ** (1 / len(one)),
        "mean_ap": np.mean([metrics.average_precision_score(y == k, p[:, k]) for k in present]),
        "log_loss": metrics.log_loss(y, p, labels=range(classes)),
    }
    for average in ("macro", "weighted"):
        expected |= {
            f"{average}_precision": metrics.precision_score(y, guess, average=average, **common),
            f"{average}_recall": metrics.recall_score(y, guess, average=average, **common),
            f"{average}_f1": metrics.f1_score(y, guess, average=average, **common),
            f"{average}_f05": metrics.fbeta_score(y, guess, beta=0.5, average=average, **common),
            f"{average}_f2": metrics.fbeta_score(y, guess, beta=2, average=average, **common),
        }
    single = len(present) < 2 or len(np.unique(guess)) < 2
    expected["mcc"] = None if single else metrics.matthews_corrcoef(y, guess)
    same = len(present) == 1 and (y == guess).all()
    expected["kappa"] = None if same else metrics.cohen_kappa_score(y, guess, labels=range(classes))
    expected["roc_auc"] = (
        None if len(present) < 2 else np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in present])
    )
    for metric, value in expected.items():
        got = facts.score(metric)
        assert got == (None if value is None else pytest.approx(value, abs=1e-9)), metric
        reason = facts.scores.filter(metric=metric)["undefined"][0]
        assert (reason is None) == (value is not None), metric
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics._classification.UndefinedMetricWarning)
        columns = metrics.precision_recall_fscore_support(y, guess, labels=range(classes), zero_division=np.nan)
    for row, precision, recall, f1 in zip(facts.per_class.iter_rows(named=True), *columns[:3], strict=True):
        assert row["precision"] == (None if np.isnan(precision) else pytest.approx(precision, abs=1e-9))
        assert row["recall"] == (None if np.isnan(recall) else pytest.approx(recall, abs=1e-9))
        if row["objects"]:
            assert row["f1"] == pytest.approx(f1, abs=1e-9)
        assert row["undefined"] or None not in (row["precision"], row["recall"], row["roc_auc"])


@pytest.mark.parametrize("k", [3, 5])
def test_top_k_equals_scikit_learn_whose_ties_run_the_other_way(k: int) -> None:
    y, p = case(4)
    # scikit-learn gives equal probabilities to the highest index, argmax to the lowest: mirrored, they agree.
    expected = metrics.top_k_accuracy_score(6 - y, p[:, ::-1], k=k, labels=range(7))
    assert evaluate(y, p).score(f"top{k}_accuracy") == pytest.approx(expected, abs=1e-12)


def test_weighted_auc_and_g_mean_per_class_equal_scikit_learn() -> None:
    y, p = case(5)
    facts = evaluate(y, p)
    assert facts.score("weighted_roc_auc") == pytest.approx(
        metrics.roc_auc_score(y, p, multi_class="ovr", average="weighted"), abs=1e-9
    )
    for k, row in enumerate(facts.per_class.iter_rows(named=True)):
        (tn, fp), (fn, tp) = metrics.confusion_matrix(y == k, p.argmax(1) == k)
        assert row["g_mean"] == pytest.approx(np.sqrt(tp / (tp + fn) * tn / (tn + fp)))
        assert row["roc_auc"] == pytest.approx(metrics.roc_auc_score(y == k, p[:, k]), abs=1e-9)


def test_curves_hold_points_of_scikit_learns_curves() -> None:
    y, p = case(6)
    points = evaluate(y, p).curves.filter(pl.col("class_name") == "c2")
    fpr, tpr, thresholds = metrics.roc_curve(y == 2, p[:, 2], drop_intermediate=False)
    at = {t: (f, r) for t, f, r in zip(thresholds, fpr, tpr, strict=True)}
    for row in points.iter_rows(named=True):
        assert (row["fpr"], row["recall"]) == pytest.approx(at[row["score"]], abs=1e-12)
    precision, _, thresholds = metrics.precision_recall_curve(y == 2, p[:, 2])
    known = dict(zip(thresholds, precision[:-1], strict=True))
    assert all(r["precision"] == pytest.approx(known[r["score"]]) for r in points.iter_rows(named=True))


def test_brier_score_comes_apart_exactly_into_isotonic_parts() -> None:
    y, p = case(7)
    p = np.round(p, 4)  # scikit-learn takes values within 1e-15 of one another for equal
    facts = evaluate(y, p)
    recalibrated = 0.0
    for k in range(7):
        fitted = IsotonicRegression().fit_transform(p[:, k], (y == k).astype(float))
        recalibrated += float(np.mean((fitted - (y == k)) ** 2))
    brier, miss = facts.score("brier"), facts.score("brier_miscalibration")
    assert miss == pytest.approx(brier - recalibrated, abs=1e-9)
    assert brier == pytest.approx(miss - facts.score("brier_discrimination") + facts.score("brier_uncertainty"))
    assert miss >= 0
    assert facts.score("brier_discrimination") >= 0


def test_calibration_by_hand() -> None:
    """Four images at 0.6 of which one is right, six at 0.9 of which all are: gaps 0.35 and 0.1."""
    confidence = np.r_[np.full(4, 0.6), np.full(6, 0.9)]
    p = np.stack([confidence, 1 - confidence], axis=1)
    facts = evaluate(np.r_[0, 1, 1, 1, np.zeros(6, int)], p)
    assert facts.score("ece") == pytest.approx(0.4 * 0.35 + 0.6 * 0.1)
    assert facts.score("mce") == pytest.approx(0.35)
    assert facts.score("adaptive_ece") == pytest.approx(0.4 * 0.35 + 0.6 * 0.1)
    table = facts.reliability.filter(pl.col("count") > 0)
    assert table["count"].to_list() == [4, 6]
    assert table["confidence"].to_list() == pytest.approx([0.6, 0.9])
    assert table["accuracy"].to_list() == pytest.approx([0.25, 1.0])
    assert all(low < c <= high for low, high, c in table.select("low", "high", "confidence").iter_rows())


def test_intervals_hold_the_value_and_narrow_with_more_images() -> None:
    few, many = evaluate(*case(8, n=60)), evaluate(*case(8, n=2000))
    for metric in ("accuracy", "macro_f1", "mcc", "kappa", "roc_auc", "mean_ap", "brier", "log_loss", "top3_accuracy"):
        widths = []
        for facts in (few, many):
            row = facts.scores.filter(metric=metric).row(0, named=True)
            assert row["low"] <= row["value"] <= row["high"], metric
            widths.append(row["high"] - row["low"])
        assert widths[1] < widths[0], metric
