"""Scores a classifier's probabilities, in scikit-learn's definitions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.binary_curves import BinarySummary, binary_summary, curve_rows, tied_order, weighted_areas
from snellen.evaluation.bootstrap import image_draws, interval
from snellen.evaluation.brier import brier_parts
from snellen.evaluation.calibration import (
    adaptive_calibration_error,
    brier_per_image,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_rows,
)
from snellen.evaluation.class_rates import (
    ClassCounts,
    average_defined,
    count_classes,
    f_beta,
    g_mean,
    headline_rates,
    precision,
    recall,
)
from snellen.evaluation.facts import (
    ALL_CLASSES,
    CONFUSION,
    CURVES,
    PER_CLASS,
    PREDICTIONS,
    PROBLEMS,
    RELIABILITY,
    SCORES,
    ScoreFacts,
)
from snellen.evaluation.records import MAX_VALUE
from snellen.evaluation.suspects import classification_suspects
from snellen.facts import table

Floats = NDArray[np.float64]
CONVENTION = (
    "accuracy of the most probable class; means over the classes that have images, a class never predicted having "
    "precision 0 there (zero_division=0); ROC AUC and AP: one class against the rest; ECE with 15 equal bins of the "
    "top probability; Brier summed over classes; log loss in nats"
)
TOP = (3, 5)
"""k of the top-k accuracies."""
MOST_REWEIGHED = 1_000_000_000
"""Images x classes x draws up to which AUC and AP get an interval: some seconds."""
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
    learned: Collection[str] | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScoreFacts:
    """Score `probabilities` (N, C), rows summing to 1 over `class_names`, against `true_classes` (N names).

    Rows that cannot be scored are left out and listed in `problems`: unknown-class (the label is not among the
    classes), nan-score, infinite-score, score-out-of-range (a value outside 0..1: logits?), not-a-distribution (the
    row does not sum to 1 within 0.001). `bootstrap` draws give the 95 % interval of accuracy. `learned` names images
    that the model was trained on, None: not known. Raises ValueError when the lengths do not fit.
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
    confusion = np.bincount(y * len(class_names) + guess, minlength=len(class_names) ** 2).reshape(-1, len(class_names))
    counts = count_classes(y, guess, len(class_names), np.ones(len(p)))
    loss = -np.log(np.clip(p[np.arange(len(p)), y], _TINY, 1.0))
    right = (guess == y).astype(np.float64)
    top = _top(p, y)
    per_class, ranks = _per_class(p, y, counts, class_names)
    values = _scores(p, y, right, loss, counts, ranks, top)
    means = {**top, "log_loss": loss, "brier": brier_per_image(p, y)}
    intervals = _intervals(p, y, guess, means, bootstrap, seed)
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
        {"metric": metric, "value": value, "low": low, "high": high, "undefined": _reason(metric, value, len(p))}
        for metric, value in values.items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    return ScoreFacts(
        task="classification",
        split=split,
        predictions=table(PREDICTIONS, predictions),
        objects=ScoreFacts.empty_tables()["objects"],
        per_class=table(PER_CLASS, per_class),
        curves=table(CURVES, [row for k, name in enumerate(class_names) for row in curve_rows(name, p[:, k], y == k)]),
        confusion=table(
            CONFUSION,
            [
                {"true_class": class_names[i], "predicted_class": class_names[j], "count": int(confusion[i, j])}
                for i, j in np.argwhere(confusion).tolist()
            ],
        ),
        scores=table(SCORES, scores),
        problems=table(PROBLEMS, problems),
        reliability=table(RELIABILITY, reliability_rows(ALL_CLASSES, p.max(axis=1), right) if len(p) else []),
        suspects=classification_suspects(names, y, p, class_names, learned),
        learned_images=None if learned is None else len(set(learned) & set(names)),
        convention=CONVENTION,
        images=len(images),
        input_size=input_size,
        train_scores=dict(train_scores or {}),
    )


def _reason(metric: str, value: float | None, scored: int) -> str | None:
    if value is not None:
        return None
    if not scored:
        return "no image could be scored"
    if metric in ("mcc", "kappa"):
        return "one class alone is labelled, or one alone predicted: 0 / 0"
    return "no class has both images of it and images of others"


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


