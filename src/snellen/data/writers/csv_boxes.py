"""Plain CSV: labels.csv, a row a box, and classes.csv; images keep their paths.

Precision: corners as they are, with all their digits, and read back exactly. An image without boxes is a row with empty
corners. Outlines, keypoints and ids of annotations cannot be held, nor white space around names.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import RESERVED, Row, Written, at, class_index, objects, place_images, plain, unusable

HEADER = (
    "image", "class", "xmin", "ymin", "xmax", "ymax", "width", "height", "split", "iscrowd", "truncated", "occluded",
)  # fmt: skip


def write(data: DataFacts, losses: Losses) -> Written:
    """labels.csv and classes.csv."""
    taken = frozenset({*RESERVED, "labels.csv", "classes.csv"})
    places = place_images(data, losses, lambda row: trimmed_path(row, losses), taken=taken)
    return Written(places, _files(data, places, losses))


def trimmed_path(row: Row, losses: Losses) -> str:
    """The image's path without white space at its ends, which readers of CSV strip."""
    path: str = row["image"]
    if path.strip() != path:
        losses.add("spaces-in-names", "images renamed: readers of CSV strip names", f"{path!r}")
    return path.strip()


def class_names(data: DataFacts, losses: Losses) -> list[str]:
    """The class names as cells of one line can hold them, unique."""
    found: list[str] = []
    for name in data.classes["class_name"]:
        held = " ".join(name.splitlines()).strip() or "_"
        while held in found:
            held += "_"
        if held != name:
            losses.add("class-names", "class names changed: a cell holds one trimmed line", f"{name!r} -> {held!r}")
        found.append(held)
    return found


def lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Rows as CSV with line feeds, UTF-8."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _files(data: DataFacts, places: Mapping[str, str], losses: Losses) -> Iterator[tuple[str, bytes]]:
    names, index = class_names(data, losses), class_index(data)
    rows: list[tuple[object, ...]] = []
    largest, fractions = 0.0, True
    for image, mine in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            for row in mine:
                losses.add("boxes-of-left-out-images", "boxes of images that are left out", at(row))
            continue
        width, height = image["declared_width"] or image["wide"], image["declared_height"] or image["high"]
        about = (width, height, image["split"])
        written = 0
        for row in mine:
            kind = index(row)
            if kind is None:
                losses.add("boxes-of-unknown-class", "boxes of unknown class are left out", at(row))
                continue
            lose_shapes(row, losses)
            if unusable(row):
                losses.add("unusable-boxes", "unusable boxes are kept as they are", at(row))
            corners = ["nan" if row[c] is None else plain(row[c]) for c in CORNERS]
            flags = [None if row[f] is None else int(row[f]) for f in ("crowd", "truncated", "occluded")]
            rows.append((place, names[kind], *corners, *about, *flags))
            fractions &= all(row[c] is None or 0 <= row[c] <= 1 for c in CORNERS)
            largest = max(largest, *(row[c] or 0.0 for c in CORNERS))
            written += 1
        if not written:
            rows.append((place, None, None, None, None, None, *about, None, None, None))
    if fractions and largest > 0:
        what = "boxes lie within the first pixel: Snellen reads a file of such boxes as fractions"
        losses.add("ambiguous-corners", what, "labels.csv")
    yield "labels.csv", lines([HEADER, *rows])
    yield "classes.csv", lines([("id", "name"), *zip(data.classes["class_id"], names, strict=True)])


def lose_shapes(row: Row, losses: Losses) -> None:
    """Count what of an object only its box is left."""
    if row["outline"] is not None:
        losses.add("outlines", "outlines (polygons, masks, rotated boxes) became boxes", at(row))
    if row["xyv"] is not None:
        losses.add("keypoints", "objects lose their keypoints", at(row))
