"""YOLO: data.yaml, images/<split>/ and labels/<split>/<stem>.txt, a row an object; here rows of boxes.

Precision: twelve significant digits of a fraction of the image's side, 1e-6 px and better up to 100,000 px. Classes are
numbered from 0 without gaps. Crowd, truncated and occluded flags, ids and areas cannot be held; images of no split go
to train. Row kinds: `yolo` (`class cx cy w h`), and those of yolo_segments, yolo_obb and yolo_pose.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import (
    RESERVED,
    Row,
    Written,
    at,
    class_index,
    found_by_looking,
    objects,
    place_images,
    rest_of,
    unusable,
)

Values = Callable[[DataFacts, Row, Losses], list[float] | None]
"""What a row says after its class, as fractions of the image's sides; None leaves the object out, counted."""


def write(data: DataFacts, losses: Losses) -> Written:
    """The dataset with rows of boxes."""
    return write_rows(data, losses, box_values)


def write_rows(
    data: DataFacts, losses: Losses, values: Values, extra: Mapping[str, Any] | None = None, keypoints: bool = False
) -> Written:
    """The dataset with rows as `values` makes them; `extra` goes into data.yaml; `keypoints`: the rows hold them."""
    splits = [s for s in ("train", "val", "test") if s in set(data.images["split"])]
    unsplit = data.images["split"].null_count()
    if unsplit:
        losses.add("splits", "images of no split go to train", "all" if not splits else "some", unsplit)

    def wish(row: Row) -> str | None:
        parts = rest_of(row, "JPEGImages").split("/")
        # A folder called images inside of images/ would move the label into another folder.
        inner = [*(part for part in parts[:-1] if part != "images"), parts[-1]]
        return found_by_looking(row, losses, "/".join(["images", row["split"] or "train", *inner]))

    places = place_images(data, losses, wish, by_stem=True, taken=RESERVED)
    # A data.yaml without train and val would not be known for one, so train is named even where it is empty.
    used = splits if "train" in splits or ("val" in splits and not unsplit) else ["train", *splits]
    names = dict(enumerate(data.classes["class_name"]))
    if data.classes["class_id"].to_list() != list(names):
        losses.add("class-ids", "class ids changed: YOLO counts from 0 without gaps", "all classes", len(names))
    document = {"path": ".", **{s: f"images/{s}" for s in used}, **(extra or {}), "names": names}
    return Written(places, _files(data, places, document, values, losses, keypoints))


def _files(
    data: DataFacts, places: Mapping[str, str], document: dict[str, Any], values: Values, losses: Losses,
    keypoints: bool,
) -> Iterator[tuple[str, bytes]]:  # fmt: skip
    yield "data.yaml", yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=120).encode()
    yield from ((f"{document[s]}/", b"") for s in ("train", "val") if s in document)
    index = class_index(data)
    for image, rows in objects(data, losses):
        place = places.get(image["image"])
        if place is None:
            for row in rows:
                losses.add("boxes-of-left-out-images", "boxes of images that are left out", at(row))
            continue
        lines = []
        for row in rows:
            kind = index(row)
            if kind is None:
                losses.add("boxes-of-unknown-class", "boxes of unknown class are left out", at(row))
                continue
            row["wide"], row["high"] = image["wide"], image["high"]
            if not row["wide"] or not row["high"]:
                what = "boxes of images of unknown size are left out: YOLO divides by it"
                losses.add("boxes-without-size", what, at(row))
                continue
            numbers = values(data, row, losses)
            if numbers is None:
                continue
            _flags(row, losses, keypoints)
            lines.append(f"{kind} {' '.join(format(v, '.12g') for v in numbers)}\n")
        if lines or image["label_file"] is not None:
            label = PurePosixPath("labels", *PurePosixPath(place).parts[1:]).with_suffix(".txt")
            yield str(label), "".join(lines).encode()


def _flags(row: Row, losses: Losses, keypoints: bool) -> None:
    for flag in ("crowd", "truncated", "occluded"):
        if row[flag]:
            losses.add(f"{flag}-flags", f"{flag} flags are lost", at(row))
    if row["xyv"] is not None and not keypoints:
        losses.add("keypoints", "objects lose their keypoints", at(row))


def box_values(data: DataFacts, row: Row, losses: Losses) -> list[float] | None:
    """Centre, width and height."""
    if row["outline"] is not None:
        losses.add("outlines", "outlines (polygons, masks, rotated boxes) became boxes", at(row))
    return fractions_of_box(row, losses)


def fractions_of_box(row: Row, losses: Losses) -> list[float]:
    """Centre, width and height; of a box that is not usable what there is, counted."""
    if unusable(row):
        losses.add("unusable-boxes", "unusable boxes are kept as they are", at(row))
    x1, y1, x2, y2 = (float("nan") if row[c] is None else row[c] for c in ("x1", "y1", "x2", "y2"))
    wide, high = row["wide"], row["high"]
    return [(x1 + x2) / 2 / wide, (y1 + y2) / 2 / high, (x2 - x1) / wide, (y2 - y1) / high]


def fractions(points: list[float], row: Row) -> list[float]:
    """x y x y ... in pixels as fractions of the image's sides."""
    sides = (row["wide"], row["high"])
    return [value / sides[place % 2] for place, value in enumerate(points)]
