"""Index masks: images/[<split>/], masks/[<split>/] of one-channel PNGs whose values are class ids, and classes.csv.

Precision: every pixel; masks that hold ids already are carried over byte for byte. Of a dataset of objects, objects of
one class are no longer apart, and the smaller of two that overlap is on top; class ids grow by one where 0 is one of
them, for 0 is the background. Images of no split go to train where others have one.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.data.writers.bitmaps import mask_values
from snellen.data.writers.csv_boxes import class_names, lines
from snellen.data.writers.losses import Losses
from snellen.data.writers.painting import Canvas, painted, png
from snellen.data.writers.written import Row, Written, at, class_index, found_by_looking, objects, place_images, rest_of

Listing = Callable[[list[int], list[str]], tuple[str, bytes]]
LARGEST = 65535


def write(data: DataFacts, losses: Losses) -> Written:
    """Masks of class ids."""

    def listing(ids: list[int], names: list[str]) -> tuple[str, bytes]:
        return "classes.csv", lines([("id", "name"), *zip(ids, names, strict=True)])

    def content(source: Path | None, ids: Canvas) -> bytes:
        return source.read_bytes() if source is not None else png(ids)

    return write_masks(data, losses, listing, content)


def write_masks(
    data: DataFacts, losses: Losses, listing: Listing, content: Callable[[Path | None, Canvas], bytes]
) -> Written:
    """Masks as `content` makes them of a map of ids; its first argument is a file that holds just those, or None."""
    splits = set(data.images["split"])
    if None in splits and len(splits) > 1:
        losses.add("splits", "images of no split go to train", "some", data.images["split"].null_count())

    def wish(row: Row) -> str | None:
        split = (row["split"] or "train") if splits != {None} else None
        rest = rest_of(row, "JPEGImages", "image")
        return found_by_looking(row, losses, f"images/{split + '/' if split else ''}{rest}")

    places = place_images(data, losses, wish, by_stem=True)
    return Written(places, _files(data, places, losses, listing, content))


def _files(
    data: DataFacts, places: Mapping[str, str], losses: Losses, listing: Listing,
    content: Callable[[Path | None, Canvas], bytes],
) -> Iterator[tuple[str, bytes]]:  # fmt: skip
    ids, names = data.classes["class_id"].to_list(), class_names(data, losses)
    drawn = data.task == "segmentation" and not data.boxes.height
    # In index masks 0 is whatever class has it; elsewhere it is the background, unless black is a class.
    free = drawn and (not data.masks["kind"].eq("colour").any() or "#000000" in set(data.classes["colour"]))
    shift = int(not free and 0 in ids)
    if any(not 0 <= number + shift <= LARGEST for number in ids):
        losses.add("class-ids", "class ids changed: a PNG holds 0 to 65,535", "all classes", len(ids))
        ids, shift = list(range(len(ids))), int(not free)
    elif shift:
        losses.add("class-ids", "class ids grew by one: 0 is the background", "all classes", len(ids))
    values = [number + shift for number in ids]
    maps = _drawn(data, places, values, losses) if drawn else _painted(data, places, values, losses)
    yield listing(values, names)
    for place, source, canvas in maps:
        name = PurePosixPath("masks", *PurePosixPath(place).parts[1:]).with_suffix(".png")
        yield str(name), content(source, canvas)


def _painted(
    data: DataFacts, places: Mapping[str, str], values: list[int], losses: Losses
) -> Iterator[tuple[str, Path | None, Canvas]]:
    index = class_index(data)
    for image, rows in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            continue

        def value(_: int, row: Row) -> int | None:
            kind = index(row)
            if kind is None:
                losses.add("objects-of-unknown-class", "objects of unknown class are left out", at(row))
                return None
            for column, name in (("crowd", "crowd flags"), ("xyv", "keypoints")):
                if row[column]:
                    losses.add(name.replace(" ", "-"), f"{name} are lost", at(row))
            return values[kind]

        canvas = painted(data, image, rows, value, losses)
        if rows:
            losses.add("objects", "objects are no longer apart from others of their class", at(rows[0]), len(rows))
        if canvas is not None:
            yield place, None, canvas


def _drawn(
    data: DataFacts, places: Mapping[str, str], values: list[int], losses: Losses
) -> Iterator[tuple[str, Path | None, Canvas]]:
    """The masks that are there, as maps of class ids; 0/255 masks and colours are translated."""
    ids = dict(zip(data.classes["class_name"], values, strict=True))
    meanings: dict[str, dict[int, int]] = {}
    for file, value, name in data.mask_values.select("file", "value", "class_name").iter_rows():
        if name is not None:
            meanings.setdefault(file, {})[value] = ids[name]
    for image, file, kind in data.masks.select("image", "file", "kind").iter_rows():
        if image not in places:
            continue
        path = Path(data.root) / file
        try:
            old = mask_values(path)
        except (OSError, ValueError) as error:
            losses.add("unreadable-masks", "masks that cannot be read are left out", f"{file} ({error})")
            continue
        known = meanings.get(file, {})
        new = np.zeros_like(old)
        strange = 0
        for value in np.unique(old):
            number = known.get(int(value))
            if number is None and value and not (kind == "index" and value == 255):
                strange += 1
            keep = int(value) if kind == "index" and value <= LARGEST else 0
            new[old == value] = keep if number is None else number
        same = kind == "index" and path.suffix.lower() == ".png" and np.array_equal(old, new)
        if strange:
            what = "masks hold values of no class: ids are kept, colours became background"
            losses.add("unknown-values", what, file)
        yield places[image], path if same else None, new
    left = data.images.filter(pl.col("mask_file").is_null())
    for name in left["image"]:
        losses.add("images-without-mask", "images without a mask have none", name)
