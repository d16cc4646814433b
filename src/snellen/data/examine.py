"""`examine`: read a dataset's labels, then measure its image files as deep as asked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data import cache as measured_cache
from snellen.data.detect import read_dataset
from snellen.data.facts import CLASSES, LEDGER, PAIRS, PROBLEMS, DataFacts
from snellen.data.measuring import measure_images
from snellen.data.measuring_masks import measure_masks
from snellen.data.objects import objects
from snellen.data.records import Records
from snellen.facts import table
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent


def examine(
    path: str | Path,
    *,
    tier: Tier = Tier.PIXELS,
    cache: bool = True,
    cache_dir: Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    progress: Progress = silent,
) -> DataFacts:
    """Examine the dataset at `path`: its labels, from HEADERS on its files, at PIXELS one decode of every image.

    What was measured is kept in `cache_dir` (default: `$XDG_CACHE_HOME/snellen`) unless `cache` is false, so that a
    second run opens no image that has not changed, and a run that was stopped or killed is gone on with. `workers`
    threads or processes measure the images (None: one a core); with the `engine` `ray` it is cores of a Ray cluster,
    whose machines must all see `path`. Raises DatasetError when there is no dataset at `path`, UseError for an engine
    that is not there; a bad file or record is a row of the tables, never an exception.
    """
    progress("read labels", 0, 1)
    records = read_dataset(Path(path))
    progress("read labels", 1, 1)
    images = records.image_rows.frame()
    folder = (cache_dir or measured_cache.default_folder()) if cache else None
    mask_values = measure_masks(records, tier, folder, workers, progress)
    if tier >= Tier.HEADERS:
        measured = measure_images(records, tier, folder, workers, progress, engine)
        images = images.with_columns(measured.drop("image"))
    pairs, notes = table(PAIRS), list(records.notes)
    if tier >= Tier.PIXELS:
        from snellen.data.pairs import find_pairs  # loads numba, which no cheaper tier needs

        pairs, left_out = find_pairs(images, records.root, folder, progress)
        notes += left_out
    boxes, outlines = objects(records)
    problems = table(PROBLEMS, records.problem_rows())
    return DataFacts(
        root=str(records.root),
        format=records.format,
        task=records.task,
        images=images,
        pairs=pairs,
        boxes=boxes,
        outlines=outlines,
        keypoints=records.keypoints.frame(),
        masks=records.masks.frame(),
        mask_values=mask_values,
        problems=problems,
        classes=table(CLASSES, _classes(records, boxes)),
        ledger=pl.concat(
            [
                _images_left_out(images),
                _masks_left_out(records.masks.frame()),
                _boxes_left_out(boxes),
                _problems_left_out(problems),
                table(LEDGER, ({"record": "file", "file": f, "reason": why} for f, why in records.left_out.items())),
            ]
        ),
        tier_gathered=int(tier),
        splits=records.splits,
        keypoint_names=records.keypoint_names,
        keypoint_flip=records.keypoint_flip,
        skeleton=records.skeleton,
        notes=notes,
    )


def _classes(records: Records, boxes: pl.DataFrame) -> Iterable[dict[str, Any]]:
    """The declared classes by id, then those that are only in use by name."""
    names = {name for name, _ in records.classes.values()}
    for number, (name, declared) in sorted(records.classes.items()):
        details = records.class_details.get(number, {})
        yield {"class_id": number, "class_name": name, "declared": declared} | details
    used = set(boxes["class_name"].drop_nulls().unique()) - names
    for number, name in enumerate(sorted(used), max(records.classes, default=-1) + 1):
        yield {"class_id": number, "class_name": name, "declared": False}


def _ledger(rows: pl.DataFrame, record: pl.Expr, file: str, row: pl.Expr, reason: pl.Expr) -> pl.DataFrame:
    columns = [record.alias("record"), pl.col(file).alias("file"), row.alias("row"), "image", reason.alias("reason")]
    return rows.select(columns).cast({name: dtype for name, (dtype, _) in LEDGER.items()})


def _images_left_out(images: pl.DataFrame) -> pl.DataFrame:
    missing = ~pl.col("exists").fill_null(True)
    why = pl.when(missing).then(pl.lit("the file is missing")).otherwise(pl.col("error"))
    rows = images.filter(missing | pl.col("error").is_not_null())
    return _ledger(rows, pl.lit("image"), "image", pl.lit(None), why)


def _masks_left_out(masks: pl.DataFrame) -> pl.DataFrame:
    return _ledger(masks.filter(pl.col("error").is_not_null()), pl.lit("file"), "file", pl.lit(None), pl.col("error"))


def _boxes_left_out(boxes: pl.DataFrame) -> pl.DataFrame:
    why = (
        pl.when(pl.col("image").is_null())
        .then(pl.lit("its image is not listed, lies outside, or is another split's"))
        .when(pl.col("class_name").is_null())
        .then(pl.lit("its class is not declared"))
        .when(pl.col("x1").is_null() & (pl.col("box_stated") == pl.lit(False)))
        .then(pl.lit("its outline is empty or cannot be read, or its image's size is unknown"))
        .when(pl.col("x1").is_null())
        .then(pl.lit("its image's size is unknown"))
        .otherwise(pl.lit("its coordinates are not finite or enclose nothing"))
    )
    return _ledger(boxes.filter(~pl.col("usable")), pl.lit("box"), "file", pl.col("row"), why)


def _problems_left_out(problems: pl.DataFrame) -> pl.DataFrame:
    fatal = ("corrupt-annotation-file", "malformed-label", "orphan-label", "unsafe-path")
    record = pl.when(pl.col("row").is_null()).then(pl.lit("file")).otherwise(pl.lit("box"))
    return _ledger(problems.filter(pl.col("kind").is_in(fatal)), record, "file", pl.col("row"), pl.col("message"))
