"""Lists of classes that lie beside masks or CSV files: names with an id, a colour, or neither.

Read are `classes.csv`, `class_dict.csv`, `_classes.csv` (columns name or class, id or pixel value, and r g b, with or
without a header), `labelmap.txt` (`name:r,g,b:parts:actions`), `label_colors.txt` (`r g b name`), `classes.txt` (a name
a line) and nnU-Net's `dataset.json` (`labels`: name -> id).
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from snellen.data.records import RecordError, Records, clean, integer, read_bytes

NAMES = (
    "classes.csv", "class_dict.csv", "_classes.csv", "labelmap.txt", "label_colors.txt", "classes.txt", "dataset.json",
)  # fmt: skip
NAME_COLUMNS = ("name", "class", "classname", "label", "labelname", "displayname")
ID_COLUMNS = ("id", "classid", "labelid", "value", "pixelvalue", "index")
COLOUR_COLUMNS = (("r", "red"), ("g", "green"), ("b", "blue"))
LABELMAP = r"(?P<name>[^:]+):(?P<rgb>\d+,\d+,\d+)(:.*)?"
LABEL_COLOURS = r"(?P<rgb>\d+\s+\d+\s+\d+)\s+(?P<name>.+)"
MOST = 65_536
"""Classes read from one list: more than an index mask can tell apart."""
Entry = tuple[int | None, str, str | None]
"""Id, name and #rrggbb, as far as the list says them."""


def find(*folders: Path) -> Path | None:
    """The first class list in `folders`."""
    return next((folder / name for folder in folders for name in NAMES if (folder / name).is_file()), None)


def read(records: Records, path: Path) -> None:
    """Declare the classes of the list at `path`. Where it gives no ids, the position counts; a bad row is a problem."""
    file = records.relative(path)
    try:
        text = read_bytes(path, records.root).decode("utf-8-sig", "replace")
        entries = list(_entries(records, path.name, file, text))
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}")
        return
    for position, (number, name, colour) in enumerate(entries[:MOST]):
        identity = position if number is None else number
        if identity in records.classes:
            message = f"class {identity} of {file} is {records.classes[identity][0]!r} and {name!r}; the first counts"
            records.problem("duplicate-id", file, message, value=identity)
            continue
        records.classes[identity] = (name, True)
        if colour:
            records.class_details[identity] = {"colour": colour}


def _entries(records: Records, kind: str, file: str, text: str) -> Iterator[Entry]:
    if kind == "dataset.json":
        yield from _json(text)
        return
    lines = text.splitlines()
    if kind.endswith(".csv"):
        yield from _csv(records, file, lines)
        return
    for row, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if kind == "classes.txt":
            yield None, clean(line.strip()), None
            continue
        found = re.fullmatch(LABELMAP if kind == "labelmap.txt" else LABEL_COLOURS, line.strip())
        colour = _colour(re.split(r"[,\s]+", found["rgb"])) if found else None
        if found and colour:
            yield None, clean(found["name"].strip()), colour
        else:
            records.problem("malformed-label", file, f"{file}:{row} is no name with a colour", row=row, value=line)


def _json(text: str) -> Iterator[Entry]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not JSON: {error}") from error
    labels = document.get("labels") if isinstance(document, dict) else None
    for name, value in labels.items() if isinstance(labels, dict) else ():
        number = integer(value)
        if number is not None and name != "ignore":
            yield number, clean(name), None


def _csv(records: Records, file: str, lines: list[str]) -> Iterator[Entry]:
    try:
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(lines), 1) if row]
    except csv.Error as error:
        raise RecordError(f"is not CSV: {error}") from error
    if not rows:
        return
    header = [re.sub(r"[\s_-]", "", cell.lower()) for cell in rows[0][1]]
    name = next((header.index(c) for c in NAME_COLUMNS if c in header), None)
    if name is not None:
        number = next((header.index(c) for c in ID_COLUMNS if c in header), None)
        colours = [next((header.index(c) for c in pair if c in header), None) for pair in COLOUR_COLUMNS]
        rows = rows[1:]
    else:
        name, number, colours = _headerless(rows[0][1])
    for row, cells in rows:
        wanted = [i for i in (name, number, *colours) if i is not None]
        colour = _colour([cells[i] for i in colours if i is not None]) if max(wanted) < len(cells) else None
        identity = integer(cells[number]) if number is not None and max(wanted) < len(cells) else None
        if (
            max(wanted) >= len(cells)
            or (number is not None and identity is None)
            or (None not in colours and not colour)
        ):
            records.problem("malformed-label", file, f"{file}:{row} lacks a name, an id or a colour", row=row)
            continue
        yield identity, clean(cells[name]), colour


def _headerless(cells: list[str]) -> tuple[int, int | None, list[int | None]]:
    """Columns of name, id and colour in a list without a header, as its first row shows them."""
    numeric = [integer(cell) is not None for cell in cells]
    if numeric[1:4] == [True] * 3:
        return 0, None, [1, 2, 3]
    if numeric[:2] == [True, False]:
        return 1, 0, [None] * 3
    return 0, 1 if numeric[1:2] == [True] else None, [None] * 3


def _colour(cells: list[str]) -> str | None:
    values = [integer(cell) for cell in cells]
    good = [value for value in values if value is not None and 0 <= value <= 255]
    return "#" + bytes(good).hex() if len(good) == 3 == len(values) else None