def _per_class(
    p: Floats, y: NDArray[np.int64], counts: ClassCounts, class_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[BinarySummary]]:
    ranks = [binary_summary(p[:, k], y == k) for k in range(len(class_names))]
    rates = {"precision": precision(counts), "recall": recall(counts), "f1": f_beta(counts),
             "f05": f_beta(counts, 0.5), "f2": f_beta(counts, 2.0), "g_mean": g_mean(counts)}  # fmt: skip
    rows: list[dict[str, Any]] = []
    for k, (name, rank) in enumerate(zip(class_names, ranks, strict=True)):
        reasons = [
            *(["no image of this class: recall, F, G-mean, AP and AUC are 0 / 0"] if not rank.positives else []),
            *(["every image is of this class: AUC and G-mean are 0 / 0"] if not rank.negatives else []),
            *(["never predicted: precision is 0 / 0, and counts as 0 in means"] if not counts.predicted[k] else []),
        ]
        rows.append(
            {
                "class_name": name,
                "objects": int(counts.true[k]),
                "predictions": int(counts.predicted[k]),
                "ap": rank.average_precision,
                "roc_auc": rank.roc_auc,
                **{metric: _defined(values[k]) for metric, values in rates.items()},
                "undefined": "; ".join(reasons) or None,
            }
        )
    return rows, ranks


def _scores(
    p: Floats,
    y: NDArray[np.int64],
    right: Floats,
    loss: Floats,
    counts: ClassCounts,
    ranks: Sequence[BinarySummary],
    top: Mapping[str, Floats],
) -> dict[str, float | None]:
    if not len(p):
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"))
    aucs, aps = [rank.roc_auc for rank in ranks], [rank.average_precision for rank in ranks]
    share = [rank.positives for rank in ranks]
    confidence = p.max(axis=1)
    brier = brier_parts(p, y)
    return {
        **{metric: _defined(value) for metric, value in headline_rates(counts).items()},
        **{metric: float(values.mean()) for metric, values in top.items()},
        "roc_auc": average_defined(aucs),
        "weighted_roc_auc": average_defined(aucs, share),
        "mean_ap": average_defined(aps),
        "weighted_ap": average_defined(aps, share),
        "mean_best_f1": average_defined([rank.best_f1 for rank in ranks]),
        "ece": expected_calibration_error(confidence, right),
        "mce": maximum_calibration_error(confidence, right),
        "adaptive_ece": adaptive_calibration_error(confidence, right),
        "brier": brier.score,
        "brier_miscalibration": brier.miscalibration,
        "brier_discrimination": brier.discrimination,
        "brier_uncertainty": brier.uncertainty,
        "log_loss": float(loss.mean()),
    }  # fmt: skip


def _top(p: Floats, y: NDArray[np.int64]) -> dict[str, Floats]:
    """(N,) whether the label is among the k most probable, for each k below the number of classes."""
    own = p[np.arange(len(p)), y][:, None]
    # Equal probabilities rank by class index, as argmax does; scikit-learn's top-k ranks them the other way round.
    above = (p > own).sum(axis=1) + ((p == own) & (np.arange(p.shape[1]) < y[:, None])).sum(axis=1)
    return {f"top{k}_accuracy": (above < k).astype(np.float64) for k in TOP if k < p.shape[1]}


def _intervals(
    p: Floats,
    y: NDArray[np.int64],
    guess: NDArray[np.int64],
    means: Mapping[str, Floats],
    replicates: int,
    seed: int,
) -> dict[str, tuple[float | None, float | None]]:
    """95 % intervals of everything that is a mean over images, or follows from counts or orders that draws reweigh."""
    n, classes = p.shape
    if n < 2:
        return {}
    ordered = [tied_order(p[:, k]) for k in range(classes)] if n * classes * replicates <= MOST_REWEIGHED else []
    positive = [y == k for k in range(classes)]
    drawn: dict[str, list[float]] = {}
    for weights in image_draws(n, replicates, seed):
        values = {metric: float(v) for metric, v in headline_rates(count_classes(y, guess, classes, weights)).items()}
        values |= {metric: float(weights @ each) / n for metric, each in means.items()}
        areas = [weighted_areas(*order, own, weights) for order, own in zip(ordered, positive, strict=False)]
        for metric, found in (("roc_auc", [a for a, _ in areas]), ("mean_ap", [b for _, b in areas])):
            mean = average_defined(found)
            if mean is not None:
                values[metric] = mean
        for metric, value in values.items():
            if np.isfinite(value):
                drawn.setdefault(metric, []).append(value)
    return {metric: interval(values) for metric, values in drawn.items()}


def _defined(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
