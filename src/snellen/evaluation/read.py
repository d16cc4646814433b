"""Reads anybody's predictions: COCO results JSON, CSV with a header, or a folder of YOLO .txt files."""

import csv
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.coco_results import read_coco_results
from snellen.evaluation.facts import PROBLEMS
from snellen.evaluation.masks import read_segmentations
from snellen.evaluation.prediction_records import Prediction, PredictionsError, Refused, parse
from snellen.evaluation.records import MAX_VALUE
from snellen.evaluation.yolo_predictions import read_yolo_predictions
from snellen.facts import table

__all__ = ["PredictionsError", "read_predictions"]

MAX_BYTES = 2 * 1024**3
"""More is refused: reading takes about twice the file in memory, and ten times where JSON holds NaN."""
COLUMNS = ("image", "class_name", "score", *CORNERS)
SHAPES: dict[str, pl.DataType] = {
    "rings": pl.List(pl.List(pl.Float64)),
    "rle": pl.String(),
    "rle_height": pl.Int64(),
    "rle_width": pl.Int64(),
    "xyv": pl.List(pl.Float64),
}
_ALIASES = {
    "image": ("image", "filename", "file_name", "image_id"),
    "class_name": ("class_name", "class", "label", "category", "category_id"),
    "score": ("score", "confidence", "conf"),
    "x1": ("x1", "xmin"),
    "y1": ("y1", "ymin"),
    "x2": ("x2", "xmax"),
    "y2": ("y2", "ymax"),
}


def read_predictions(
    path: Path,
    *,
    image_names: Mapping[str, str] | None = None,
    class_names: Mapping[str, str] | None = None,
    image_sizes: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read `path` (.json: COCO results; .csv; a folder: YOLO) into (predictions, problems).

    Predictions have image, class_name, score, x1, y1, x2, y2, as `evaluate_detection` takes them, and the columns of
    SHAPES of which any record has one. `image_names` and `class_names` turn ids, as text, into the dataset's names;
    ids they lack stay as they are, and scoring reports them. `image_sizes` gives width and height by the dataset's
    names; YOLO needs them. Records that hold no prediction are left out and listed with their 1-based position:
    not-an-object, missing-field, not-a-number, no-image-size, and for run lengths without a box those of
    `read_segmentations`. Raises PredictionsError when the file as a whole cannot be read.
    """
    images, classes = image_names or {}, class_names or {}
    positions: array[int] = array("q")
    names: list[str] = []
    labels: list[str] = []
    numbers: array[float] = array("d")
    shapes: dict[str, dict[int, Any]] = {name: {} for name in SHAPES}
    problems: list[dict[str, Any]] = []
    for position, record in enumerate(_records(path, images, image_sizes or {}), 1):
        if isinstance(record, Refused):
            problems.append(_problem(position, *record))
            continue
        for name, value in record.shape.items():
            shapes[name][len(positions)] = value
        positions.append(position)
        names.append(images.get(record.image, record.image))
        labels.append(classes.get(record.class_name, record.class_name))
        numbers.append(record.score)
        numbers.extend(record.corners)
    measured = np.frombuffer(numbers, dtype=np.float64).reshape(-1, 5).copy()
    bad = _box_run_lengths(measured, shapes)
    problems += [_problem(positions[row], kind, names[row], value) for row, kind, value in bad]
    frame = pl.DataFrame(
        [
            pl.Series("image", names, dtype=pl.String),
            pl.Series("class_name", labels, dtype=pl.String),
            *(pl.Series(name, measured[:, i], dtype=pl.Float64) for i, name in enumerate(COLUMNS[2:])),
            *(
                pl.Series(name, [held.get(row) for row in range(len(names))], dtype=SHAPES[name])
                for name, held in shapes.items()
                if held
            ),
        ]
    )
    if bad:
        frame = frame[np.setdiff1d(np.arange(len(frame)), [row for row, _, _ in bad])]
    return frame, table(PROBLEMS, sorted(problems, key=lambda p: int(p["row"])))


def _records(
    path: Path, image_names: Mapping[str, str], image_sizes: Mapping[str, tuple[float, float]]
) -> Iterator[Prediction | Refused]:
    if path.is_dir():
        return read_yolo_predictions(path, image_names, image_sizes, MAX_BYTES)
    if not path.is_file():
        raise PredictionsError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise PredictionsError(f"{path}: {size / 1024**3:.1f} GiB is more than {MAX_BYTES / 1024**3:.0f} GiB; split it")
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_coco_results(path)
    if suffix == ".csv":
        return _csv_records(path)
    raise PredictionsError(
        f"{path}: expected .json (COCO results), .csv or a folder of YOLO .txt files, got {suffix or 'no suffix'}"
    )


def _box_run_lengths(measured: np.ndarray, shapes: dict[str, dict[int, Any]]) -> list[tuple[int, str, str]]:
    """Write the boxes of run lengths that state none into `measured`; return (row, kind, value) of the unreadable."""
    texts, heights, widths = (shapes[name] for name in ("rle", "rle_height", "rle_width"))
    rows = [row for row in texts if np.isnan(measured[row, 1:]).all()]
    if not rows:
        return []
    sizes = np.array([[heights[r] or 0, widths[r] or 0] for r in rows], dtype=np.int64)
    items = [{"size": size, "counts": texts[r]} for r, size in zip(rows, sizes.tolist(), strict=True)]
    masks, bad = read_segmentations(items, sizes)
    x, y, w, h = masks.boxes_xywh.T
    measured[rows, 1:] = np.column_stack([x, y, x + w, y + h])
    return [(rows[i], kind, value) for i, kind, value in bad]


def _problem(position: int, kind: str, image: str | None, value: object) -> dict[str, Any]:
    image = None if image is None else image[:MAX_VALUE]
    return {"kind": kind, "row": position, "image": image, "value": str(value)[:MAX_VALUE]}


def _csv_records(path: Path) -> Iterator[Prediction | Refused]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip().lower() for name in reader.fieldnames or []]
            found = {c: next((a for a in aliases if a in header), None) for c, aliases in _ALIASES.items()}
            absent = [column for column, name in found.items() if name is None]
            if absent:
                raise PredictionsError(
                    f"{path}: the header lacks {', '.join(absent)} (it has {', '.join(header[:20]) or 'nothing'}); "
                    f"expected {','.join(COLUMNS)}"
                )
            position = {column: header.index(str(name)) for column, name in found.items()}
            names = list(reader.fieldnames or [])
            for row in reader:
                yield parse({c: row.get(names[i]) for c, i in position.items()})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionsError(f"{path}: not CSV ({error})") from error
