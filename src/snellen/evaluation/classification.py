"""Scores a classifier's probabilities, in scikit-learn's definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.bootstrap import image_draws, interval
from snellen.evaluation.calibration import brier_score, expected_calibration_error
from snellen.evaluation.coco_core import RECALL_THRESHOLDS
from snellen.evaluation.facts import CONFUSION, CURVES, PER_CLASS, PREDICTIONS, PROBLEMS, SCORES, ScoreFacts
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table

Floats = NDArray[np.float64]
CONVENTION = (
    "accuracy of the most probable class; macro means over the classes that have images (ROC AUC: one class against "
    "the rest); ECE with 15 equal bins of the top probability; Brier summed over classes; log loss in nats"
)
_TINY = float(np.finfo(np.float64).eps)
_SUM_TOLERANCE = 1e-3
"""float16 softmax over 1,000 classes sums to 1 within this."""


def evaluate_classification(
    images: Sequence[str],
    true_classes: Sequence[str],
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    split: str = "val",
    input_size: int | None = None,
    train_scores: Mapping[str, float] | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScoreFacts:
    """Score `probabilities` (N, C), rows summing to 1 over `class_names`, against `true_classes` (N names).

    Rows that cannot be scored are left out and listed in `problems`: unknown-class (the label is not among the
    classes), nan-score, infinite-score, score-out-of-range (a value outside 0..1: logits?), not-a-distribution (the
    row does not sum to 1 within 0.001). `bootstrap` draws give the 95 % interval of accuracy. Raises ValueError when
    the lengths do not fit.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape != (len(images), len(class_names)) or len(true_classes) != len(images):
        raise ValueError(
            f"probabilities of shape {p.shape} do not fit {len(images)} images, {len(true_classes)} labels and "
            f"{len(class_names)} classes: expected ({len(images)}, {len(class_names)})"
        )
    if len(set(class_names)) != len(class_names):
        raise ValueError("class_names holds a name twice: columns could not be told apart")
    position = {name: k for k, name in enumerate(class_names)}
    y = np.array([position.get(name, -1) for name in true_classes], dtype=np.int64)
    problems, good = _problems(images, true_classes, y, p)
    p, y = p[good], y[good]
    names = [images[i] for i in np.flatnonzero(good).tolist()]
    p = np.clip(p, 0.0, 1.0)
    guess = p.argmax(axis=1) if len(p) else np.zeros(0, dtype=np.int64)
    confusion = np.zeros((len(class_names), len(class_names)), dtype=np.int64)
    np.add.at(confusion, (y, guess), 1)
    loss = -np.log(np.clip(p[np.arange(len(p)), y], _TINY, 1.0))
    per_class, aucs = _per_class(p, y, confusion, class_names)
    right = (guess == y).astype(np.float64)
    values = _scores(p, y, guess, right, loss, confusion, per_class, aucs)
    drawn = [float(w @ right) / len(right) for w in image_draws(len(right), bootstrap, seed)] if len(right) > 1 else []
    intervals = {"accuracy": interval(drawn)}
    predictions = [
        {
            "image": image,
            "class_name": class_names[g],
            "score": float(row[g]),
            "true_class": class_names[t],
            "outcome": "correct" if g == t else "classification",
            "loss": float(cost),
        }
        for image, g, t, row, cost in zip(names, guess, y, p, loss, strict=True)
    ]
    scores: list[dict[str, Any]] = [
        {"metric": metric, "value": value, "low": low, "high": high}
        for metric, value in values.items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    return ScoreFacts(
        task="classification",
        split=split,
        predictions=table(PREDICTIONS, predictions),
        objects=ScoreFacts.empty_tables()["objects"],
        per_class=table(PER_CLASS, per_class),
        curves=table(CURVES, [row for k, name in enumerate(class_names) for row in _curve(name, p[:, k], y == k)]),
        confusion=table(
            CONFUSION,
            [
                {"true_class": class_names[i], "predicted_class": class_names[j], "count": int(confusion[i, j])}
                for i, j in np.argwhere(confusion).tolist()
            ],
        ),
        scores=table(SCORES, scores),
        problems=table(PROBLEMS, problems),
        convention=CONVENTION,
        images=len(images),
        input_size=input_size,
        train_scores=dict(train_scores or {}),
    )


def _problems(
    images: Sequence[str], true_classes: Sequence[str], y: NDArray[np.int64], p: Floats
) -> tuple[list[dict[str, Any]], NDArray[np.bool_]]:
    """One row for each image left out, and which images stay."""
    with np.errstate(invalid="ignore"):
        totals = p.sum(axis=1)
        out = ((p < -_SUM_TOLERANCE) | (p > 1 + _SUM_TOLERANCE)).any(axis=1)
        checks = [
            ("unknown-class", y < 0),
            ("nan-score", np.isnan(p).any(axis=1)),
            ("infinite-score", np.isinf(p).any(axis=1)),
            ("score-out-of-range", out),
            ("not-a-distribution", ~(np.abs(totals - 1) <= _SUM_TOLERANCE)),
        ]
    problems: list[dict[str, Any]] = []
    good = np.ones(len(p), dtype=bool)
    for kind, bad in checks:
        for i in np.flatnonzero(bad & good).tolist():
            value = (
                str(true_classes[i])
                if kind == "unknown-class"
                else f"sum {totals[i]:g}, {p[i].min():g} to {p[i].max():g}"
            )
            problems.append({"kind": kind, "row": int(i) + 1, "image": images[i], "value": value[:MAX_VALUE]})
        good &= ~bad
    return sorted(problems, key=lambda row: row["row"]), good


def average_precision(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Sum of precision times the step in recall, equal scores entering together; None without positives."""
    if not positive.any():
        return None
    tp, taken = _staircase(scores, positive)
    return float(np.sum(np.diff(tp, prepend=0) / tp[-1] * tp / taken))


def roc_auc(scores: Floats, positive: NDArray[np.bool_]) -> float | None:
    """Share of (positive, negative) pairs ordered rightly, ties counting half; None when either side is empty."""
    tp, taken = _staircase(scores, positive)
    if not len(tp) or tp[-1] == 0 or tp[-1] == taken[-1]:
        return None
    tpr = np.append(0.0, tp / tp[-1])
    fpr = np.append(0.0, (taken - tp) / (taken[-1] - tp[-1]))
    return float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))


def _staircase(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Positives and all records at or above each distinct score, falling."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1) if len(order) else order
    return np.cumsum(positive[order])[last].astype(np.float64), (last + 1).astype(np.float64)


def _per_class(
    p: Floats, y: NDArray[np.int64], confusion: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[float | None]]:
    rows: list[dict[str, Any]] = []
    aucs: list[float | None] = []
    for k, name in enumerate(class_names):
        objects, guesses, hits = int(confusion[k].sum()), int(confusion[:, k].sum()), int(confusion[k, k])
        aucs.append(roc_auc(p[:, k], y == k))
        rows.append(
            {
                "class_name": name,
                "objects": objects,
                "predictions": guesses,
                "ap": average_precision(p[:, k], y == k),
                "precision": hits / guesses if guesses else 0.0,
                "recall": hits / objects if objects else None,
                "f1": 2 * hits / (guesses + objects) if objects else None,
            }
        )
    return rows, aucs


def _scores(
    p: Floats,
    y: NDArray[np.int64],
    guess: NDArray[np.int64],
    right: Floats,
    loss: Floats,
    confusion: NDArray[np.int64],
    per_class: Sequence[Mapping[str, Any]],
    aucs: Sequence[float | None],
) -> dict[str, float | None]:
    n, num_classes = p.shape
    if not n:
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"))
    present = [row for row in per_class if row["objects"]]
    true, guessed = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    agreed, expected = float(right.mean()), float(true @ guessed) / n**2
    spread = float(np.sqrt((n**2 - guessed @ guessed) * (n**2 - true @ true)))

    def mean(values: Sequence[float | None]) -> float | None:
        defined = [v for v in values if v is not None]
        return float(np.mean(defined)) if defined else None

    scores = {
        "accuracy": agreed,
        "balanced_accuracy": mean([row["recall"] for row in present]),
        "macro_precision": mean([row["precision"] for row in present]),
        "macro_recall": mean([row["recall"] for row in present]),
        "macro_f1": mean([row["f1"] for row in present]),
        "mcc": (agreed * n * n - float(true @ guessed)) / spread if spread else 0.0,
        "kappa": (agreed - expected) / (1 - expected) if expected < 1 else None,
        "roc_auc": mean(aucs),
        "mean_ap": mean([row["ap"] for row in present]),
        "ece": expected_calibration_error(p.max(axis=1), right),
        "brier": brier_score(p, y),
        "log_loss": float(loss.mean()),
    }
    if num_classes > 5:
        own = p[np.arange(n), y][:, None]
        # The label is among the five when fewer than five classes are above it, ties going to the lower index.
        above = (p > own).sum(axis=1) + ((p == own) & (np.arange(num_classes) < y[:, None])).sum(axis=1)
        scores["top5_accuracy"] = float((above < 5).mean())
    return scores


def _curve(name: str, scores: Floats, positive: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Precision at up to 101 recalls, each taken at the highest score that reaches it."""
    if not positive.any():
        return []
    tp, taken = _staircase(scores, positive)
    thresholds = np.unique(scores)[::-1]
    at = np.unique(np.searchsorted(tp / tp[-1], RECALL_THRESHOLDS[1:], side="left"))
    return [
        {
            "class_name": name,
            "recall": float(tp[i] / tp[-1]),
            "precision": float(tp[i] / taken[i]),
            "score": float(thresholds[i]),
        }
        for i in at
    ]
