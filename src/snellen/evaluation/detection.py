"""Scores detections as COCO does and explains every point that was lost."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.coco_core import (
    MAX_DETS,
    TRUE,
    Detections,
    Matching,
    Objects,
    coco_summary,
    interpolated_precision,
    match,
    match_boxes,
    mean_defined,
)
from snellen.evaluation.detection_calibration import calibration_metrics, detection_reliability
from snellen.evaluation.detection_intervals import detection_intervals
from snellen.evaluation.detection_tables import (
    confusion_rows,
    curve_rows,
    object_table,
    per_class_rows,
    prediction_table,
)
from snellen.evaluation.error_costs import COST_KINDS, SPECIAL, kind_costs, remedies
from snellen.evaluation.errors import OUTCOMES, Analysis, analyse
from snellen.evaluation.facts import (
    ALL_CLASSES,
    CONFUSION,
    CURVES,
    PER_CLASS,
    RELIABILITY,
    SCORES,
    ScoreFacts,
)
from snellen.evaluation.geometry import By, Geometry, geometry
from snellen.evaluation.keypoints import COCO_PERSON_SIGMAS, keypoint_summary
from snellen.evaluation.keypoints import MAX_DETS as KEYPOINT_LIMIT
from snellen.evaluation.lost_points import breakdown, evaluated_images
from snellen.evaluation.lrp import CONVENTION as LRP_CONVENTION
from snellen.evaluation.lrp import lrp
from snellen.evaluation.lvis import CONVENTION as LVIS_CONVENTION
from snellen.evaluation.lvis import MAX_DETS as LVIS_LIMIT
from snellen.evaluation.lvis import Federation, federated, lvis_summary
from snellen.evaluation.operating_point import best_f1, threshold_gain
from snellen.evaluation.pairs import Floats, Ints
from snellen.evaluation.properties import aligned, detection_properties, sizes_of, with_properties
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.segments import object_segments
from snellen.evaluation.suppression import lost_to_suppression, sweep_sifted
from snellen.evaluation.suspects import detection_suspects
from snellen.evaluation.voc import CONVENTION as VOC_CONVENTION
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
    federation: Federation | None = None,
    learned: Collection[str] | None = None,
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
    class in an image. With a `federation` the protocol is LVIS's, and that is an image's limit, 300 by default.
    `learned` names images that the model was trained on, None: not known. Raises KeyError for a missing column.
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
    if federation is not None:
        max_dets = (max(max_dets or (LVIS_LIMIT,)),)
        arrays = arrays[0], federated(*arrays, federation, **size, max_dets=max_dets[-1])
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
    if federation is not None:
        coco = lvis_summary(matching, federation)
    lrps = lrp(matching)
    values = coco | overall.metrics() | calibration | lrps.summary()
    values |= _voc(shape, arrays, size, by) if federation is None else {}
    for name, beta in (("f05", 0.5), ("f2", 2.0)):
        point = best_f1(matching.scores[counted], correct[counted], int(positives.sum()), beta)
        values |= {name: point.f1, f"{name}_threshold": point.threshold}
    scores: list[dict[str, Any]] = [
        {"metric": metric, "value": value, "low": low, "high": high}
        for metric, value in values.items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    if gain is not None:
        scores.append({"metric": "threshold_gain", "value": gain.gain, "low": gain.low, "high": gain.high})
    per_class, curves = per_class_rows(matching, counted, precision, lrps, class_names)
    curves += curve_rows(ALL_CLASSES, matching.scores[counted], correct[counted], int(positives.sum()))
    found = object_table(truth, matching, analysis)
    said = prediction_table(guesses, truth, matching, analysis)
    return ScoreFacts(
        task="detection",
        split=split,
        predictions=said,
        objects=found,
        per_class=table(PER_CLASS, per_class),
        curves=table(CURVES, curves),
        confusion=table(CONFUSION, confusion_rows(matching, analysis, overall, object_classes, crowd, class_names)),
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
        suspects=detection_suspects(said, found, learned),
        learned_images=None if learned is None else len(set(learned) & set(images)),
        convention=("" if federation is None else f"{LVIS_CONVENTION}; otherwise ")
        + convention(matching.max_dets, shape.convention),
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
        f"{aside}, crowd objects ignored, classes without objects left out of the mean; {compared}; F1, F0.5 and F2 "
        f"at the score threshold where each is highest; mAP50_voc2007 and mAP50_voc2010: {VOC_CONVENTION}; "
        f"{LRP_CONVENTION}"
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
