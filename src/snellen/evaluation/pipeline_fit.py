"""Fits the prediction pipeline, and says what it wins on images that it was not fitted on.

The images are dealt into two halves. All choices, also which map and whether each class gets its own threshold, are
made on one half and measured on the other, both ways; a step that does not win there is left out. What is then written
is fitted on all images.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.boxes import CORNERS
from snellen.evaluation.calibration import expected_calibration_error
from snellen.evaluation.coco_core import FALSE, TRUE, coco_summary, match_boxes
from snellen.evaluation.detection_calibration import KINDS, MIN_SCORE, MOST
from snellen.evaluation.pairs import Bools, Floats, Ints
from snellen.evaluation.pipeline import Gain, Pipeline
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.scaling import Scaling

STEPS = ("suppression", "calibration", "thresholds")
MIN_IMAGES = 20
"""Fewer than ten a half say nothing."""
MIN_PREDICTIONS = 100
"""Fewer are not calibrated."""
MIN_OBJECTS = 20
"""A class with fewer shares the common threshold."""
CUTS = 200
"""Thresholds tried: quantiles of the scores."""
WORTH: Mapping[str, float] = {"suppression": 0.001, "calibration": 0.005, "thresholds": 0.0}
"""What a step must win on images it was not fitted on: mAP, ECE, mean F1."""


@dataclass(frozen=True)
class Fitted:
    """What `fit_detections` and `fit_classification` return."""

    pipeline: Pipeline | None
    """None: nothing is worth it."""
    gains: tuple[Gain, ...]
    """Cross-validated; empty when there was too little to fit on."""
    reason: str
    """Why there is no pipeline; empty when there is one."""


@dataclass(frozen=True)
class _Seen:
    """The detections of one threshold of suppression that count, on some images."""

    scores: Floats
    correct: Bools
    """Matched at IoU 0.5."""
    classes: Ints
    images: Ints
    objects: Ints
    """(K, images) to be found."""
    mean_ap: float | None


def fit_detections(
    objects: pl.DataFrame,
    predictions: Mapping[float, pl.DataFrame],
    class_names: Sequence[str],
    *,
    images: Sequence[str],
    own_iou: float,
    split: str,
    default_threshold: float,
    seed: int = 0,
) -> Fitted:
    """Fit on `predictions`, one table for each IoU of suppression, `own_iou` among them being what is used so far.

    Tables as `evaluate_detection` takes them; scores from 0.02 or so on, so that thresholds can be chosen.
    `default_threshold` is what is shown from without a pipeline: mean F1 before is measured there.
    """
    names, number = list(class_names), len(images)
    truth, _ = sift_boxes(objects, images, names, scored=False)
    tables = {iou: sift_boxes(table, images, names, scored=True)[0] for iou, table in predictions.items()}
    if number < MIN_IMAGES or len(truth) < MIN_OBJECTS:
        return Fitted(None, (), f"{number} images with {len(truth)} objects: too few to fit on")
    if len(tables[own_iou]) < MIN_PREDICTIONS:
        return Fitted(None, (), f"{len(tables[own_iou])} predictions: too few to fit on")
    half = np.random.default_rng(seed).permutation(number) % 2 == 0

    def seen(rows: Bools) -> dict[float, _Seen]:
        return {iou: _match(truth, table, rows, len(names)) for iou, table in tables.items()}

    parts = [(seen(half), seen(~half)), (seen(~half), seen(half))]
    said = {"task": "detection", "class_names": names, "split": split, "images": number}

    def gains_of(steps: Collection[str]) -> tuple[Gain, ...]:
        found: dict[str, list[tuple[float, float]]] = {}
        for one, other in parts:
            fitted = Pipeline(**said, **_choices(one, names, own_iou, steps))
            iou = fitted.nms_iou or own_iou
            for metric, before, after in _measured(other[own_iou], other[iou], fitted, names, default_threshold):
                if before is not None and after is not None:
                    found.setdefault(metric, []).append((before, after))
        return tuple(
            Gain(metric=metric, before=float(np.mean([b for b, _ in v])), after=float(np.mean([a for _, a in v])))
            for metric, v in found.items()
        )

    steps = set(STEPS)
    gains = gains_of(steps)
    kept = {step for step in steps if _won(gains, step) > WORTH[step]}
    if kept != steps:
        gains = gains_of(kept) if kept else gains
    choices = _choices(seen(np.ones(number, dtype=bool)), names, own_iou, kept)
    if not any(value for value in choices.values()):
        return Fitted(None, gains, "nothing wins on images that it was not fitted on")
    return Fitted(Pipeline(**said, **choices, gains=gains), gains, "")


def _won(gains: Sequence[Gain], step: str) -> float:
    metric, sign = {"suppression": ("mAP", 1), "calibration": ("ECE", -1), "thresholds": ("mean F1", 1)}[step]
    return next((sign * (g.after - g.before) for g in gains if g.metric == metric), 0.0)


def _match(truth: pl.DataFrame, guesses: pl.DataFrame, rows: Bools, classes: int) -> _Seen:
    """Match the images in `rows` (images,) as COCO does."""
    kept = np.flatnonzero(rows)
    truth = truth.filter(pl.col("image_index").is_in(kept.tolist()))
    guesses = guesses.filter(pl.col("image_index").is_in(kept.tolist()))
    theirs, own = _xywh(truth), _xywh(guesses)
    matching = match_boxes(
        theirs, truth["class_index"].to_numpy(), truth["image_index"].to_numpy(), truth["crowd"].to_numpy(),
        theirs[:, 2] * theirs[:, 3], own, guesses["class_index"].to_numpy(), guesses["image_index"].to_numpy(),
        guesses["score"].to_numpy(), num_classes=classes, num_images=len(rows),
        area_ranges=np.array([[0.0, 1e10]]),
    )  # fmt: skip
    status = matching.status[0, 0]
    counted = (status == TRUE) | (status == FALSE)
    real = truth.filter(~pl.col("crowd"))
    cell = real["class_index"].to_numpy() * len(rows) + real["image_index"].to_numpy()
    objects = np.bincount(cell, minlength=classes * len(rows)).reshape(classes, len(rows))
    return _Seen(
        matching.scores[counted], status[counted] == TRUE, matching.classes[counted], matching.images[counted],
        objects, coco_summary(matching, ("",))["mAP"],
    )  # fmt: skip


def _xywh(records: pl.DataFrame) -> Floats:
    xyxy = records.select(CORNERS).to_numpy()
    return np.ascontiguousarray(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))


def _choices(
    seen: Mapping[float, _Seen], names: Sequence[str], own_iou: float, steps: Collection[str]
) -> dict[str, Any]:
    """The steps as fitted on `seen`."""
    iou = own_iou
    if "suppression" in steps:
        iou = max(seen, key=lambda i: ((seen[i].mean_ap or 0.0), i == own_iou))
    found = seen[iou]
    scaling = None
    if "calibration" in steps and len(found.scores) >= MIN_PREDICTIONS // 2:
        scaling = choose_scaling(found.scores, found.correct.astype(np.int64), found.images)
    choices: dict[str, Any] = {"nms_iou": None if iou == own_iou else iou, "scaling": scaling}
    if "thresholds" in steps and found.correct.any():
        plain = Pipeline(task="detection", class_names=tuple(names), scaling=scaling, split="-", images=1)
        choices |= _thresholds(found, plain.calibrated(found.scores), names)
    return choices


def choose_scaling(scores: Floats, right: Ints, groups: Ints) -> Scaling | None:
    """The map of least squared error on records of groups that it was not fitted on; None when the scores are better.

    `scores` are (N,) scores with `right` 0 or 1, or (N, C) distributions with `right` the class; `groups` (N,) the
    images. The map is then fitted on all.
    """
    odd = np.searchsorted(np.unique(groups), groups) % 2 == 1
    if min(odd.sum(), (~odd).sum()) < MIN_PREDICTIONS // 4:
        return None
    losses = {"": _squared_error(scores, right)}
    for kind, scaling in KINDS.items():
        mended = np.empty(scores.shape)
        for part in (odd, ~odd):
            some = _some(np.flatnonzero(part))
            mended[~part] = scaling.fit(scores[some], right[some]).apply(scores[~part])
        losses[kind] = _squared_error(mended, right)
    best = min(losses, key=lambda kind: losses[kind])
    if not best:
        return None
    some = _some(np.arange(len(scores)))
    return KINDS[best].fit(scores[some], right[some])


def _squared_error(p: Floats, right: Ints) -> float:
    if p.ndim == 1:
        return float(np.mean((p - right) ** 2))
    return float(np.mean((p**2).sum(axis=1) - 2 * p[np.arange(len(p)), right] + 1))


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[:: -(-len(rows) // MOST)] if len(rows) else rows


def _thresholds(seen: _Seen, scores: Floats, names: Sequence[str]) -> dict[str, Any]:
    """One threshold of the best mean F1 and, where that wins on other images, those of the classes."""
    cuts = np.unique(np.quantile(scores[seen.correct], np.linspace(0, 1, CUTS)))
    used = np.flatnonzero(seen.objects.sum(axis=0) + np.bincount(seen.images, minlength=seen.objects.shape[1]))
    odd = np.zeros(seen.objects.shape[1], dtype=bool)
    odd[used[1::2]] = True
    tables = [_f1(seen, scores, cuts, part) for part in (odd, ~odd)]
    whole = _f1(seen, scores, cuts, np.ones(len(odd), dtype=bool))
    enough = seen.objects.sum(axis=1) >= MIN_OBJECTS
    won = 0.0
    for one, other in (tables, tables[::-1]):
        common = int(_mean(one).argmax())
        own = np.where(enough, np.nan_to_num(one, nan=-1.0).argmax(axis=1), common)
        chosen = np.take_along_axis(other, own[:, None], axis=1)
        won += float(_mean(chosen)[0] - _mean(other)[common])
    threshold = float(cuts[int(_mean(whole).argmax())])
    best = np.nan_to_num(whole, nan=-1.0).argmax(axis=1)
    own_thresholds = {names[k]: float(cuts[best[k]]) for k in np.flatnonzero(enough).tolist()} if won > 0 else {}
    return {"threshold": threshold, "thresholds": own_thresholds}


def _mean(f1: Floats) -> Floats:
    """(cuts,) mean over the classes that have objects."""
    there = np.isfinite(f1)
    return np.asarray(np.where(there, f1, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1))


def _f1(seen: _Seen, scores: Floats, cuts: Floats, images: Bools) -> Floats:
    """(K, cuts) F1 of each class at each threshold, on `images`; NaN for a class without objects there."""
    objects = seen.objects[:, images].sum(axis=1)
    place = np.searchsorted(cuts, scores, side="right") - 1
    use = images[seen.images] & (place >= 0)
    shape = (len(objects), len(cuts))
    cell = seen.classes * len(cuts) + place

    def from_each(mask: Bools) -> Floats:
        counts = np.bincount(cell[mask], minlength=shape[0] * shape[1]).reshape(shape)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)

    f1 = 2 * from_each(use & seen.correct) / np.maximum(from_each(use) + objects[:, None], 1)
    f1[objects == 0] = np.nan
    return f1


def _measured(
    raw: _Seen, mended: _Seen, fitted: Pipeline, names: Sequence[str], default: float
) -> list[tuple[str, float | None, float | None]]:
    """(metric, before, after) on images that `fitted` has not seen."""
    scores = fitted.calibrated(mended.scores)
    common = default if fitted.threshold is None else fitted.threshold
    own = np.array([fitted.thresholds.get(name, common) for name in names])
    return [
        ("mAP", raw.mean_ap, mended.mean_ap),
        ("ECE", _ece(raw.scores, raw), _ece(scores, mended)),
        ("mean F1", _mean_f1(raw, raw.scores, np.full(len(names), default)), _mean_f1(mended, scores, own)),
    ]


def _ece(scores: Floats, seen: _Seen) -> float | None:
    use = seen.scores >= MIN_SCORE
    return expected_calibration_error(scores[use], seen.correct[use].astype(np.float64)) if use.any() else None


def _mean_f1(seen: _Seen, scores: Floats, thresholds: Floats) -> float | None:
    objects, shown = seen.objects.sum(axis=1), scores >= thresholds[seen.classes]
    taken, right = (np.bincount(seen.classes[m], minlength=len(objects)) for m in (shown, shown & seen.correct))
    there = objects > 0
    return float(np.mean(2 * right[there] / (taken[there] + objects[there]))) if there.any() else None


def fit_classification(
    probabilities: Floats, labels: Ints, class_names: Sequence[str], *, split: str, seed: int = 0
) -> Fitted:
    """Fit a map of the distributions (N, C) on `labels` (N,); an image a row."""
    number = len(labels)
    if number < MIN_PREDICTIONS:
        return Fitted(None, (), f"{number} images: too few to fit on")
    p, half = probabilities, np.random.default_rng(seed).permutation(number) % 2 == 0
    mended = p.copy()
    for part in (half, ~half):
        chosen = choose_scaling(p[part], labels[part], np.arange(int(part.sum())))
        if chosen is not None:
            mended[~part] = chosen.apply(p[~part])
    gains = tuple(
        Gain(metric=metric, before=before, after=after)
        for metric, before, after in zip(
            ("accuracy", "ECE", "Brier"), _quality(p, labels), _quality(mended, labels), strict=True
        )
    )
    scaling = (
        choose_scaling(p, labels, np.arange(number)) if _won(gains, "calibration") > WORTH["calibration"] else None
    )
    if scaling is None:
        return Fitted(None, gains, "no map of the probabilities wins on images that it was not fitted on")
    pipeline = Pipeline(
        task="classification", class_names=tuple(class_names), scaling=scaling, split=split, images=number, gains=gains
    )
    return Fitted(pipeline, gains, "")


def _quality(p: Floats, labels: Ints) -> tuple[float, float, float]:
    right = (p.argmax(axis=1) == labels).astype(np.float64)
    return float(right.mean()), expected_calibration_error(p.max(axis=1), right), _squared_error(p, labels)
