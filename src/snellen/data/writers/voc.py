"""Pascal VOC: Annotations/<stem>.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt.

Precision: corners are written as they are, whole numbers without a point and others with all their digits, so that
they are read back exactly; VOC's own files hold integers, and the ledger counts the boxes that do not. They are not
shifted to VOC's count from 1. Polygons, keypoints and class ids cannot be held.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.sax.saxutils import escape

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import (
    Row,
    Written,
    at,
    class_index,
    found_by_looking,
    objects,
    place_images,
    plain,
    unusable,
)

CORNER_NAMES = ("xmin", "ymin", "xmax", "ymax")


def write(data: DataFacts, losses: Losses) -> Written:
    """One XML an image that has a label file or boxes; images of no split are in no list."""

    def wish(row: Row) -> str | None:
        name = found_by_looking(row, losses, PurePosixPath(row["image"]).name)
        if name is None:
            return None
        # The lists of ImageSets end a stem at white space.
        joined = "_".join(name.split())
        if joined != name:
            losses.add("spaces-in-names", "images renamed: VOC's lists end a name at a space", f"{name} -> {joined}")
        return f"JPEGImages/{joined}"

    places = place_images(data, losses, wish, by_stem=True)
    return Written(places, _files(data, places, losses))


def _files(data: DataFacts, places: dict[str, str], losses: Losses) -> Iterator[tuple[str, bytes]]:
    names = _names(data, losses)
    index = class_index(data)
    lists: dict[str, list[str]] = {split: [] for split in data.images["split"].drop_nulls().unique(maintain_order=True)}
    used: set[int] = set()
    for image, rows in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            for row in rows:
                losses.add("boxes-of-left-out-images", "boxes of images that are left out", at(row))
            continue
        stem = PurePosixPath(place).stem
        if image["split"] is not None:
            lists[image["split"]].append(stem)
        if image["label_file"] is None and not rows:
            continue
        parts = [_head(image, PurePosixPath(place).name)]
        for row in rows:
            kind = index(row)
            if kind is None:
                losses.add("boxes-of-unknown-class", "boxes of unknown class are left out", at(row))
                continue
            used.add(kind)
            parts.append(_object(row, names[kind], losses))
        text = "".join(["<annotation>\n", *parts, "</annotation>\n"])
        yield f"Annotations/{stem}.xml", text.encode()
    for split, stems in lists.items():
        yield f"ImageSets/Main/{split}.txt", "".join(f"{stem}\n" for stem in stems).encode()
    for kind, name in enumerate(names):
        if kind not in used:
            losses.add("unused-classes", "classes without a box are not named: VOC has no class list", name)


def _names(data: DataFacts, losses: Losses) -> list[str]:
    """The class names as XML can hold them and readers read them: printable, trimmed, not empty."""
    found = []
    for name in data.classes["class_name"]:
        held = "".join(c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff") else "?" for c in name).strip() or "?"
        if held != name:
            losses.add("class-names", "class names changed: XML readers trim them", f"{name!r} -> {held!r}")
        found.append(held)
    return found


def _head(image: Row, name: str) -> str:
    # What the annotations declared goes before what the file has, so that a mismatch stays visible.
    width = image["declared_width"] or image["wide"]
    height = image["declared_height"] or image["high"]
    size = f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
    shown = size if width and height else ""
    return f"  <folder>JPEGImages</folder>\n  <filename>{escape(name)}</filename>\n{shown}"


def _object(row: Row, name: str, losses: Losses) -> str:
    for column, kind, what in (
        ("outline", "outlines", "outlines (polygons, masks, rotated boxes) became boxes"),
        ("xyv", "keypoints", "objects lose their keypoints"),
    ):
        if row[column] is not None:
            losses.add(kind, what, at(row))
    if unusable(row):
        losses.add("unusable-boxes", "unusable boxes are kept as they are", at(row))
    elif any(row[c] != int(row[c]) for c in CORNERS):
        what = "boxes are not on whole pixels and written with decimals: VOC's own tools round them"
        losses.add("decimals", what, at(row))
    box = "".join(
        f"<{tag}>{'nan' if row[c] is None else plain(row[c])}</{tag}>"
        for tag, c in zip(CORNER_NAMES, CORNERS, strict=True)
    )
    flags = "".join(f"<{flag}>1</{flag}>" for flag in ("truncated", "occluded") if row[flag])
    flags += f"<difficult>{int(bool(row['crowd']))}</difficult>"
    return f"  <object><name>{escape(name)}</name>{flags}<bndbox>{box}</bndbox></object>\n"
