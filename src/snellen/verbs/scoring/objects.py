"""Scores detections: boxes, instance masks, keypoints or rotated boxes, by COCO's, LVIS's or VOC's convention."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.geometry import By
from snellen.progress import Progress
from snellen.verbs.image_properties import image_properties
from snellen.verbs.scoring.federation import federation_of
from snellen.verbs.scoring.shapes import choose_kind, drawn_masks, sigmas_for, with_shapes
from snellen.verbs.scoring.truth import class_ids_of, classes_of, images_of, names_of, split_of, truth_of

Convention = Literal["coco", "lvis", "voc2007", "voc2010"]


def score_objects(
    path: Path,
    data: DataFacts,
    *,
    split: str | None,
    kind: By | None,
    convention: Convention,
    max_dets: Sequence[int] | None,
    progress: Progress,
) -> ScoreFacts:
    """Score the detections in `path` against the objects of `data`; `kind` None: what both hold.

    Raises UseError when the file cannot be read, or holds nothing of what is asked for.
    """
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.read import read_predictions

    images = images_of(data, split)
    sizes = {image: (w, h) for image, w, h in data.sizes().drop_nulls().iter_rows()}
    progress("read predictions", 0, 1)
    predictions, problems = read_predictions(
        path, image_names=names_of(data, images), class_names=class_ids_of(data), image_sizes=sizes
    )
    progress("read predictions", 1, 1, f"{len(predictions)} records")
    truth = with_shapes(data, truth_of(data, images))
    by, told = choose_kind(kind, predictions, truth)
    classes = classes_of(data)
    options: dict[str, Any] = {}
    if by == "mask":
        truth, unread = drawn_masks(data, truth, progress)
        problems = pl.concat([problems, unread])
    if by == "keypoints":
        options["sigmas"], whence = sigmas_for(data, truth)
        told += f", {whence}"
        # An object without keypoints is one of which none is labelled: COCO ignores it.
        blank = pl.lit([0.0] * 3 * len(options["sigmas"]), dtype=pl.List(pl.Float64))
        truth = truth.with_columns(pl.col("xyv").fill_null(blank))
    if convention == "lvis":
        options["federation"] = federation_of(data, images, classes)
    if convention in ("voc2007", "voc2010") and by == "keypoints":
        raise UseError(f"--convention {convention}: VOC's average precision is not defined for keypoints")
    scores = evaluate_detection(
        truth, predictions, classes, images=images, split=split_of(data, split) or "all", by=by, max_dets=max_dets,
        image_properties=image_properties(data, images, progress), **options,
    )  # fmt: skip
    scores = replace(scores, problems=pl.concat([problems, scores.problems]), convention=f"{told}; {scores.convention}")
    return _led_by_voc(scores, convention.removeprefix("voc")) if convention.startswith("voc") else scores


def _led_by_voc(scores: ScoreFacts, year: str) -> ScoreFacts:
    """The same with VOC's mean first, as `mAP_voc<year>`."""
    name, new = f"mAP50_voc{year}", f"mAP_voc{year}"
    renamed = scores.scores.with_columns(pl.col("metric").replace({name: new}))
    rows = pl.concat([renamed.filter(metric=new), renamed.filter(pl.col("metric") != new)])
    told = f"VOC {year}: {new} leads, COCO's numbers beside; {scores.convention}"
    return replace(scores, scores=rows, convention=told)
