"""Scores detections as COCO does and explains every point that was lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.coco_core import (
    AREA_NAMES,
    IGNORED,
    MAX_DETS,
    RECALL_THRESHOLDS,
    TRUE,
    Detections,
    Matching,
    Objects,
    coco_summary,
    interpolated_precision,
    match,
    match_boxes,
    mean_defined,
    recalls,
)
from snellen.evaluation.detection_calibration import calibration_metrics, detection_reliability
from snellen.evaluation.detection_intervals import detection_intervals
from snellen.evaluation.error_costs import COST_KINDS, SPECIAL, kind_costs, remedies
from snellen.evaluation.errors import OUTCOMES, Analysis, analyse
from snellen.evaluation.facts import (
    ALL_CLASSES,
    BACKGROUND_CLASS,
    CONFUSION,
    CURVES,
    OBJECTS,
    PER_CLASS,
    RELIABILITY,
    SCORES,
    ScoreFacts,
)
from snellen.evaluation.geometry import By, Geometry, geometry
from snellen.evaluation.keypoints import COCO_PERSON_SIGMAS, keypoint_summary
from snellen.evaluation.keypoints import MAX_DETS as KEYPOINT_LIMIT
from snellen.evaluation.lost_points import breakdown, causes, evaluated_images, threshold_bits
from snellen.evaluation.lrp import Lrp, lrp
from snellen.evaluation.operating_point import OperatingPoint, best_f1, threshold_gain
from snellen.evaluation.pairs import Floats, Ints
from snellen.evaluation.properties import aligned, detection_properties, sizes_of, with_properties
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.segments import object_segments
from snellen.evaluation.suppression import lost_to_suppression, sweep_sifted
from snellen.evaluation.suspects import detection_suspects
from snellen.evaluation.voc import match_voc, voc_ap
from snellen.facts import table


def evaluate_detection(
    objects: pl.DataFrame,
    predictions: pl.DataFrame,
    class_names: Sequence[str],
    *,
    images: Sequence[str],
    split: str = "val",
    input_size: int | None = None,
    train_scores: Mapping[str, float] | None = None,
    image_properties: pl.DataFrame | None = None,
    by: By = "box",
    max_dets: Sequence[int] | None = None,
    sigmas: Floats = COCO_PERSON_SIGMAS,
    bootstrap: int = 1000,
    seed: int = 0,
) -> ScoreFacts:
    """Score `predictions` against `objects`.

    `objects`: image, class_name, x1, y1, x2, y2 and optionally crowd and area (px^2, as stated); `predictions`: image,
    class_name, score, x1, y1, x2, y2; boxes xyxy in pixels of the decoded image, scores 0..1. `images` names every
    evaluated image, also those without objects: false positives count there. Records that cannot be scored are left
    out and listed in `problems` (see `sift_boxes`); no predictions at all score 0, no objects at all score null.
    `bootstrap` draws give the 95 % intervals; 0 takes none. `image_properties` has `image` and numeric columns, by
    which lost points are told apart; `width` and `height` (pixels) also say which objects reach the border. `by` names
    what is compared, boxes or one of the shapes that both tables hold (see `geometry`), and `sigmas` those of the
    keypoints. The largest of `max_dets` (None: COCO's 1, 10 and 100, or 20 for keypoints) limits the detections of a
    class in an image. Raises KeyError for a missing column.
    """
    images, class_names = list(dict.fromkeys(images)), list(dict.fromkeys(class_names))
    truth, truth_problems = sift_boxes(objects, images, class_names, scored=False)
    pictures = aligned(image_properties, images)
    sizes = sizes_of(pictures)
    sifted, guess_problems = sift_boxes(predictions, images, class_names, scored=True)
    shape = geometry(by, truth, sifted, sizes=sizes, sigmas=sigmas)
    sifted = shape.guesses
    arrays = _arrays(shape)
    size: dict[str, Any] = {"num_classes": len(class_names), "num_images": len(images)}
    max_dets = max_dets or ((KEYPOINT_LIMIT,) if by == "keypoints" else MAX_DETS)
    matching = match(*arrays, shape.overlap, max_dets=max_dets, **size)
    truth = with_properties(shape.truth, len(images), sizes)
    truth = truth.with_columns(pl.Series("area", shape.object_areas), pl.Series("crowd", shape.ignore))
    guesses = sifted[matching.rows]
    crowd = shape.ignore
    object_classes = truth["class_index"].to_numpy()
    analysis = analyse(
        matching, shape.overlap, object_classes, truth["image_index"].to_numpy(), crowd, num_images=len(images)
    )
    order, starts = matching.staircase_order()
    mending = remedies(matching, analysis, object_classes, crowd, order, starts)
    by_class = kind_costs(mending, len(order), crowd)
    totals = {kind: max(0.0, float(won.sum())) for kind, won in by_class.items()}
    positives = matching.positives[0].astype(np.float64)
    precision = interpolated_precision(matching.status[0], order, starts, np.ones(len(order)), positives)
    correct = matching.status[0, 0] == TRUE
    counted = OUTCOMES[analysis.outcomes] != "ignored"
    overall = best_f1(matching.scores[counted], correct[counted], int(positives.sum()))
    properties = detection_properties(
        truth, guesses.select(CORNERS).to_numpy(), matching.images, analysis.target, analysis.best_iou, sizes, pictures
    )
    costs, slices = breakdown(mending, by_class, analysis, matching, properties, crowd, class_names, overall.threshold)
    classes = matching.classes
    gain = threshold_gain(
        matching.scores[counted],
        correct[counted],
        classes[counted],
        matching.images[counted],
        _per_image(truth, len(class_names), len(images)),
    )
    calibration = calibration_metrics(matching.scores[counted], correct[counted], matching.images[counted])
    evaluated = evaluated_images(images, truth["image_index"].to_numpy(), matching, analysis, crowd, overall.threshold)
    intervals = detection_intervals(matching, order, starts, truth, evaluated, bootstrap, seed)
    coco = keypoint_summary(matching) if by == "keypoints" else coco_summary(matching)
    lrps = lrp(matching)
    values = coco | overall.metrics() | calibration | lrps.summary() | _voc(shape, arrays, size, by)
    scores: list[dict[str, Any]] = [
        {"metric": metric, "value": value, "low": low, "high": high}
        for metric, value in values.items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    if gain is not None:
        scores.append({"metric": "threshold_gain", "value": gain.gain, "low": gain.low, "high": gain.high})
    per_class, curves = _per_class(matching, counted, precision, lrps, class_names)
    curves += _curve(ALL_CLASSES, matching.scores[counted], correct[counted], int(positives.sum()))
    found = _object_table(truth, matching, analysis)
    said = _prediction_table(guesses, truth, matching, analysis)
    return ScoreFacts(
        task="detection",
        split=split,
        predictions=said,
        objects=found,
        per_class=table(PER_CLASS, per_class),
        curves=table(CURVES, curves),
        confusion=table(CONFUSION, _confusion(matching, analysis, overall, object_classes, crowd, class_names)),
        scores=table(SCORES, scores),
        problems=pl.concat([guess_problems, truth_problems, shape.problems]),
        evaluated=evaluated,
        costs=costs,
        slices=slices,
        reliability=table(
            RELIABILITY,
            detection_reliability(matching.scores[counted], correct[counted], classes[counted], class_names),
        ),
        segments=object_segments(found, overall.threshold, image_properties),
        suspects=detection_suspects(said, found),
        convention=convention(matching.max_dets, shape.convention),
        predictions_without_objects=int((matching.positives[0][matching.classes] == 0).sum()),
        images=len(images),
        input_size=input_size,
        error_costs={kind: totals[kind] for kind in COST_KINDS} if positives.any() else {},
        special_costs={kind: totals[kind] for kind in SPECIAL} if positives.any() else {},
        train_scores=dict(train_scores or {}),
        **_suppression(by, sifted, guesses, found, mending, truth, analysis, **size),
    )


def convention(max_dets: Sequence[int], compared: str) -> str:
    """Which definitions the numbers follow, in words."""
    limit = max_dets[-1]
    aside = "" if limit == 100 or "keypoint" in compared else " (pycocotools returns -1 for a limit other than 100)"
    return (
        f"COCO: AP by 101-point interpolation over IoU 0.50:0.95, at most {limit} detections per class and image"
        f"{aside}, crowd objects ignored, classes without objects left out of the mean; {compared}; F1 at one score "
        "threshold"
    )


def light_map50(
    objects: pl.DataFrame, predictions: pl.DataFrame, class_names: Sequence[str], *, images: Sequence[str]
) -> float | None:
    """mAP50 alone, for validation during training: the same records, policy and value as `evaluate_detection`.

    None when no object can be scored.
    """
    images, class_names = list(dict.fromkeys(images)), list(dict.fromkeys(class_names))
    truth, _ = sift_boxes(objects, images, class_names, scored=False)
    guesses, _ = sift_boxes(predictions, images, class_names, scored=True)
    matching = _match(truth, guesses, len(class_names), len(images))
    order, starts = matching.staircase_order()
    positives = matching.positives[0].astype(np.float64)
    return mean_defined(interpolated_precision(matching.status[0, :1], order, starts, np.ones(len(order)), positives))


def _match(truth: pl.DataFrame, guesses: pl.DataFrame, classes: int, images: int) -> Matching:
    boxes, own = _xywh(truth), _xywh(guesses)
    return match_boxes(
        boxes,
        truth["class_index"].to_numpy(),
        truth["image_index"].to_numpy(),
        truth["crowd"].to_numpy(),
        boxes[:, 2] * boxes[:, 3],
        own,
        guesses["class_index"].to_numpy(),
        guesses["image_index"].to_numpy(),
        guesses["score"].to_numpy(),
        num_classes=classes,
        num_images=images,
        iou_thresholds=np.array([0.5]),
        area_ranges=np.array([[0.0, 1e10]]),
    )


def _arrays(shape: Geometry) -> tuple[Objects, Detections]:
    truth, guesses = shape.truth, shape.guesses
    return (
        Objects(
            truth["class_index"].to_numpy(),
            truth["image_index"].to_numpy(),
            shape.object_areas,
            truth["crowd"].to_numpy(),
            shape.ignore,
        ),
        Detections(
            guesses["class_index"].to_numpy(),
            guesses["image_index"].to_numpy(),
            guesses["score"].to_numpy(),
            shape.areas,
        ),
    )


def _voc(shape: Geometry, arrays: tuple[Objects, Detections], size: dict[str, Any], by: By) -> dict[str, float | None]:
    """Both means of VOC at IoU 0.5; keypoints have none."""
    if by == "keypoints":
        return {}
    matching = match_voc(*arrays, shape.overlap, **size)
    found = {f"mAP50_voc{year}": voc_ap(matching, year) for year in ("2007", "2010")}
    return {name: None if np.isnan(ap).all() else float(np.nanmean(ap)) for name, ap in found.items()}


def _suppression(
    by: By,
    sifted: pl.DataFrame,
    guesses: pl.DataFrame,
    found: pl.DataFrame,
    mending: Any,
    truth: pl.DataFrame,
    analysis: Analysis,
    *,
    num_classes: int,
    num_images: int,
) -> dict[str, Any]:
    """What suppression did; not known where it was not done by upright boxes."""
    if by in ("oriented", "keypoints"):
        return {}
    return {
        "suppressed": lost_to_suppression(sifted, found, mending, truth, num_classes, num_images),
        "suppression": sweep_sifted(truth, guesses, analysis, num_classes, num_images),
    }


def _xywh(records: pl.DataFrame) -> Floats:
    xyxy = records.select(CORNERS).to_numpy()
    return np.ascontiguousarray(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))


def _per_image(truth: pl.DataFrame, classes: int, images: int) -> Ints:
    """(K, images) objects to be found."""
    real = truth.filter(~pl.col("crowd"))
    cell = real["class_index"].to_numpy() * images + real["image_index"].to_numpy()
    return np.bincount(cell, minlength=classes * images).reshape(classes, images)


def _per_class(
    matching: Matching, counted: Any, precision: Floats, lrps: Lrp, class_names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
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
        curves += _curve(name, scores, correct, objects)
    return rows, curves


def _curve(name: str, scores: Floats, correct: Any, objects: int) -> list[dict[str, Any]]:
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


def _prediction_table(
    guesses: pl.DataFrame, truth: pl.DataFrame, matching: Matching, analysis: Analysis
) -> pl.DataFrame:
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


def _object_table(truth: pl.DataFrame, matching: Matching, analysis: Analysis) -> pl.DataFrame:
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


def _confusion(
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
