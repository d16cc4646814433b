"""`evaluate --fix`: fit what is done to a run's predictions on the images that it was validated with."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.evaluation.pipeline import FILE, Gain, Pipeline, load_pipeline
from snellen.files import write_text, written_whole
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent
from snellen.verbs.evaluate import is_run, parts_of
from snellen.verbs.predict import DEFAULT_THRESHOLD
from snellen.verbs.scoring.truth import images_of, split_of, truth_of

NMS_IOUS = (0.4, 0.5, 0.6, 0.7)
"""Thresholds of suppression tried."""
MOST_IMAGES = 2_000
"""Images fitted on, evenly taken: their boxes, four times over, must fit in memory."""


@dataclass(frozen=True)
class PipelineFix:
    """What was fitted and where it was written; prints as a table of before and after."""

    path: Path
    pipeline: Pipeline | None
    """None: nothing was worth it, and nothing was written."""
    gains: tuple[Gain, ...]
    reason: str
    images: int
    kept: Path | None = None
    """Where the pipeline lies that was there before."""

    def __str__(self) -> str:
        if self.pipeline is None:
            lines = [f"no pipeline written to {self.path.parent}: {self.reason}"]
        else:
            old = f" (the one before is {self.kept.name})" if self.kept else ""
            lines = [f"{self.path} written{old}: {self.pipeline}"]
        if self.gains:
            lines.append(f"{self.images:,} validation images; fitted on one half and measured on the other, both ways:")
            lines.append(f"  {'':<9} {'before':>7} {'after':>7}")
            lines += [f"  {g.metric:<9} {g.before:>7.3f} {g.after:>7.3f}" for g in self.gains]
        if any(g.metric == "mean F1" for g in self.gains):
            lines.append(f"  (mean F1 over the classes; before: everything from {DEFAULT_THRESHOLD:g} on)")
        return "\n".join(lines)


def fit_pipeline(
    run: str | Path, data: str | Path, *, split: str | None = None, progress: Progress = silent
) -> PipelineFix:
    """Fit suppression, calibration and thresholds for the model of `run`, and write `RUN/pipeline.json`.

    Fitted on the images of `data` that the run was validated with, or on those of `split`, from which it must not have
    learned. Steps that win nothing on images they were not fitted on are left out; where none is left, nothing is
    written. A pipeline that is there is kept beside the new one. Raises UseError when `run` is no run, the dataset does
    not fit it, or nothing can be written.
    """
    from snellen.data.examine import examine
    from snellen.evaluation.pipeline_fit import fit_classification, fit_detections
    from snellen.training.predict import NMS_IOU, load_ledger, load_run, predict_each
    from snellen.training.splits import trained_on

    folder = Path(run)
    if not is_run(folder):
        raise UseError(f"{folder}: --fix mends the predictions of a run, and this is no run folder")
    facts = examine(Path(data), tier=Tier.HEADERS, progress=progress)
    model, recipe, class_names = load_run(folder)
    if recipe.task == "segmentation":
        raise UseError(f"{folder}: --fix mends scores of boxes and of image labels; this run draws class maps")
    if recipe.task != facts.task:
        raise UseError(f"{folder}: trained for {recipe.task}, and {facts.root} is a {facts.task} dataset")
    ledger = load_ledger(folder)
    images = parts_of(facts, recipe, ledger)[0] if split is None else images_of(facts, split)
    learned = (trained_on(ledger) or frozenset()) & set(images)
    if learned:
        raise UseError(
            f"--fix: the run learned from {len(learned)} of the {len(images)} images of split {split}, so that nothing "
            "can be fitted on them; leave out --split"
        )
    images = images[:: -(-len(images) // MOST_IMAGES)] if images else images
    ious = NMS_IOUS if facts.task == "detection" else (NMS_IOU,)
    files = {image: Path(facts.root) / image for image in images}
    found = predict_each(model, recipe, class_names, files, ious, progress=progress)
    name = split_of(facts, split) or "val"
    progress("fit", 0, 1)
    if facts.task == "detection":
        fitted = fit_detections(
            truth_of(facts, found[0].images), {iou: each.predictions for iou, each in zip(ious, found, strict=True)},
            class_names, images=found[0].images, own_iou=NMS_IOU, split=name, default_threshold=DEFAULT_THRESHOLD,
        )  # fmt: skip
    else:
        p, labels = _labelled(facts, found[0].images, found[0].probabilities, class_names)
        fitted = fit_classification(p, labels, class_names, split=name)
    progress("fit", 1, 1)
    path = folder / FILE
    kept = None if fitted.pipeline is None else write_pipeline(path, fitted.pipeline)
    return PipelineFix(path, fitted.pipeline, fitted.gains, fitted.reason, len(found[0].images), kept)


def _labelled(
    data: DataFacts, images: list[str], p: np.ndarray | None, class_names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) distributions and (N,) labels of the images whose label the run knows."""
    assert p is not None  # a classifier has probabilities
    labels = dict(data.images.select("image", "class_name").drop_nulls().iter_rows())
    position = {name: k for k, name in enumerate(class_names)}
    known = [i for i, image in enumerate(images) if labels.get(image) in position]
    rows = p[known].astype(np.float64)
    sums = np.maximum(rows.sum(axis=1, keepdims=True), 1e-12)
    return np.clip(rows / sums, 0, 1), np.array([position[labels[images[i]]] for i in known], dtype=np.int64)


def write_pipeline(path: Path, pipeline: Pipeline) -> Path | None:
    """Write `pipeline` whole or not at all; return where the one before lies now, None where there was none.

    Raises UseError when nothing can be written.
    """
    try:
        kept = _kept(path, pipeline) if path.exists() or path.is_symlink() else None
        write_text(path, pipeline.model_dump_json(indent=1) + "\n", durable=True)
    except OSError as error:
        raise UseError(f"{path}: cannot be written ({error.strerror or error})") from error
    return kept


def _kept(path: Path, new: Pipeline) -> Path | None:
    """Copy what lies at `path` beside it, before its place is taken; None when it is the same pipeline."""
    if _is(path, new):
        return None
    number = 1
    while (place := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists() or place.is_symlink():
        number += 1
    with written_whole(place) as temporary:
        shutil.copyfile(path, temporary)
    return place


def _is(path: Path, pipeline: Pipeline) -> bool:
    try:
        return load_pipeline(path) == pipeline
    except UseError:
        return False  # whatever it is, it is kept
