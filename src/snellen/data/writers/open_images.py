"""Open Images: <split>-annotations-bbox.csv, class-descriptions-boxable.csv, and images/<split>/<ImageID>.*.

Precision: twelve significant digits of a fraction of the image's side, 1e-6 px and better up to 100,000 px. A crowd is
a group (IsGroupOf). Images without boxes are in no file, so they cannot be held; nor outlines, keypoints and class ids.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from snellen.data.facts import DataFacts
from snellen.data.writers.csv_boxes import class_names, lines, lose_shapes
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import (
    Row,
    Written,
    at,
    class_index,
    found_by_looking,
    objects,
    place_images,
    unusable,
)

HEADER = (
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded", "IsTruncated",
    "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip


def write(data: DataFacts, losses: Losses) -> Written:
    """A table of boxes a split, and the names of the labels."""
    used: set[str] = set()

    def wish(row: Row) -> str | None:
        path = PurePosixPath(row["image"])
        name = found_by_looking(row, losses, path.name.strip())
        if name is None:
            return None
        # Images are found by their id wherever they lie, so a stem must be the only one.
        stem, number = PurePosixPath(name).stem.strip(), 1
        while f"{stem}-{number}" in used if number > 1 else stem in used:
            number += 1
        free = stem if number == 1 else f"{stem}-{number}"
        used.add(free)
        if free != path.stem:
            losses.add("renamed-images", "images renamed: their stem is their id", f"{row['image']} -> {free}")
        return f"images/{row['split'] + '/' if row['split'] else ''}{free}{PurePosixPath(name).suffix}"

    places = place_images(data, losses, wish)
    return Written(places, _files(data, places, losses))


def _files(data: DataFacts, places: Mapping[str, str], losses: Losses) -> Iterator[tuple[str, bytes]]:
    splits = list(data.images["split"].unique(maintain_order=True))
    if splits not in ([], [None]) and len(splits) == 1:
        losses.add("splits", "images lose their split: a single table has none", str(splits[0]), data.images.height)
    names, index = class_names(data, losses), class_index(data)
    tables: dict[str | None, list[tuple[object, ...]]] = {split: [] for split in splits}
    for image, mine in objects(data, losses):
        place = places.get(image["image"])
        written = 0
        for row in mine:
            kind = index(row)
            if place is None:
                losses.add("boxes-of-left-out-images", "boxes of images that are left out", at(row))
            elif kind is None:
                losses.add("boxes-of-unknown-class", "boxes of unknown class are left out", at(row))
            elif not image["wide"] or not image["high"]:
                losses.add("boxes-without-size", "boxes of images of unknown size are left out", at(row))
            else:
                lose_shapes(row, losses)
                tables[image["split"]].append(_row(row, image, PurePosixPath(place).stem, kind, losses))
                written += 1
        if not written and place is not None:
            losses.add("images-without-boxes", "images without boxes are in no table", image["image"])
    for split, rows in tables.items():
        name = f"{split}-annotations-bbox.csv" if split else "annotations-bbox.csv"
        yield name, lines([HEADER, *rows])
    yield "class-descriptions-boxable.csv", lines((_label(place), name) for place, name in enumerate(names))


def _label(place: int) -> str:
    return f"/snellen/{place}"


def _row(row: Row, image: Row, stem: str, kind: int, losses: Losses) -> tuple[object, ...]:
    if unusable(row):
        losses.add("unusable-boxes", "unusable boxes are kept as they are", at(row))
    sides = (image["wide"], image["wide"], image["high"], image["high"])
    corners = ("x1", "x2", "y1", "y2")
    shares = ["nan" if row[c] is None else format(row[c] / s, ".12g") for c, s in zip(corners, sides, strict=True)]
    flags = [-1 if row[f] is None else int(row[f]) for f in ("occluded", "truncated", "crowd")]
    return (stem, "converted", _label(kind), 1, *shares, *flags, -1, -1)
