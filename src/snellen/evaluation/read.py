"""Reads anybody's predictions: COCO results JSON, or CSV with a header."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.errors import UseError
from snellen.evaluation.facts import PROBLEMS
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table

MAX_BYTES = 2 * 1024**3
"""Larger files are refused: reading takes about ten times the file in memory."""
COLUMNS = ("image", "class_name", "score", *CORNERS)
_ALIASES = {
    "image": ("image", "filename", "file_name", "image_id"),
    "class_name": ("class_name", "class", "label", "category", "category_id"),
    "score": ("score", "confidence", "conf"),
    "x1": ("x1", "xmin"),
    "y1": ("y1", "ymin"),
    "x2": ("x2", "xmax"),
    "y2": ("y2", "ymax"),
}


class PredictionsError(UseError):
    """A file of predictions that cannot be used; the message names file, place and remedy."""


def read_predictions(
    path: Path, *, image_names: Mapping[str, str] | None = None, class_names: Mapping[str, str] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read `path` (.json: COCO results; .csv) into (predictions, problems).

    Predictions have image, class_name, score, x1, y1, x2, y2, as `evaluate_detection` takes them. `image_names` and
    `class_names` turn ids, as text, into the dataset's names; ids they lack stay as they are, and scoring reports
    them. COCO boxes are x, y, width, height. Records that hold no prediction are left out and listed with their
    1-based position: not-an-object, missing-field, not-a-number. Raises PredictionsError when the file as a whole
    cannot be read.
    """
    if not path.is_file():
        raise PredictionsError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise PredictionsError(f"{path}: {size / 1024**3:.1f} GiB is more than {MAX_BYTES / 1024**3:.0f} GiB; split it")
    suffix = path.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise PredictionsError(f"{path}: expected .json (COCO results) or .csv, got {suffix or 'no suffix'}")
    records = _coco_records(path) if suffix == ".json" else _csv_records(path)
    rows: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        row, kind = _parse(record)
        if row is None:
            image = str(record.get("image"))[:MAX_VALUE] if isinstance(record, Mapping) else None
            problems.append({"kind": kind, "row": number, "image": image, "value": str(record)[:MAX_VALUE]})
            continue
        row["image"] = (image_names or {}).get(row["image"], row["image"])
        row["class_name"] = (class_names or {}).get(row["class_name"], row["class_name"])
        rows.append(row)
    dtypes = {c: pl.String() if c in ("image", "class_name") else pl.Float64() for c in COLUMNS}
    return pl.DataFrame(rows, schema=dtypes), table(PROBLEMS, problems)


def _coco_records(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise PredictionsError(f"{path}: not JSON ({error})") from error
    if isinstance(document, dict) and isinstance(document.get("annotations"), list):
        document = document["annotations"]
    if not isinstance(document, list):
        raise PredictionsError(f"{path}: expected a list of results, got {type(document).__name__}")
    return [_from_coco(record) for record in document]


def _from_coco(record: Any) -> Any:
    """The record with our column names and corners; anything odd is passed on for `_parse` to name."""
    if not isinstance(record, dict):
        return record
    named = {"image": record.get("image_id"), "class_name": record.get("category_id"), "score": record.get("score")}
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        return named
    x, y, w, h = (_number(v) for v in box)
    if x is None or y is None or w is None or h is None:
        return {**named, **dict(zip(CORNERS, box, strict=True))}
    return {**named, "x1": x, "y1": y, "x2": x + w, "y2": y + h}


def _csv_records(path: Path) -> list[Any]:
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
            return [{c: row.get(names[i]) for c, i in position.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionsError(f"{path}: not CSV ({error})") from error


def _parse(record: Any) -> tuple[dict[str, Any] | None, str]:
    """Return (row, "") or (None, kind of problem). NaN and infinity pass: scoring reports them."""
    if not isinstance(record, Mapping):
        return None, "not-an-object"
    if any(record.get(column) in (None, "") for column in COLUMNS):
        return None, "missing-field"
    numbers = {column: _number(record[column]) for column in ("score", *CORNERS)}
    if any(value is None for value in numbers.values()):
        return None, "not-a-number"
    return {"image": str(record["image"]), "class_name": str(record["class_name"]), **numbers}, ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
