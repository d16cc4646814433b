"""A CSV of image labels: `image,label`, or `image,<class>,<class> ...` with a number a class. One row an image."""

import csv
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.evaluation.prediction_records import PredictionsError, number
from snellen.evaluation.read import MAX_BYTES
from snellen.evaluation.records import MAX_VALUE
from snellen.progress import Progress

IMAGE = ("image", "filename", "file_name", "image_id", "path", "id")
LABEL = ("label", "class_name", "class", "category", "prediction", "predicted")
MOST_NUMBERS = 250_000_000
"""Cells kept, 2 GB: more is refused."""


@dataclass
class LabelRows:
    """What the rows say, and what could not be read."""

    images: list[str] = field(default_factory=list)
    """The dataset's names, each once."""
    rows: list[int] = field(default_factory=list)
    """1-based row of each, the header not counted."""
    labels: list[str] | None = None
    """One class an image; None where there are numbers."""
    numbers: NDArray[np.float64] | None = None
    """(images, columns); NaN and infinity as the file has them."""
    columns: list[int] = field(default_factory=list)
    """The class that each column of `numbers` is of."""
    problems: list[dict[str, Any]] = field(default_factory=list)
    """unknown-image, repeated-image, missing-field, not-a-number."""
    not_read: list[str] = field(default_factory=list)
    """Columns that are neither image, label nor class."""
    absent: list[str] = field(default_factory=list)
    """Classes without a column."""


def header_of(path: Path) -> list[str]:
    """The header's names, as written. Raises PredictionsError when there is none."""
    try:
        if not path.is_file() or path.suffix.lower() != ".csv":
            raise PredictionsError(f"{path}: expected a .csv file of image,label or image,<class>,<class> ...")
        if path.stat().st_size > MAX_BYTES:
            raise PredictionsError(f"{path}: more than {MAX_BYTES / 1024**3:.0f} GiB; split it")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [name.strip() for name in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionsError(f"{path}: not CSV ({error})") from error


def class_columns(header: Sequence[str], class_names: Sequence[str], ids: Mapping[str, str]) -> dict[int, int]:
    """Column -> position in `class_names`, of the columns that are called by a class or its id; the first counts."""
    position = {name: k for k, name in enumerate(class_names)}
    found: dict[int, int] = {}
    image = image_column(header)
    for column, name in enumerate(header):
        k = position.get(name, position.get(ids.get(name, "")))
        if k is not None and column != image and k not in found.values():
            found[column] = k
    return found


def image_column(header: Sequence[str]) -> int | None:
    """The column that names the image."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in IMAGE if name in lower), None)


def read_label_rows(
    path: Path,
    class_names: Sequence[str],
    ids: Mapping[str, str],
    image_names: Mapping[str, str],
    scored: Sequence[str],
    progress: Progress,
) -> LabelRows:
    """Read `path`; `ids` are class ids as text, `image_names` what an image may be called, `scored` those that count.

    Raises PredictionsError when the file as a whole is no such CSV.
    """
    header = header_of(path)
    image = image_column(header)
    columns = class_columns(header, class_names, ids)
    lower = [name.lower() for name in header]
    label = next((lower.index(name) for name in LABEL if name in lower), None) if not columns else None
    if image is None or (label is None and not columns):
        raise PredictionsError(
            f"{path}: the header ({', '.join(header[:20]) or 'nothing'}) is neither image,label nor image and a column "
            f"for each class ({', '.join(class_names[:5])}{' ...' if len(class_names) > 5 else ''})"
        )
    found = LabelRows(labels=None if columns else [])
    read = {image, label, *columns}
    found.not_read = [name for i, name in enumerate(header) if i not in read]
    if columns:
        found.columns = list(columns.values())
        found.absent = [name for k, name in enumerate(class_names) if k not in columns.values()]
    cells: array[float] = array("d")
    known, seen, size, done = set(scored), set[str](), max(path.stat().st_size, 1), 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            next(reader, None)
            for row, values in enumerate(reader, 1):
                done += sum(map(len, values)) + len(values)
                if row % 10_000 == 0:
                    progress("read predictions", min(done, size), size)
                if values:
                    _take(found, row, values, image, label, columns, image_names, known, seen, cells)
                if len(cells) > MOST_NUMBERS:
                    raise PredictionsError(f"{path}: more than {MOST_NUMBERS:,} numbers; split it")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionsError(f"{path}: not CSV ({error})") from error
    progress("read predictions", size, size)
    if columns:
        found.numbers = np.frombuffer(cells, dtype=np.float64).reshape(-1, len(columns)).copy()
    if found.labels is not None:
        found.labels = [name if name in class_names else ids.get(name, name) for name in found.labels]
    return found


def _take(
    found: LabelRows,
    row: int,
    values: Sequence[str],
    image: int,
    label: int | None,
    columns: Mapping[int, int],
    image_names: Mapping[str, str],
    known: set[str],
    seen: set[str],
    cells: "array[float]",
) -> None:
    """Add one row to `found` and its numbers to `cells`, or the reason why not to the problems."""

    def refuse(kind: str, name: str | None, value: object) -> None:
        found.problems.append(
            {"kind": kind, "row": row, "image": name and name[:MAX_VALUE], "value": str(value)[:MAX_VALUE]}
        )

    wanted = max(image, -1 if label is None else label, *columns)
    if len(values) <= wanted:
        short = values[image].strip() if image < len(values) else None
        refuse("missing-field", image_names.get(short, short) if short else None, ",".join(values))
        return
    name = image_names.get(values[image].strip(), values[image].strip())
    if name not in known:
        refuse("unknown-image", name, name)
    elif name in seen:
        refuse("repeated-image", name, ",".join(values))
    elif label is not None and found.labels is not None:
        found.labels.append(values[label].strip())
        found.images.append(name)
        found.rows.append(row)
        seen.add(name)
    else:
        read = {column: number(values[column]) for column in columns}
        numbers = [value for value in read.values() if value is not None]
        if len(numbers) < len(columns):
            odd = next(values[column] for column, value in read.items() if value is None)
            refuse("not-a-number" if odd.strip() else "missing-field", name, odd)
            return
        cells.extend(numbers)
        found.images.append(name)
        found.rows.append(row)
        seen.add(name)
