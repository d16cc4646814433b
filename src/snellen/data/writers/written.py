"""What every writer returns, and how it walks a dataset."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.data.records import IMAGE_SUFFIXES, SPLIT_NAMES
from snellen.data.writers.losses import Losses

Row = dict[str, Any]
LONGEST_NAME = 1024
"""Characters of a path, as the readers allow them."""
RESERVED = frozenset({"conversion.json"})
"""Paths in the target that no image may take."""


@dataclass(frozen=True)
class Written:
    """A dataset in another format, not yet on disk."""

    places: Mapping[str, str]
    """Image -> its path in the target; an image that is not in it is left out."""
    files: Iterator[tuple[str, bytes]]
    """(path in the target, content) of the annotation files; a path that ends in `/` is a folder. To be walked once:
    losses are counted on the way."""


def at(row: Mapping[str, Any]) -> str:
    """Where a record stands, for the ledger."""
    return f"{row['file']}:{row['row']}"


def objects(data: DataFacts, losses: Losses) -> Iterator[tuple[Row, list[Row]]]:
    """Every image with its objects, in the order of the tables.

    An image's row has `wide` and `high`, its size in pixels as displayed (null when unknown); an object's has the
    columns of its outline (with `outline` for the kind) and of its keypoints. Objects without a listed image are
    counted as lost.
    """
    sizes = data.sizes().rename({"width": "wide", "height": "high"})
    images = data.images.join(sizes, on="image", how="left", maintain_order="left")
    order = data.images.select("image").with_row_index("place")
    outlines = data.outlines.unique("object", keep="first", maintain_order=True).select(
        "object", "rings", "rle", "rle_width", "rle_height", "mask_file", "mask_value", outline="kind"
    )
    points = data.keypoints.unique("object", keep="first", maintain_order=True).select("object", "xyv", "stated")
    boxes = data.boxes.join(order, on="image", how="left", maintain_order="left")
    for box in boxes.filter(pl.col("place").is_null()).iter_rows(named=True):
        losses.add("boxes-without-image", "boxes of an image that is not listed are left out", at(box))
    boxes = boxes.drop_nulls("place").sort("place", maintain_order=True)
    boxes = boxes.join(outlines, on="object", how="left", maintain_order="left")
    boxes = boxes.join(points, on="object", how="left", maintain_order="left")
    groups = groupby(boxes.iter_rows(named=True), key=lambda row: row["place"])
    place, group = next(groups, (None, iter(())))
    for index, image in enumerate(images.iter_rows(named=True)):
        if place == index:
            yield image, list(group)
            place, group = next(groups, (None, iter(())))
        else:
            yield image, []


def place_images(
    data: DataFacts, losses: Losses, wish: Callable[[Row], str | None], *, by_stem: bool = False,
    taken: frozenset[str] = RESERVED,
) -> dict[str, str]:  # fmt: skip
    """Image -> the path that `wish` asks for, made unique; None leaves the image out (and `wish` counts it).

    `by_stem`: no two of a folder may share a stem, since the labels go by it.
    """
    found: dict[str, str] = {}
    used = set(taken)
    for row in data.images.iter_rows(named=True):
        wanted = wish(row)
        if wanted is None:
            continue
        path = PurePosixPath(wanted)
        if path.is_absolute() or ".." in path.parts or "\0" in wanted or len(wanted) > LONGEST_NAME or not path.name:
            losses.add("unsafe-image-names", "images whose name leads out of the target are left out", row["image"])
            continue
        number, free = 1, path
        while (str(free.with_suffix("")) if by_stem else str(free)) in used:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        if number > 1:
            what = "images renamed: another one has the name already"
            losses.add("renamed-images", what, f"{row['image']} -> {free}")
        used.add(str(free.with_suffix("")) if by_stem else str(free))
        found[row["image"]] = str(free)
    return found


def rest_of(row: Row, *also: str) -> str:
    """An image's path without the leading folders that only say its split, `images` or one of `also`."""
    parts = list(PurePosixPath(row["image"]).parts)
    while len(parts) > 1:
        split = SPLIT_NAMES.get(parts[0].lower())
        if parts[0] not in ("images", *also) and (split is None or split != row["split"]):
            break
        parts.pop(0)
    return "/".join(parts)


def found_by_looking(row: Row, losses: Losses, path: str) -> str | None:
    """`path` for a format that lists images by looking at the disk: nothing hidden; None without an image's suffix."""
    if PurePosixPath(path).suffix.lower() not in IMAGE_SUFFIXES:
        losses.add("nameless-images", "images without an image's suffix are left out: no tool would find them", path)
        return None
    shown = "/".join(f"_{part[1:]}" if part.startswith(".") else part for part in path.split("/"))
    if shown != path:
        losses.add("hidden-images", "images renamed: the format's tools pass over hidden files", f"{path} -> {shown}")
    return shown


def unusable(row: Mapping[str, Any]) -> bool:
    """Whether a box has no finite corners or no area."""
    corners = [row[c] for c in CORNERS]
    finite = all(c is not None and -float("inf") < c < float("inf") for c in corners)
    return not finite or row["x2"] <= row["x1"] or row["y2"] <= row["y1"]


def class_index(data: DataFacts) -> Callable[[Mapping[str, Any]], int | None]:
    """A function from a box to the position of its class in `data.classes`; None when the class is unknown."""
    ids = {number: place for place, number in enumerate(data.classes["class_id"])}
    names = {name: place for place, name in reversed(list(enumerate(data.classes["class_name"])))}

    def find(row: Mapping[str, Any]) -> int | None:
        known = row["class_id"] is not None and row["class_name"] is not None
        return ids.get(row["class_id"], names.get(row["class_name"])) if known else names.get(row["class_name"])

    return find


def plain(value: float | None) -> float | int | None:
    """A number as people write it: without the `.0` of a whole one."""
    whole = value is not None and abs(value) < 2**53 and value == int(value)
    return int(value) if whole and value is not None else value
