"""The tables of a scored detector: predictions, objects, classes, curves and the confusion of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.coco_core import (
    AREA_NAMES,
    IGNORED,
    RECALL_THRESHOLDS,
    TRUE,
    Matching,
    interpolated_precision,
    mean_defined,
    recalls,
)
from snellen.evaluation.errors import OUTCOMES, Analysis
from snellen.evaluation.facts import BACKGROUND_CLASS, OBJECTS
from snellen.evaluation.lost_points import causes, threshold_bits
from snellen.evaluation.lrp import Lrp
from snellen.evaluation.operating_point import OperatingPoint, best_f1
from snellen.evaluation.pairs import Floats


def per_class_rows(
    matching: Matching, counted: Any, precision: Floats, lrps: Lrp, class_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of PER_CLASS and CURVES; `counted` (N,) detections that are not ignored, `precision` (T, 101, K)."""
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    order, starts = matching.staircase_order()
    ones = np.ones(len(order))
    by_size = {
        "ap" + name: interpolated_precision(
            matching.status[area], order, starts, ones, matching.positives[area].astype(np.float64)
        )
        for area, name in enumerate(AREA_NAMES)
        if area
    }
    recall = recalls(matching)[0, ..., -1]
    for k, name in enumerate(class_names):
        own = matching.classes == k
        use = own & counted
        objects = int(matching.positives[0, k])
        scores, correct = matching.scores[use], matching.status[0, 0, use] == TRUE
        best = best_f1(scores, correct, objects)
        rows.append(
            {
                "class_name": name,
                "objects": objects,
                "predictions": int(own.sum()),
                "ap": mean_defined(precision[:, :, k]),
                "ap50": mean_defined(precision[0, :, k]),
                "ap75": mean_defined(precision[np.isclose(matching.iou_thresholds, 0.75), :, k]),
                **{name: mean_defined(values[:, :, k]) for name, values in by_size.items()},
                "ar": mean_defined(recall[:, k]),
                "olrp": None if np.isnan(lrps.olrp[k]) else float(lrps.olrp[k]),
                "precision": best.precision,
                "recall": best.recall,
                "f1": best.f1,
                "best_threshold": best.threshold,
            }
        )
        curves += curve_rows(name, scores, correct, objects)
    return rows, curves


def curve_rows(name: str, scores: Floats, correct: Any, objects: int) -> list[dict[str, Any]]:
    """The staircase's precision at up to 101 recalls that are reached, with the score where each is reached."""
    if not objects or not correct.any():
        return []
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(correct[order])
    recall = tp / objects
    envelope = np.maximum.accumulate((tp / np.arange(1, len(tp) + 1))[::-1])[::-1]
    reached = RECALL_THRESHOLDS[recall[-1] >= RECALL_THRESHOLDS]
    at = np.searchsorted(recall, reached, side="left")
    return [
        {"class_name": name, "recall": float(r), "precision": float(envelope[i]), "score": float(scores[order[i]])}
        for r, i in zip(reached, at, strict=True)
    ]


def prediction_table(
    guesses: pl.DataFrame, truth: pl.DataFrame, matching: Matching, analysis: Analysis
) -> pl.DataFrame:
    """PREDICTIONS: the detections of `matching`, in its order."""
    target = pl.Series(analysis.target)
    names = truth["class_name"].to_list()
    return guesses.select("image", "class_name", "score", *CORNERS).with_columns(
        pl.Series("true_class", [names[t] if t >= 0 else None for t in target], dtype=pl.String),
        pl.Series("iou", analysis.best_iou, dtype=pl.Float64),
        pl.Series("outcome", OUTCOMES[analysis.outcomes].tolist(), dtype=pl.String),
        pl.lit(None, dtype=pl.Float64).alias("loss"),
        target.replace(-1, None).alias("object"),
        threshold_bits(matching, TRUE).alias("hits"),
        threshold_bits(matching, IGNORED).alias("excused"),
    )


def object_table(truth: pl.DataFrame, matching: Matching, analysis: Analysis) -> pl.DataFrame:
    """OBJECTS."""
    found = analysis.found >= 0
    score = [float(matching.scores[i]) if i >= 0 else None for i in analysis.found]
    return truth.select("image", "class_name", *CORNERS).with_columns(
        pl.Series("found", found, dtype=pl.Boolean),
        pl.Series("best_iou", analysis.object_best_iou, dtype=pl.Float64),
        pl.Series("score", score, dtype=pl.Float64),
        truth["crowd"],
        causes(analysis, truth["crowd"].to_numpy()),
        *(truth[name] for name in list(OBJECTS)[list(OBJECTS).index("area") :]),
    )


def confusion_rows(
    matching: Matching,
    analysis: Analysis,
    point: OperatingPoint,
    object_classes: Any,
    crowd: Any,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Count (true, predicted) at the operating point; each object and each detection is counted once."""
    names = [*class_names, BACKGROUND_CLASS]
    background = len(class_names)
    outcomes = OUTCOMES[analysis.outcomes]
    shown = (matching.scores >= point.threshold) if point.threshold is not None else np.zeros(len(outcomes), bool)
    shown &= outcomes != "ignored"
    seen = crowd.copy()
    pairs: list[tuple[int, int]] = []
    # A true positive speaks for its object first, then the best misnamed detection; what is left over is background.
    for kind in ("correct", "classification"):
        chosen = np.flatnonzero(shown & (outcomes == kind))
        for d in chosen[np.argsort(-matching.scores[chosen], kind="stable")]:
            target = analysis.target[d]
            if not seen[target]:
                seen[target] = True
                shown[d] = False
                pairs.append((int(object_classes[target]), int(matching.classes[d])))
    pairs += [(background, int(k)) for k in matching.classes[shown]]
    pairs += [(int(k), background) for k in object_classes[~seen]]
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    for true, predicted in pairs:
        counts[true, predicted] += 1
    return [
        {"true_class": names[i], "predicted_class": names[j], "count": int(counts[i, j])}
        for i, j in np.argwhere(counts)
    ]
