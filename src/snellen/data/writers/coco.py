"""COCO: one JSON a split beside the images, which keep their paths.

Precision: corners to 1e-9 px, for COCO writes x, y, width, height; polygons and keypoints exactly; run lengths exactly.
Class and image ids are kept where the source has them. Truncated and occluded flags and the keypoints' mirror map
cannot be held.
"""

import json
from collections.abc import Iterator
from typing import Any

from snellen.data.facts import DataFacts
from snellen.data.writers.bitmaps import bitmap, encoded
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import RESERVED, Row, Written, at, class_index, objects, place_images, plain, unusable

UNSPLIT = "unsplit"
"""Name of the file of the images that belong to no split."""


def write(data: DataFacts, losses: Losses) -> Written:
    """`<split>.json`, or annotations.json for a set without splits."""
    splits = list(data.images["split"].unique(maintain_order=True))
    one = len(splits) < 2
    names = {split: "annotations.json" if one else f"{split or UNSPLIT}.json" for split in splits}
    if one and splits not in ([], [None]):
        what = "images lose their split: a COCO set of one file has none"
        losses.add("splits", what, str(splits[0]), data.images.height)
    taken = frozenset({*RESERVED, *names.values()})
    places = place_images(data, losses, lambda row: row["image"], taken=taken)
    return Written(places, _files(data, names, places, losses))


def _files(
    data: DataFacts, names: dict[str | None, str], places: dict[str, str], losses: Losses
) -> Iterator[tuple[str, bytes]]:
    images: dict[str | None, list[str]] = {split: [] for split in names}
    annotations: dict[str | None, list[str]] = {split: [] for split in names}
    ids = {split: _Ids(losses, "image") for split in names}
    numbers = {split: _Ids(losses, "annotation") for split in names}
    for split in names:
        mine = data.images.filter(data.images["split"].eq_missing(split))
        ids[split].claim(mine["image_id"])
        numbers[split].claim(data.boxes.join(mine.select("image"), on="image", how="semi")["annotation_id"])
    index, class_ids = class_index(data), data.classes["class_id"].to_list()
    posed: set[int] = set()
    for image, rows in objects(data, losses):
        split, place = image["split"], places.get(image["image"])
        if place is None:
            for row in rows:
                losses.add("boxes-of-left-out-images", "boxes of images that are left out", at(row))
            continue
        identity = ids[split].next(image["image_id"], image["image"])
        # What the annotations declared goes before what the file has, so that a mismatch stays visible.
        width, height = image["declared_width"] or image["wide"], image["declared_height"] or image["high"]
        images[split].append(_line({"id": identity, "file_name": place, "width": width, "height": height}))
        for row in rows:
            kind = index(row)
            class_id = row["class_id"] if kind is None else class_ids[kind]
            if class_id is None:
                losses.add("boxes-of-unknown-class", "boxes of unknown class are left out", at(row))
                continue
            if kind is None:
                losses.add("unknown-classes", "boxes of an undeclared class id are kept as they are", at(row))
            if row["xyv"] is not None and kind is not None:
                posed.add(kind)
            number = numbers[split].next(row["annotation_id"], at(row))
            annotations[split].append(_line(_annotation(data, row, number, identity, class_id, losses)))
    categories = [_line(c) for c in _categories(data, posed, losses)]
    for split, name in names.items():
        parts = (("images", images[split]), ("annotations", annotations[split]), ("categories", categories))
        body = ",\n".join(f'"{key}": [\n' + ",\n".join(lines) + "\n]" for key, lines in parts)
        yield name, f'{{"info": {{"description": "written by snellen convert"}},\n{body}}}\n'.encode()


class _Ids:
    """Ids of one file: those of the source where it has them, else the next free whole number from 1."""

    def __init__(self, losses: Losses, of: str) -> None:
        self._losses, self._of = losses, of
        self._claimed: set[int | str] = set()
        self._given: set[int | str] = set()
        self._number = 0

    def claim(self, texts: Any) -> None:
        self._claimed = {_identity(text) for text in texts.drop_nulls()}

    def next(self, text: str | None, where: str) -> int | str:
        identity = None if text is None else _identity(text)
        if identity is not None and identity not in self._given:
            self._given.add(identity)
            return identity
        if identity is not None:
            what = f"{self._of} ids given anew: another {self._of} of the file has them"
            self._losses.add(f"{self._of}-ids", what, where)
        while self._number < 1 or self._number in self._claimed:
            self._number += 1
        self._claimed.add(self._number)
        return self._number


def _identity(text: str) -> int | str:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and str(int(text)) == text else text


def _line(entry: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in entry.items() if value is not None}, ensure_ascii=False)


def _annotation(
    data: DataFacts, row: Row, number: int | str, image: int | str, class_id: int, losses: Losses
) -> dict[str, Any]:
    corners = [float("nan") if row[c] is None else row[c] for c in ("x1", "y1", "x2", "y2")]
    bbox = [plain(v) for v in (*corners[:2], corners[2] - corners[0], corners[3] - corners[1])]
    if unusable(row):
        losses.add("unusable-boxes", "unusable boxes are kept as they are", at(row))
    for flag in ("truncated", "occluded"):
        if row[flag]:
            losses.add(f"{flag}-flags", f"{flag} flags are lost", at(row))
    segmentation: Any = None
    if row["rings"] is not None:
        segmentation = [[plain(v) for v in ring] for ring in row["rings"]]
    elif row["outline"] == "bitmap":
        mask = bitmap(data, row, losses)
        segmentation = None if mask is None else {"size": list(mask.shape), "counts": encoded(mask)}
    elif row["rle"] is not None:
        segmentation = {"size": [row["rle_height"], row["rle_width"]], "counts": row["rle"]}
    if row["outline"] == "oriented":
        losses.add("rotated-boxes", "rotated boxes became polygons of four points", at(row))
    area = row["area"]
    if area is None and not unusable(row):
        area = _area(row["rings"]) if row["rings"] else (corners[2] - corners[0]) * (corners[3] - corners[1])
    points = None if row["xyv"] is None else [plain(v) for v in row["xyv"]]
    seen = row["stated"] if row["stated"] is not None else sum(v > 0 for v in (points or [])[2::3] if v is not None)
    return {
        "id": number, "image_id": image, "category_id": class_id, "bbox": bbox, "area": plain(area),
        "iscrowd": int(bool(row["crowd"])), "segmentation": segmentation, "keypoints": points,
        "num_keypoints": None if points is None else seen,
    }  # fmt: skip


def _area(rings: list[list[float]]) -> float:
    """Shoelace formula, rings added up, px^2."""
    total = 0.0
    for ring in rings:
        xs, ys = ring[0::2], ring[1::2]
        total += abs(sum(x * v - u * y for x, y, u, v in zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True)))
    return total / 2


def _categories(data: DataFacts, posed: set[int], losses: Losses) -> Iterator[dict[str, Any]]:
    if posed and data.keypoint_flip:
        losses.add("keypoint-flip", "the map of mirrored keypoints is lost", ", ".join(data.keypoint_names) or "all")
    for place, row in enumerate(data.classes.iter_rows(named=True)):
        entry = {"id": row["class_id"], "name": row["class_name"], "supercategory": row["supercategory"]}
        if place in posed:
            entry |= {"keypoints": data.keypoint_names, "skeleton": [[a + 1, b + 1] for a, b in data.skeleton]}
        yield entry
