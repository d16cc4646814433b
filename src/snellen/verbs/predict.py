"""`predict`: a trained model on images that are not part of a dataset."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from snellen.data.records import IMAGE_SUFFIXES
from snellen.errors import UseError
from snellen.progress import Progress, silent


def predict(
    run: str | Path, images: Iterable[str | Path], *, threshold: float = 0.25, progress: Progress = silent
) -> pl.DataFrame:
    """Run the model of the run folder `run` on images and folders of images.

    Returns one row per prediction: image, class_name, score 0..1, x1, y1, x2, y2 (pixels of the EXIF-applied image;
    null in classification), and error: why an image could not be read, in a row of its own. Detections below
    `threshold` are left out. Raises UseError when there is no run or no image.
    """
    from snellen.training.predict import load_run
    from snellen.training.predict import predict as run_model

    files = [file for path in images for file in _files(Path(path))]
    if not files:
        raise UseError("no image to predict on: name image files, or folders that hold some")
    model, recipe, class_names = load_run(Path(run))
    found = run_model(model, recipe, class_names, files, min_score=threshold, progress=progress)
    failed = [{"image": image, "error": reason} for image, reason in found.unreadable.items()]
    table = found.predictions.with_columns(pl.lit(None, pl.String).alias("error"))
    return pl.concat([table, pl.DataFrame(failed, schema={"image": pl.String, "error": pl.String})], how="diagonal")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not path.is_file():
        raise UseError(f"{path}: no such image or folder")
    return [path]
