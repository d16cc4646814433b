"""`predict`: a trained model on images that are not part of a dataset."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from snellen.data.records import IMAGE_SUFFIXES
from snellen.errors import UseError
from snellen.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from snellen.evaluation.pipeline import Pipeline
    from snellen.models.segmentation.dense_crf import CrfSettings
    from snellen.training.predict import Predicted
    from snellen.training.recipe import Recipe


DEFAULT_THRESHOLD = 0.25
"""Detections from this score on are shown where neither the caller nor a pipeline says otherwise."""
MIN_SCORE = 0.02
"""Raw scores from here on are calibrated: what is shown is decided afterwards."""


def predict(
    run: str | Path,
    images: Iterable[str | Path],
    *,
    threshold: float | None = None,
    pipeline: bool = True,
    masks: str | Path | None = None,
    crf: "CrfSettings | bool" = False,
    draw: str | Path | None = None,
    coco: str | Path | None = None,
    every: float = 1.0,
    key_frames: bool = False,
    seconds: float | None = None,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Run the model of the run folder `run` on images, folders of images, videos and cameras (`camera:0`).

    Returns one row per prediction: image, class_name, score 0..1, x1, y1, x2, y2 (pixels of the EXIF-applied image;
    null in classification), and error: why an image could not be read, in a row of its own. Where the run has a
    `pipeline.json` (`evaluate --fix` writes it), it is applied unless `pipeline` is false: its suppression, its
    calibration of the scores, its thresholds. Detections below `threshold` are left out; None: below the pipeline's,
    else below 0.25. Raises UseError when there is no run or no image, or the pipeline cannot be used.

    A run that segments returns one row an image and class: image, class_name, share of its pixels, mask, error; `masks`
    is a folder for the class maps (PNG), `crf` refines them by a dense CRF, with its default settings or given ones.

    `draw` is a new folder for pictures with the predictions in them, `coco` a file for detections as COCO JSON. Of
    videos and cameras a frame `every` so many seconds is taken, with `key_frames` only where the picture has changed,
    for at most `seconds`; a frame's image is `clip.mp4#t=12.500`.
    """
    from snellen.training.predict import load_run
    from snellen.verbs.predict_files import Keeper, of_stream

    streams, files = _sources(images)
    model, recipe, class_names = load_run(Path(run))
    if recipe.task == "segmentation" and (draw or coco):
        raise UseError(f"{run}: a segmenter's pictures are its class maps: name a folder with masks")
    if recipe.task != "segmentation" and (masks is not None or crf):
        raise UseError(f"{run}: masks and a CRF are for runs that segment; this one was trained for {recipe.task}")
    if recipe.task != "detection" and coco:
        raise UseError(f"{run}: COCO JSON holds detections; this run was trained for {recipe.task}")
    if coco is not None and Path(coco).exists():
        raise UseError(f"{coco}: is there already; name a file that is not")

    def predictor(named: Mapping[str, Path]) -> pl.DataFrame:
        if recipe.task == "segmentation":
            from snellen.models.segmentation.dense_crf import CrfSettings
            from snellen.verbs.predict_maps import predict_class_maps

            return predict_class_maps(
                model, recipe, class_names, named, masks=Path(masks) if masks is not None else None,
                crf=CrfSettings() if crf is True else crf or None, progress=progress,
            )  # fmt: skip
        return _table(model, recipe, class_names, named, steps, threshold, progress)

    steps = pipeline_of(run) if pipeline and recipe.task != "segmentation" else None
    keeper = Keeper(class_names, Path(draw) if draw else None, measure=coco is not None)
    tables = []
    if files:
        tables.append(predictor(files))
        keeper.keep(tables[0], files)
    for stream in streams:
        tables += of_stream(
            stream, predictor, keeper, every=every, key_frames=key_frames, seconds=seconds, progress=progress
        )
    table = pl.concat(tables)
    if coco is not None:
        from snellen.training.coco_json import write_coco

        write_coco(Path(coco), table, keeper.sizes, class_names)
    return table


def _sources(images: Iterable[str | Path]) -> tuple[list[str], dict[str, Path]]:
    """Videos and cameras, and the image files by their keys. Raises UseError when there is neither."""
    from snellen.data.records import clean
    from snellen.data.video import is_stream

    named = list(images)
    streams = [str(source) for source in named if is_stream(source)]
    files = [file for source in named if not is_stream(source) for file in image_files(Path(source))]
    if not files and not streams:
        raise UseError("no image to predict on: name image files, folders that hold some, videos or camera:0")
    return streams, {clean(str(file)): file for file in files}


def _table(
    model: "nn.Module", recipe: "Recipe", class_names: list[str], files: Mapping[str, Path],
    steps: "Pipeline | None", threshold: float | None, progress: Progress,
) -> pl.DataFrame:  # fmt: skip
    """Predictions of classes or boxes, and a row for each image that could not be read."""
    from snellen.training.predict import NMS_IOU
    from snellen.training.predict import predict as run_model

    if steps is None:
        lowest = DEFAULT_THRESHOLD if threshold is None else threshold
        found = run_model(model, recipe, class_names, files, min_score=lowest, progress=progress)
        table = found.predictions
    else:
        found = run_model(
            model, recipe, class_names, files, min_score=MIN_SCORE, nms_iou=steps.nms_iou or NMS_IOU, progress=progress
        )
        table = _mended(found, steps, threshold)
    failed = [{"image": image, "error": reason} for image, reason in found.unreadable.items()]
    table = table.with_columns(pl.lit(None, pl.String).alias("error"))
    return pl.concat([table, pl.DataFrame(failed, schema={"image": pl.String, "error": pl.String})], how="diagonal")


def pipeline_of(run: str | Path) -> "Pipeline | None":
    """The pipeline of a run; None when it has none. Raises UseError when it cannot be read, or is another run's."""
    from snellen.evaluation.pipeline import FILE, load_pipeline
    from snellen.training.run_folder import RunFolder, read_model

    path = Path(run) / FILE
    if not path.exists() and not path.is_symlink():
        return None
    found = load_pipeline(path)
    recipe, class_names, _ = read_model(RunFolder(Path(run)))
    if found.task != recipe.task or list(found.class_names) != list(class_names):
        raise UseError(
            f"{path}: made for {found.task} of {len(found.class_names)} classes ({found.class_names[0]!r} ...), which "
            f"are not this run's; fit one with `snellen evaluate {run} --data DATA --fix`, or use --no-pipeline"
        )
    return found


def _mended(found: "Predicted", steps: "Pipeline", threshold: float | None) -> pl.DataFrame:
    """The predictions after the pipeline."""
    if found.probabilities is None:
        return steps.detections(found.predictions, threshold, DEFAULT_THRESHOLD)
    p = found.probabilities.astype(np.float64)
    p = steps.probabilities(np.clip(p, 0, 1))
    best = p.argmax(axis=1)
    return found.predictions.with_columns(
        pl.Series("class_name", [steps.class_names[k] for k in best.tolist()], dtype=pl.String),
        pl.Series("score", p[np.arange(len(p)), best], dtype=pl.Float64),
    )


def image_files(path: Path) -> list[Path]:
    """The image `path`, or the images below it. Raises UseError when there is no such thing."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not path.is_file():
        raise UseError(f"{path}: no such image or folder")
    return [path]
