"""CSV boxes: a row a box. Columns are known by their header, in any order; without one, `path,x1,y1,x2,y2,class`.

* plain: image, class, xmin, ymin, xmax, ymax in pixels, and width and height where given; also left, top, right,
  bottom. A file whose corners all lie in 0..1 is taken as fractions of the image.
* Open Images: ImageID, LabelName, XMin, XMax, YMin, YMax as fractions; IsOccluded, IsTruncated; IsGroupOf is a crowd.
  Names of labels stand in a class-descriptions CSV beside.
* without a header, as Keras-RetinaNet writes it: a row with nothing but the path is an image without objects.

Several files are splits by their names. Problem kinds of its own: none beyond those of `records`.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from snellen.data.readers import class_lists
from snellen.data.readers.image_files import ImageFiles
from snellen.data.records import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    RecordError,
    Records,
    clean,
    integer,
    leads_out,
    number,
    well_formed,
)

COLUMNS = {
    "image": ("image", "filename", "imageid", "imagename", "imagepath", "imagefile", "path", "file", "filepath", "img"),
    "class": ("class", "label", "labelname", "classname", "category", "categoryname", "name", "classid", "categoryid"),
    "x1": ("xmin", "x1", "left", "bboxxmin"),
    "y1": ("ymin", "y1", "top", "bboxymin"),
    "x2": ("xmax", "x2", "right", "bboxxmax"),
    "y2": ("ymax", "y2", "bottom", "bboxymax"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "occluded": ("isoccluded", "occluded"),
    "truncated": ("istruncated", "truncated"),
    "crowd": ("isgroupof", "iscrowd", "crowd", "groupof"),
    "split": ("split", "subset", "set"),
}
"""Meaning -> headers, lower case without spaces, `_` and `-`."""
SIDES = ("x1", "y1", "x2", "y2")
HEADERLESS = {"image": 0, "x1": 1, "y1": 2, "x2": 3, "y2": 4, "class": 5}
DESCRIPTIONS = "class-descriptions*.csv"
ONLY_CLASS = "object"
"""Class of a table without a column of classes."""
LOOKED_AT = 20
"""Lines that decide whether a file without a header is a table of boxes."""
MAX_LINE = 1 << 16
"""Characters of a line that are read; a longer one is no row of a table."""


@dataclass(frozen=True)
class Table:
    """A CSV of boxes."""

    path: Path
    delimiter: str
    columns: dict[str, int] = field(hash=False)
    """Meaning -> position."""
    header: bool
    open_images: bool


def recognise(path: Path) -> Table | None:
    """The table at `path` when its first line tells that it holds boxes, else None."""
    try:
        with _opened(path) as lines:
            first = [
                line for _, line in zip(range(LOOKED_AT), iter(lambda: lines.readline(MAX_LINE), ""), strict=False)
            ]
    except (OSError, RecordError):
        return None
    delimiter = max(",;\t", key=(first or [""])[0].count)
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(csv.reader(first, delimiter=delimiter))
    cells = rows[0] if rows else []
    names = [re.sub(r"[\s_-]", "", cell.lower()) for cell in cells]
    columns = {meaning: names.index(n) for meaning, known in COLUMNS.items() for n in reversed(known) if n in names}
    if "class" not in columns:
        other = [i for i, name in enumerate(names) if i not in columns.values() and name.endswith(("type", "class"))]
        columns |= {"class": other[0]} if len(other) == 1 else {}
    if {"image", *SIDES} <= columns.keys():
        return Table(path, delimiter, columns, True, "imageid" in names and "labelname" in names)
    if any(_is_box(row) for row in rows) and all(_is_box(row) or _is_background(row) for row in rows if row):
        return Table(path, delimiter, HEADERLESS, False, False)
    return None


def _is_box(cells: list[str]) -> bool:
    """Whether a row without a header is `path,x1,y1,x2,y2,class`."""
    numbers = len(cells) == 6 and all(number(cell) is not None for cell in cells[1:5])
    return numbers and bool(cells[5].strip()) and _is_image(cells[0])


def _is_background(cells: list[str]) -> bool:
    """Whether a row without a header is a path alone."""
    return len(cells) == 6 and not any(cell.strip() for cell in cells[1:]) and _is_image(cells[0])


def _is_image(name: str) -> bool:
    return Path(name.strip()).suffix.lower() in IMAGE_SUFFIXES


def find(folder: Path) -> list[Table]:
    """The tables of a folder, of its annotations/ or of its split folders."""
    for places in ([folder], [folder / "annotations"], [folder / name for name in SPLIT_NAMES]):
        files = [p for place in places if place.is_dir() for p in sorted(place.glob("*.csv")) if p.is_file()]
        found = [table for path in files if (table := recognise(path))]
        if found:
            return found
    return []


def read(root: Path, tables: list[Table]) -> Records:
    """Read tables that lie below `root`. Corners are kept as written: NaN, negative and outside alike."""
    records = Records(root, "csv", "detection")
    splits = {table.path: _split_of(table.path) if len(tables) > 1 else None for table in tables}
    if None in splits.values() and not all("split" in table.columns for table in tables):
        records.notes.append("no split declared")
    records.splits = list(dict.fromkeys(split for split in splits.values() if split))
    described = _descriptions(records, tables)
    images = ImageFiles(root)
    for table in tables:
        _Reading(records, table, splits[table.path], described, images).read()
    return records


def _split_of(path: Path) -> str | None:
    words = (*re.findall(r"[a-z]+", path.stem.lower()), path.parent.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def _opened(path: Path) -> TextIO:
    if not path.is_file():  # a pipe would block
        raise RecordError("is no regular file: it was not opened")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _descriptions(records: Records, tables: list[Table]) -> dict[str, str]:
    """Label -> name, of Open Images; a class list is declared too. Empty where there is neither."""
    folders = dict.fromkeys((records.root, *(table.path.parent for table in tables)))
    for path in (p for folder in folders for p in sorted(folder.glob(DESCRIPTIONS))):
        with _opened(path) as lines:
            rows = [row for row in _rows(records, records.relative(path), lines, ",") if len(row[1]) >= 2]
        names = {cells[0].strip(): clean(cells[1].strip()) for _, cells in rows if cells[0] != "LabelName"}
        records.classes = {position: (name, True) for position, name in enumerate(dict.fromkeys(names.values()))}
        return names
    if (listing := class_lists.find(*folders)) and recognise(listing) is None:
        class_lists.read(records, listing)
        return {name: name for name, _ in records.classes.values()}
    return {}


def _rows(records: Records, file: str, lines: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty; a line that is no row is a problem."""

    def bounded() -> Iterator[str]:
        while line := lines.readline(MAX_LINE):
            yield line

    reader = csv.reader(bounded(), delimiter=delimiter)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            message = f"{file}:{reader.line_num} is no row: {error}"
            records.problem("malformed-label", file, message, row=reader.line_num)
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


