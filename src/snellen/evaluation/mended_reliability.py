"""What a reliability diagram would show after an isotonic map of the scores, judged on images that did not fit it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from snellen.evaluation.calibration import expected_calibration_error, reliability_rows
from snellen.evaluation.detection_calibration import MIN_DETECTIONS, MIN_SCORE, MOST
from snellen.evaluation.facts import ALL_CLASSES, RELIABILITY, ScoreFacts
from snellen.evaluation.scaling import IsotonicScaling
from snellen.facts import table


@dataclass(frozen=True)
class MendedReliability:
    """Bins that are not empty, and the expected calibration error over them."""

    rows: pl.DataFrame
    """Columns of RELIABILITY."""
    error: float


def mended_reliability(scores: ScoreFacts) -> MendedReliability | None:
    """Map the scores of images of even number by those of odd number and the other way round, as `ece_isotonic` is.

    A classifier's score is its top probability, right where it names the label. None where there are too few
    predictions to fit on (50, 25 in either half), or where the facts keep only a part of them (multi-label).
    """
    if scores.task not in ("classification", "detection"):
        return None
    said = scores.predictions.drop_nulls(["score", "outcome"])
    if scores.task == "detection":
        said = said.filter((pl.col("outcome") != "ignored") & (pl.col("score") >= MIN_SCORE))
        images = scores.evaluated["image"]
    else:
        images = said["image"].unique(maintain_order=True)
    number = {image: i for i, image in enumerate(images)}
    odd = np.array([number.get(image, 0) % 2 == 1 for image in said["image"]], dtype=bool)
    if len(said) < MIN_DETECTIONS or min(odd.sum(), (~odd).sum()) < MIN_DETECTIONS // 2:
        return None
    score, right = said["score"].to_numpy(), (said["outcome"] == "correct").to_numpy().astype(np.float64)
    mended = np.empty(len(score))
    for half in (odd, ~odd):
        rows = np.flatnonzero(half)
        rows = rows[:: -(-len(rows) // MOST)]
        mended[~half] = IsotonicScaling.fit(score[rows], right[rows]).apply(score[~half])
    found = table(RELIABILITY, reliability_rows(ALL_CLASSES, mended, right)).filter(pl.col("count") > 0)
    return MendedReliability(found, expected_calibration_error(mended, right))
