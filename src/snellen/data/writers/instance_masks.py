"""One PNG an object: [<split>/]images/<stem>.*, [<split>/]masks/<stem>_<class>_<k>.png of 0 and 255, and classes.csv.

Precision: every pixel; the box of an object is the hull of its mask, on whole pixels. Class names that a file's name
cannot hold are changed. Crowd flags, keypoints and ids cannot be held; an object without outline is drawn as its box.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from snellen.data.facts import DataFacts
from snellen.data.writers.csv_boxes import class_names, lines
from snellen.data.writers.losses import Losses
from snellen.data.writers.painting import painted, png
from snellen.data.writers.written import Row, Written, at, class_index, found_by_looking, objects, place_images

LONGEST_NAME = 80
"""Bytes of a class name in a file's name."""


def write(data: DataFacts, losses: Losses) -> Written:
    """A mask an object."""
    splits = set(data.images["split"])
    if None in splits and len(splits) > 1:
        losses.add("splits", "images of no split go to train", "some", data.images["split"].null_count())

    def wish(row: Row) -> str | None:
        split = (row["split"] or "train") if splits != {None} else None
        name = PurePosixPath(row["image"]).name
        return found_by_looking(row, losses, f"{split + '/' if split else ''}images/{name}")

    places = place_images(data, losses, wish, by_stem=True)
    return Written(places, _files(data, places, losses))


def _files(data: DataFacts, places: Mapping[str, str], losses: Losses) -> Iterator[tuple[str, bytes]]:
    names, index = _names(data, losses), class_index(data)
    stems = {(PurePosixPath(p).parts[:-1], PurePosixPath(p).stem) for p in places.values()}
    for image, rows in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            continue
        path = PurePosixPath(place)
        for number, row in enumerate(rows, 1):
            kind = index(row)
            if kind is None:
                losses.add("objects-of-unknown-class", "objects of unknown class are left out", at(row))
                continue
            for column, what in (("crowd", "crowd flags"), ("xyv", "keypoints")):
                if row[column]:
                    losses.add(what.replace(" ", "-"), f"{what} are lost", at(row))
            canvas = painted(data, image, [row], lambda *_: 255, losses)
            if canvas is None or not canvas.any():
                continue
            stem = f"{path.stem}_{names[kind]}_{number}"
            if any((path.parts[:-1], stem[:end]) in stems for end in range(len(path.stem) + 1, len(stem))):
                what = "masks bear a name that another image's begins: they may be taken for its own"
                losses.add("ambiguous-names", what, stem)
            yield str(path.parent.parent / "masks" / f"{stem}.png"), png(canvas.astype(np.uint32))
    yield "classes.csv", lines([("id", "name"), *zip(data.classes["class_id"], names, strict=True)])


def _names(data: DataFacts, losses: Losses) -> list[str]:
    """Class names that a file's name can hold, each with something in it that is no digit."""
    found: list[str] = []
    for name in class_names(data, losses):
        held = name.replace("/", "-").replace("\0", "-").encode()[:LONGEST_NAME].decode("utf-8", "ignore").strip("_")
        held = held if any(c != "_" and not c.isdecimal() for c in held) else f"class-{held}"
        while held in found:
            held += "-"
        if held != name:
            losses.add("class-names", "class names changed: a file's name cannot hold them", f"{name!r} -> {held!r}")
        found.append(held)
    return found