class _Reading:
    """One table being read."""

    def __init__(
        self, records: Records, table: Table, split: str | None, described: dict[str, str], images: ImageFiles
    ) -> None:
        self.records = records
        self.table = table
        self.split = split
        self.described = described
        self.images = images
        self.file = records.relative(table.path)
        self.fractions = table.open_images
        self.keys: dict[str, str | None] = {}
        """Image as named -> key; None where it cannot be used."""
        self.boxes: tuple[list[Any], ...] = tuple([] for _ in range(8))
        """Image, row, class, corners and usable of each box."""
        self.flags: dict[str, list[Any]] = {n: [] for n in ("occluded", "truncated", "crowd") if n in table.columns}

    def read(self) -> None:
        if leads_out(self.records.root, self.table.path):
            message = f"{self.file} is a link that leads out of the dataset's folder: it was not followed"
            self.records.problem("corrupt-annotation-file", self.file, message)
            return
        if not self.fractions and self._all_fractions():
            self.fractions = True
            self.records.notes.append(f"the corners in {self.file} all lie in 0..1: taken as fractions of the image")
        with _opened(self.table.path) as lines:
            for row, cells in self._body(lines):
                self._row(row, cells)
        self._store()

    def _body(self, lines: TextIO) -> Iterator[tuple[int, list[str]]]:
        rows = _rows(self.records, self.file, lines, self.table.delimiter)
        if self.table.header:
            next(rows, None)
        return rows

    def _all_fractions(self) -> bool:
        """Whether every corner that can be read lies in 0..1, of one side at least above 0."""
        largest = 0.0
        with _opened(self.table.path) as lines:
            quiet = Records(self.records.root, "csv", "detection")
            for _, cells in _rows(quiet, self.file, lines, self.table.delimiter):
                for side in SIDES:
                    value = number(self._cell(cells, side))
                    if value is not None and not 0 <= value <= 1:
                        return False
                    largest = max(largest, value or 0.0)
        return largest > 0

    def _cell(self, cells: list[str], meaning: str) -> str:
        position = self.table.columns.get(meaning, len(cells))
        return cells[position].strip() if position < len(cells) else ""

    def _row(self, row: int, cells: list[str]) -> None:
        records, name = self.records, self._cell(cells, "image")
        if not name:
            records.problem("malformed-label", self.file, f"{self.file}:{row} names no image", row=row, value=cells)
            return
        key = self.keys[name] if name in self.keys else self._image(row, name, cells)
        written = [self._cell(cells, side) for side in SIDES]
        label = self._cell(cells, "class")
        if not any(written) and not label:
            return  # an image without objects
        corners = [number(text) for text in written]
        if None in corners or ("class" in self.table.columns and not label):
            message = f"{self.file}:{row} lacks a class or one of four numbers"
            records.problem("malformed-label", self.file, message, row=row, image=key, value=cells)
            return
        label = label or ONLY_CLASS
        known = self.described.get(label) if self.described else clean(label)
        if known is None:
            message = f"{self.file}:{row} has the label {label!r}, which the class list lacks"
            records.problem("malformed-label", self.file, message, row=row, image=key, value=label)
        if self.fractions:
            size = self.images.size(records.root / key) if key else None
            sides = size * 2 if size else (None,) * 4
            corners = [c * s if c is not None and s else None for c, s in zip(corners, sides, strict=True)]
        values = (key, row, known, *corners, well_formed(*corners) and key is not None and known is not None)
        for column, value in zip(self.boxes, values, strict=True):
            column.append(value)
        for flag, column in self.flags.items():
            column.append(_flag(self._cell(cells, flag)))

    def _store(self) -> None:
        """Hand over the boxes of the table, column by column."""
        columns = dict(zip(("image", "row", "class_name", *SIDES, "usable"), self.boxes, strict=True))
        count = len(columns["row"])
        crowd = [bool(value) for value in self.flags.pop("crowd", [False] * count)]
        self.records.boxes.extend({**columns, **self.flags, "crowd": crowd, "file": [self.file] * count})

    def _image(self, row: int, name: str, cells: list[str]) -> str | None:
        records = self.records
        try:
            key: str | None = records.relative(self.images.find(self.table.path.parent, name, self.split))
        except RecordError as error:
            message = f"{self.file}:{row}: {error}; it was not followed"
            records.problem("unsafe-path", self.file, message, row=row, value=name)
            key = None
        own = SPLIT_NAMES.get(self._cell(cells, "split").lower(), self.split)
        if key is not None and not records.image(
            key, split=own, label_file=self.file, image_id=clean(name) if self.table.open_images else None,
            declared_width=integer(self._cell(cells, "width")) or None,
            declared_height=integer(self._cell(cells, "height")) or None,
        ) and records.said(key, "split") != own:  # fmt: skip
            key = None
        self.keys[name] = key
        return key


def _flag(text: str) -> bool | None:
    """Open Images writes 1, 0 and -1 for unknown."""
    return {"1": True, "true": True, "0": False, "false": False}.get(text.lower())
