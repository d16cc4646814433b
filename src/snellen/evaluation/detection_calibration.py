"""How far a detection's score is from the share of such detections that is right, and the map that mends it.

Right means matched at IoU 0.5; detections that count as nothing are left out (D-ECE without box position: Küppers et
al., CVPR Workshops 2020, eq. 4). Scores below `MIN_SCORE` are nearly all background and by their number would hide
the rest, so they are left out of the numbers.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.evaluation.calibration import expected_calibration_error, reliability_rows
from snellen.evaluation.facts import ALL_CLASSES, ScoreFacts
from snellen.evaluation.scaling import IsotonicScaling, Scaling, TemperatureScaling

MIN_SCORE = 0.05
MIN_DETECTIONS = 50
"""Of a class: fewer say nothing of 15 bins."""
MOST = 50_000
"""Detections a map is fitted on; more change nothing."""

Floats = NDArray[np.float64]
KINDS: dict[str, type[TemperatureScaling] | type[IsotonicScaling]] = {
    "temperature": TemperatureScaling,
    "isotonic": IsotonicScaling,
}


def detection_reliability(
    scores: Floats, correct: NDArray[np.bool_], classes: NDArray[np.int64], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the table `reliability`: all classes together, then each with enough detections."""
    use = scores >= MIN_SCORE
    rows = reliability_rows(ALL_CLASSES, scores[use], correct[use].astype(np.float64)) if use.any() else []
    for k, name in enumerate(class_names):
        own = use & (classes == k)
        if own.sum() >= MIN_DETECTIONS:
            rows += reliability_rows(name, scores[own], correct[own].astype(np.float64))
    return rows


def calibration_metrics(
    scores: Floats, correct: NDArray[np.bool_], images: NDArray[np.int64]
) -> dict[str, float | None]:
    """`ece`, `score_inflation` (mean score minus share right, -1..1) and `ece_temperature`, `ece_isotonic`: what is
    left of it, on images of even number, by a map fitted on those of odd number and the other way round."""
    use = scores >= MIN_SCORE
    scores, right, odd = scores[use], correct[use].astype(np.float64), images[use] % 2 == 1
    names = ("ece", "score_inflation", *(f"ece_{kind}" for kind in KINDS))
    if len(scores) < MIN_DETECTIONS or min(odd.sum(), (~odd).sum()) < MIN_DETECTIONS // 2:
        return dict.fromkeys(names)
    found: dict[str, float | None] = {
        "ece": expected_calibration_error(scores, right),
        "score_inflation": float(scores.mean() - right.mean()),
    }
    for kind, scaling in KINDS.items():
        mended = np.empty(len(scores))
        for half in (odd, ~odd):
            chosen = _some(np.flatnonzero(half))
            mended[~half] = scaling.fit(scores[chosen], right[chosen]).apply(scores[~half])
        found[f"ece_{kind}"] = expected_calibration_error(mended, right)
    return found


def fit_detection_scaling(scores: ScoreFacts, kind: Literal["temperature", "isotonic"] = "isotonic") -> Scaling:
    """Fit the map from score to the share right on an evaluation's predictions; `apply` it to new scores, `save` it.

    A map that rises everywhere leaves the order of the detections, and with it AP, as it is; isotonic maps make ties.
    Raises ValueError when nothing was scored, or on a task without scored detections.
    """
    counted = scores.predictions.filter(pl.col("outcome").is_not_null() & (pl.col("outcome") != "ignored"))
    if scores.task == "classification" or counted.is_empty():
        raise ValueError(f"no scored detections to calibrate on ({scores.task})")
    chosen = _some(np.arange(len(counted)))
    right = (counted["outcome"] == "correct").to_numpy()
    return KINDS[kind].fit(counted["score"].to_numpy()[chosen], right[chosen])


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[:: -(-len(rows) // MOST)] if len(rows) else rows
