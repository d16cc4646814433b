"""Scores a multi-label classifier, any number of labels true of an image, in scikit-learn's definitions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.binary_curves import BinarySummary, binary_summary, curve_rows, tied_order, weighted_areas
from snellen.evaluation.bootstrap import image_draws, interval
from snellen.evaluation.calibration import expected_calibration_error, reliability_rows
from snellen.evaluation.class_rates import average_defined
from snellen.evaluation.classification import MOST_REWEIGHED
from snellen.evaluation.facts import (
    ALL_CLASSES,
    CURVES,
    OBJECTS,
    PER_CLASS,
    PREDICTIONS,
    PROBLEMS,
    RELIABILITY,
    SCORES,
    ScoreFacts,
)
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CONVENTION = (
    "labels are told at a score of at least {threshold:g}; macro means over the labels that some image has, micro over "
    "all (image, label) pairs; a label never told has precision 0 in means (zero_division=0); subset accuracy: images "
    "with every label right; best F1 at each label's own threshold, chosen on these images; ECE over all pairs"
)


def evaluate_multilabel(
    images: Sequence[str],
    truth: ArrayLike,
    scores: ArrayLike,
    class_names: Sequence[str],
    *,
    threshold: float = 0.5,
    split: str = "val",
    input_size: int | None = None,
    train_scores: Mapping[str, float] | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScoreFacts:
    """Score `scores` (N, L), each in 0..1 by itself, against `truth` (N, L), 0 or 1.

    A label is told where its score is at least `threshold`. Images that cannot be scored are left out and listed in
    `problems`: nan-score, infinite-score, score-out-of-range (outside 0..1: logits?), not-a-label (truth other than 0
    and 1). `predictions` holds the labels told, `objects` the true ones. Raises ValueError when the lengths do not fit.
    """
    s, t = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    shape = (len(images), len(class_names))
    if s.shape != shape or t.shape != shape:
        raise ValueError(f"scores of shape {s.shape} and truth of shape {t.shape}: expected {shape}, images by classes")
    if len(set(class_names)) != len(class_names):
        raise ValueError("class_names holds a name twice: columns could not be told apart")
    problems, good = _problems(images, s, t)
    s, y = s[good], t[good] > 0
    names = [images[i] for i in np.flatnonzero(good).tolist()]
    told = s >= threshold
    ranks = [binary_summary(s[:, k], y[:, k]) for k in range(len(class_names))]
    values = _scores(s, y, told, ranks) if s.size else dict.fromkeys(("mean_ap", "roc_auc", "subset_accuracy"))
    intervals = _intervals(s, y, told, bootstrap, seed)
    rows = [
        {"metric": metric, "value": value, "low": low, "high": high, "undefined": _reason(metric, value, s.size)}
        for metric, value in values.items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    pairs, right = s.ravel(), y.ravel().astype(np.float64)
    curves = [row for k, name in enumerate(class_names) for row in curve_rows(name, s[:, k], y[:, k])]
    return ScoreFacts(
        task="multi-label",
        split=split,
        predictions=_told_table(names, class_names, s, y, told),
        objects=_object_table(names, class_names, s, y, told),
        per_class=table(PER_CLASS, _per_class(class_names, y, told, ranks)),
        curves=table(CURVES, [*curves, *curve_rows(ALL_CLASSES, pairs, y.ravel())]),
        confusion=ScoreFacts.empty_tables()["confusion"],
        scores=table(SCORES, rows),
        problems=table(PROBLEMS, problems),
        reliability=table(RELIABILITY, reliability_rows(ALL_CLASSES, pairs, right) if s.size else []),
        convention=CONVENTION.format(threshold=threshold),
        images=len(images),
        input_size=input_size,
        train_scores=dict(train_scores or {}),
    )


def _reason(metric: str, value: float | None, pairs: int) -> str | None:
    if value is not None:
        return None
    if not pairs:
        return "no image could be scored"
    if metric == "micro_precision":
        return "no label is told of any image"
    return "no label has both images with it and images without" if "auc" in metric else "no image has any label"


def _problems(images: Sequence[str], s: Floats, t: Floats) -> tuple[list[dict[str, Any]], Bools]:
    with np.errstate(invalid="ignore"):
        checks = [
            ("nan-score", np.isnan(s), s),
            ("infinite-score", np.isinf(s), s),
            ("score-out-of-range", (s < 0) | (s > 1), s),
            ("not-a-label", ~((t == 0) | (t == 1)), t),
        ]
    problems: list[dict[str, Any]] = []
    good = np.ones(len(s), dtype=bool)
    for kind, cells, values in checks:
        bad = cells.any(axis=1)
        for i in np.flatnonzero(bad & good).tolist():
            first = values[i][cells[i]][0]
            told = f"{first:g} ({int(cells[i].sum())} of {s.shape[1]} labels)"
            problems.append({"kind": kind, "row": i + 1, "image": images[i], "value": told[:MAX_VALUE]})
        good &= ~bad
    return sorted(problems, key=lambda row: row["row"]), good


def _counts(y: Bools, told: Bools, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """(L,) true, told and both, each image counted `weights` (N,) times."""
    return weights @ y, weights @ told, weights @ (y & told)


def _rates(y: Bools, told: Bools, weights: Floats) -> dict[str, float | None]:
    """The averages that follow from counts; None where 0 / 0."""
    true, guessed, hits = _counts(y, told, weights)
    n, present = float(weights.sum()), true > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(guessed > 0, hits / guessed, 0.0)[present]
        recall, f1 = (hits / true)[present], (2 * hits / (true + guessed))[present]
        own = np.where(y.any(axis=1) | told.any(axis=1), 2 * (y & told).sum(1) / (y.sum(1) + told.sum(1)), 0.0)
    out: dict[str, float | None] = {}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        out[f"macro_{name}"] = float(values.mean()) if present.any() else None
        out[f"weighted_{name}"] = float(np.average(values, weights=true[present])) if present.any() else None
    out["micro_precision"] = float(hits.sum() / guessed.sum()) if guessed.sum() else None
    out["micro_recall"] = float(hits.sum() / true.sum()) if present.any() else None
    out["micro_f1"] = float(2 * hits.sum() / (true.sum() + guessed.sum())) if present.any() else None
    out["samples_f1"] = float(weights @ own) / n
    out["subset_accuracy"] = float(weights @ (y == told).all(axis=1)) / n
    out["hamming_loss"] = float(weights @ (y != told).sum(axis=1)) / (n * y.shape[1])
    return out


def _scores(s: Floats, y: Bools, told: Bools, ranks: Sequence[BinarySummary]) -> dict[str, float | None]:
    pairs = binary_summary(s.ravel(), y.ravel())
    share = [rank.positives for rank in ranks]
    aps = [rank.average_precision for rank in ranks]
    aucs = [rank.roc_auc for rank in ranks]
    return {
        "mean_ap": average_defined(aps),
        "weighted_ap": average_defined(aps, share),
        "micro_ap": pairs.average_precision,
        "roc_auc": average_defined(aucs),
        "weighted_roc_auc": average_defined(aucs, share),
        "micro_roc_auc": pairs.roc_auc,
        "mean_best_f1": average_defined([rank.best_f1 for rank in ranks]),
        "micro_best_f1": pairs.best_f1,
        **_rates(y, told, np.ones(len(y))),
        "ece": expected_calibration_error(s.ravel(), y.ravel().astype(np.float64)),
        "brier": float(np.mean((s - y) ** 2)),
    }


def _intervals(
    s: Floats, y: Bools, told: Bools, replicates: int, seed: int
) -> dict[str, tuple[float | None, float | None]]:
    n, labels = s.shape
    if n < 2 or not labels:
        return {}
    ordered = [tied_order(s[:, k]) for k in range(labels)] if s.size * replicates <= MOST_REWEIGHED else []
    columns = [np.ascontiguousarray(y[:, k]) for k in range(labels)]
    drawn: dict[str, list[float]] = {}
    for weights in image_draws(n, replicates, seed):
        areas = [weighted_areas(*order, own, weights) for order, own in zip(ordered, columns, strict=False)]
        values = _rates(y, told, weights)
        values["roc_auc"] = average_defined([auc for auc, _ in areas])
        values["mean_ap"] = average_defined([ap for _, ap in areas])
        for metric, value in values.items():
            if value is not None:
                drawn.setdefault(metric, []).append(value)
    return {metric: interval(values) for metric, values in drawn.items()}


def _per_class(
    class_names: Sequence[str], y: Bools, told: Bools, ranks: Sequence[BinarySummary]
) -> list[dict[str, Any]]:
    counts = _counts(y, told, np.ones(len(y)))
    rows = []
    for name, rank, true, guessed, hits in zip(class_names, ranks, *(c.tolist() for c in counts), strict=True):
        reasons = [
            *(["no image has the label: AP, AUC, recall and F1 are 0 / 0"] if not true else []),
            *(["every image has the label: AUC is 0 / 0"] if not rank.negatives else []),
            *(["never told: precision is 0 / 0, and counts as 0 in means"] if not guessed else []),
        ]
        rows.append(
            {
                "class_name": name,
                "objects": int(true),
                "predictions": int(guessed),
                "ap": rank.average_precision,
                "roc_auc": rank.roc_auc,
                "precision": hits / guessed if guessed else None,
                "recall": hits / true if true else None,
                "f1": 2 * hits / (true + guessed) if true else None,
                "best_threshold": rank.best_threshold,
                "undefined": "; ".join(reasons) or None,
            }
        )
    return rows


def _cells(names: Sequence[str], class_names: Sequence[str], cells: Bools) -> tuple[Any, Any, dict[str, list[str]]]:
    rows, columns = np.nonzero(cells)
    return rows, columns, {
        "image": [names[i] for i in rows.tolist()],
        "class_name": [class_names[k] for k in columns.tolist()],
    }  # fmt: skip


def _told_table(names: Sequence[str], class_names: Sequence[str], s: Floats, y: Bools, told: Bools) -> pl.DataFrame:
    rows, columns, keys = _cells(names, class_names, told)
    right = y[rows, columns]
    out = pl.DataFrame({**keys, "score": s[rows, columns], "right": right}, schema_overrides={"score": pl.Float64})
    outcome = pl.when("right").then(pl.lit("correct")).otherwise(pl.lit("background"))
    true_class = pl.when("right").then("class_name")
    return _filled(PREDICTIONS, out.with_columns(outcome.alias("outcome"), true_class.alias("true_class")))


def _object_table(names: Sequence[str], class_names: Sequence[str], s: Floats, y: Bools, told: Bools) -> pl.DataFrame:
    rows, columns, keys = _cells(names, class_names, y)
    found = {"found": told[rows, columns], "score": s[rows, columns], "crowd": np.zeros(len(rows), dtype=bool)}
    return _filled(OBJECTS, pl.DataFrame({**keys, **found}))


def _filled(schema: Mapping[str, tuple[pl.DataType, str]], rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with exactly the columns of `schema`; those it lacks are null."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, (dtype, _) in schema.items()
    )
