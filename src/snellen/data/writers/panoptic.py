"""COCO panoptic: panoptic_<split>.json, panoptic_<split>/*.png of r + 256 g + 65536 b = segment id, and the images.

Precision: every pixel. A pixel belongs to one segment: the smaller of two objects that overlap is on top, and one that
is wholly covered is left out. Boxes and areas are those of the pixels that are left, unless the source is panoptic
itself. Image and segment ids are kept where they are whole numbers that fit.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from snellen.data.facts import DataFacts
from snellen.data.mask_classes import packed
from snellen.data.writers.losses import Losses
from snellen.data.writers.painting import Canvas, colour_png, painted
from snellen.data.writers.written import RESERVED, Row, Written, at, class_index, objects, place_images, plain


def write(data: DataFacts, losses: Losses) -> Written:
    """A JSON and a folder of PNGs a split."""
    splits = list(data.images["split"].unique(maintain_order=True))
    if splits not in ([], [None]) and len(splits) == 1:
        what = "images lose their split: a panoptic set of one file has none"
        losses.add("splits", what, str(splits[0]), data.images.height)
    names = {s: f"panoptic_{s or 'unsplit'}" if len(splits) > 1 else "panoptic" for s in splits}
    taken = frozenset({*RESERVED, *(f"{name}.json" for name in names.values())})
    places = place_images(data, losses, lambda row: row["image"], by_stem=True, taken=taken)
    return Written(places, _files(data, names, places, losses))


def _files(
    data: DataFacts, names: Mapping[str | None, str], places: Mapping[str, str], losses: Losses
) -> Iterator[tuple[str, bytes]]:
    index, class_ids = class_index(data), data.classes["class_id"].to_list()
    documents: dict[str | None, dict[str, Any]] = {s: {"images": [], "annotations": []} for s in names}
    numbers: dict[str | None, set[int]] = {s: set() for s in names}
    for image, rows in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            continue
        split = image["split"]
        number = _number(image["image_id"], numbers[split], 1 << 62)
        if image["image_id"] is not None and str(number) != image["image_id"]:
            losses.add("image-ids", "image ids given anew: panoptic ones are whole numbers", image["image"])
        width, height = image["declared_width"] or image["wide"], image["declared_height"] or image["high"]
        document = documents[split]
        document["images"].append({"id": number, "file_name": place, "width": width, "height": height})
        if not rows and image["mask_file"] is None:
            continue
        ids: set[int] = set()
        given = [_number(row["annotation_id"], ids, 1 << 24) for row in rows]

        def value(position: int, row: Row, given: list[int] = given) -> int | None:
            if index(row) is None:
                losses.add("objects-of-unknown-class", "objects of unknown class are left out", at(row))
                return None
            if row["xyv"] is not None:
                losses.add("keypoints", "objects lose their keypoints", at(row))
            return given[position]

        canvas = painted(data, image, rows, value, losses)
        if canvas is None:
            continue
        name = str(PurePosixPath(place).with_suffix(".png"))
        yield f"{names[split]}/{name}", colour_png(canvas)
        segments = []
        for segment, row in zip(given, rows, strict=True):
            kind = index(row)
            if kind is not None:
                segments.append(_segment(canvas, segment, row, class_ids[kind], data.format == "panoptic"))
                if segments[-1] is None:
                    losses.add("covered-objects", "objects of which no pixel is left are left out", at(row))
        said = [s for s in segments if s is not None]
        document["annotations"].append({"image_id": number, "file_name": name, "segments_info": said})
    categories = [_category(row) for row in data.classes.iter_rows(named=True)]
    for split, name in names.items():
        text = json.dumps({**documents[split], "categories": categories}, ensure_ascii=False)
        yield f"{name}.json", f"{text}\n".encode()


def _number(text: str | None, taken: set[int], end: int) -> int:
    """The whole number that `text` is, when it is free and below `end`; else the next free one."""
    number = int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else 0
    if not 0 < number < end or number in taken:
        number = max(taken, default=0) + 1
        while number in taken or number >= end:
            number = next(n for n in range(1, end) if n not in taken)
    taken.add(number)
    return number


def _segment(canvas: Canvas, segment: int, row: Row, class_id: int, keep: bool) -> dict[str, Any] | None:
    mine = canvas == segment
    if not mine.any():
        return None
    ys, xs = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
    box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0]) + 1, int(ys[-1] - ys[0]) + 1]
    area = int(mine.sum())
    if keep and row["box_stated"] and None not in (row["x1"], row["y1"], row["x2"], row["y2"]):
        box = [plain(v) for v in (row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"])]  # type: ignore[misc]
        area = row["area"] if row["area"] is not None else area
    return {
        "id": segment, "category_id": class_id, "bbox": box, "area": plain(area), "iscrowd": int(bool(row["crowd"])),
    }  # fmt: skip


def _category(row: Row) -> dict[str, Any]:
    entry = {"id": row["class_id"], "name": row["class_name"], "isthing": int(row["thing"] is not False)}
    if row["supercategory"]:
        entry["supercategory"] = row["supercategory"]
    if row["colour"]:
        colour = packed(row["colour"])
        entry["color"] = [colour & 255, colour >> 8 & 255, colour >> 16]
    return entry
