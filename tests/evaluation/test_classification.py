import numpy as np
import pytest
from sklearn import metrics

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
