"""Finds what a file or folder of predictions holds, and scores it as that."""

from collections.abc import Sequence
from pathlib import Path

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.geometry import By
from snellen.progress import Progress, silent
from snellen.verbs.scoring.labels import is_label_table, score_labels, score_several_labels
from snellen.verbs.scoring.maps import score_maps
from snellen.verbs.scoring.objects import Convention, score_objects
from snellen.verbs.scoring.panoptic import score_panoptic


def score_predictions(
    path: Path,
    data: DataFacts,
    *,
    split: str | None = None,
    kind: By | None = None,
    convention: Convention = "coco",
    max_dets: Sequence[int] | None = None,
    progress: Progress = silent,
) -> ScoreFacts:
    """Score the predictions at `path` on the images of `split` (None: `val`, or all where none is declared).

    Of a dataset of objects: detections as `read_predictions` takes them, or a CSV with a column a class. Of labelled
    images: such a CSV, or one of image and label. Of masks: a folder of PNG masks, or COCO's panoptic JSON. `kind`,
    `convention` and `max_dets` are for detections. Raises UseError when the predictions cannot be read, or do not fit
    the dataset.
    """
    if not path.exists():
        raise UseError(f"{path}: no such file or folder of predictions")
    detections = data.task == "detection" and not is_label_table(path, data)
    if detections:
        return score_objects(
            path, data, split=split, kind=kind, convention=convention, max_dets=max_dets, progress=progress
        )
    asked = {"--kind": kind, "--convention": None if convention == "coco" else convention, "--max-dets": max_dets}
    for option, value in asked.items():
        if value is not None:
            raise UseError(f"{option}: is for detections, and {path} is scored otherwise ({data.task} dataset)")
    if data.task == "detection":
        return score_several_labels(path, data, split, progress)
    if data.task == "classification":
        return score_labels(path, data, split, progress)
    if data.format == "panoptic":
        return score_panoptic(path, data, split, progress)
    if not path.is_dir():
        raise UseError(f"{path}: the masks of {data.root} are scored against a folder of PNG masks, one an image")
    return score_maps(path, data, split, progress)
