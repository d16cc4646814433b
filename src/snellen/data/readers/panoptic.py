"""COCO panoptic: a JSON a split, `annotations` with `segments_info`, and a PNG an image of r + 256 g + 65536 b = id.

Every segment is a row of boxes with a bitmap outline in the PNG; `isthing` tells countable things from stuff.

Problem kinds of its own: `orphan-mask`, a PNG that no annotation names. A PNG that is not there is an `error` of its
row in `masks`; an image without an annotation has `mask_file` null. Source: Kirillov et al., "Panoptic Segmentation"
(CVPR 2019), and the format's page, cocodataset.org/#format-data.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from snellen.data.readers import mask_config
from snellen.data.records import (
    SPLIT_NAMES,
    RecordError,
    Records,
    clean,
    files_below,
    inside,
    integer,
    number,
    read_bytes,
    well_formed,
)

PARTS = ("images", "masks", "annotations")
"""What a YAML names for each split."""


@dataclass(frozen=True)
class Part:
    """One JSON and where its pictures lie; None: to be looked for."""

    path: Path
    split: str | None
    images: Path | None = None
    masks: Path | None = None


def looks_like(path: Path) -> bool:
    """Whether the file is a JSON that speaks of segments."""
    try:
        return path.suffix.lower() == ".json" and b'"segments_info"' in read_bytes(path)
    except RecordError:
        return False


def find(folder: Path) -> list[Part]:
    """The panoptic files of a folder, of its annotations/ or of its split folders."""
    for places in ([folder], [folder / "annotations"], [folder / name for name in SPLIT_NAMES]):
        found = [p for place in places if place.is_dir() for p in sorted(place.glob("*.json")) if looks_like(p)]
        if found:
            return [Part(path, split_of(path) if len(found) > 1 else None) for path in found]
    return []


def split_of(path: Path) -> str | None:
    """The split that a file's or its folder's name speaks of: panoptic_val2017.json."""
    words = (*re.findall(r"[a-z]+", path.stem.lower()), path.parent.name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def read_yaml(path: Path) -> Records:
    """Read the dataset of a YAML that names images, masks and annotations of each split."""
    records = Records(path.parent, "panoptic", "segmentation")
    found = mask_config.read_config(records, path, PARTS)
    return _read(records, [Part(p["annotations"], split, p["images"], p["masks"]) for split, p in found.items()])


def read(root: Path, parts: list[Part]) -> Records:
    """Read panoptic files that lie below `root`."""
    return _read(Records(root, "panoptic", "segmentation"), parts)


def _read(records: Records, parts: list[Part]) -> Records:
    if all(part.split is None for part in parts):
        records.notes.append("no split declared")
    records.splits = [part.split for part in parts if part.split]
    for part in parts:
        file = records.relative(part.path)
        try:
            document = json.loads(read_bytes(part.path, records.root))
            if not isinstance(document, dict):
                raise RecordError(f"holds no COCO object: {type(document).__name__}")
        except RecordError as error:
            records.problem("corrupt-annotation-file", file, f"{file} {error}")
        except (ValueError, RecursionError) as error:
            records.problem("corrupt-annotation-file", file, f"{file} is not JSON: {error}")
        else:
            _File(records, part, file, document).read()
    return records


class _File:
    """One file being read."""

    def __init__(self, records: Records, part: Part, file: str, document: dict[Any, Any]) -> None:
        self.records = records
        self.part = part
        self.file = file
        self.document = document
        self.segments = 0
        self.masks_seen: set[Path] = set()

    def read(self) -> None:
        self._categories()
        images = self._images()
        annotated: set[int] = set()
        folder: Path | None = None
        for row, entry in self._entries("annotations"):
            identity, name = integer(entry.get("image_id")), entry.get("file_name")
            if identity is None or not isinstance(name, str):
                self._problem("malformed-label", f"annotation {row} lacks an image_id or a file_name", row, entry)
            elif identity not in images:
                self._problem("unknown-image-id", f"annotation {row} belongs to image id {identity}, not listed", row)
            elif identity in annotated:
                self._problem("duplicate-id", f"image id {identity} is annotated again; the first counts", row)
            else:
                annotated.add(identity)
                folder = folder or self.part.masks or self._folder("masks", name)
                if path := self._inside(folder, name, row):
                    self.masks_seen.add(path)
                    self._annotation(entry, images[identity], self.records.relative(path))
        if folder and folder != self.part.path.parent:
            self._orphans(folder)

    def _problem(
        self, kind: str, message: str, row: int | None, value: object = None, image: str | None = None
    ) -> None:
        self.records.problem(kind, self.file, message, row=row, value=value, image=image)

    def _entries(self, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
        entries = self.document.get(key, [])
        if not isinstance(entries, list):
            self._problem("malformed-label", f"{key} of {self.file} is no list but {type(entries).__name__}", None)
            return
        for row, entry in enumerate(entries, 1):
            if isinstance(entry, dict):
                yield row, entry
            else:
                self._problem("malformed-label", f"{key} entry {row} is no object", row, entry)

    def _categories(self) -> None:
        own: set[int] = set()
        for row, entry in self._entries("categories"):
            identity, name = integer(entry.get("id")), entry.get("name")
            if identity is None or not isinstance(name, str):
                self._problem("malformed-label", f"category {row} lacks an id or a name", row, entry)
                continue
            known = self.records.classes.setdefault(identity, (clean(name), True))
            if identity in own or known[0] != clean(name):
                message = f"category id {identity} is {known[0]!r} and {name!r}; the first counts"
                self._problem("duplicate-id", message, row, identity)
            own.add(identity)
            thing, above, colour = (entry.get(k) for k in ("isthing", "supercategory", "color"))
            self.records.class_details.setdefault(
                identity,
                {
                    "thing": bool(thing) if integer(thing) is not None or isinstance(thing, bool) else None,
                    "supercategory": clean(above) if isinstance(above, str) else None,
                    "colour": _colour(colour),
                },
            )

    def _images(self) -> dict[int, str | None]:
        """Image id -> key; None where the path is unsafe or another split has the image."""
        found: dict[int, str | None] = {}
        folder: Path | None = None
        for row, entry in self._entries("images"):
            identity, name = integer(entry.get("id")), entry.get("file_name")
            if identity is None or not isinstance(name, str):
                self._problem("malformed-label", f"image {row} lacks an id or a file_name", row, entry)
                continue
            if identity in found:
                self._problem("duplicate-id", f"image id {identity} appears again; the first counts", row, identity)
                continue
            folder = folder or self.part.images or self._folder("images", name)
            path = self._inside(folder, name, row)
            found[identity] = None
            if path is None:
                continue
            key = self.records.relative(path)
            if self.records.image(
                key, image_id=str(identity), split=self.part.split, label_file=self.file,
                declared_width=integer(entry.get("width")), declared_height=integer(entry.get("height")),
            ):  # fmt: skip
                found[identity] = key
        return found

    def _inside(self, folder: Path, name: str, row: int) -> Path | None:
        try:
            return inside(self.records.root, folder, name)
        except RecordError as error:
            self._problem("unsafe-path", f"entry {row}: {error}; it was not followed", row, name)
            return None

    def _folder(self, kind: str, name: str) -> Path:
        """The folder that names are relative to: the first customary one in which the first file lies."""
        own, split = self.part.path, self.part.split or split_of(self.part.path) or ""
        stem = re.sub(r"^panoptic_", "", own.stem)
        if kind == "masks":
            bases, words = (
                [own.parent, self.records.root],
                [own.stem, "", "masks", f"panoptic_{stem}", stem, "panoptic"],
            )
        else:
            root = self.records.root
            bases, words = [own.parent, root, root / "images"], ["", stem, split, f"{split}2017"]
        for base, word in product(bases, dict.fromkeys(words)):
            try:
                if inside(self.records.root, base / word, name).is_file():
                    return base / word
            except RecordError:
                continue
        return own.parent / own.stem if kind == "masks" else own.parent

    def _annotation(self, entry: dict[str, Any], image: str | None, mask: str) -> None:
        records = self.records
        if image is not None:
            records.image_rows.put(records.images[image], "mask_file", mask)
            records.masks.append({"image": image, "file": mask, "kind": "panoptic"})
        seen: set[int] = set()
        segments = entry.get("segments_info")
        for segment in segments if isinstance(segments, list) else [segments]:
            self.segments += 1
            row = self.segments
            said = segment if isinstance(segment, dict) else {}
            identity, class_id = integer(said.get("id")), integer(said.get("category_id"))
            if identity is None or class_id is None or not 0 <= identity < 1 << 24:
                message = f"segment {row} lacks a category_id or an id that three bytes can hold"
                self._problem("malformed-label", message, row, segment, image)
                continue
            if identity in seen:
                message = f"segment id {identity} appears again in {mask}; its pixels belong to the first"
                self._problem("duplicate-id", message, row, identity, image)
                continue
            seen.add(identity)
            self._segment(said, row, identity, class_id, image, mask)

    def _segment(
        self, segment: dict[str, Any], row: int, identity: int, class_id: int, image: str | None, mask: str
    ) -> None:
        records = self.records
        bbox = segment.get("bbox")
        values = [number(v) for v in bbox] if isinstance(bbox, list) and len(bbox) == 4 else []
        numbers = [v for v in values if v is not None]
        stated = bbox is not None
        if stated and len(numbers) != 4:
            self._problem("malformed-label", f"segment {row} has no bbox of four numbers", row, {"bbox": bbox}, image)
        corners: list[float | None] = [None] * 4
        if len(numbers) == 4:
            corners = [numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3]]
        known = records.classes.get(class_id)
        usable = well_formed(*corners) if stated else None
        place = {"image": image, "file": self.file, "row": row, "class_name": known[0] if known else None}
        position = records.boxes.append(
            {
                **place, "annotation_id": str(identity), "class_id": class_id, "area": number(segment.get("area")),
                **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)),
                "crowd": bool(segment.get("iscrowd")), "box_stated": stated,
                "usable": usable if known and image is not None else False,
            }
        )  # fmt: skip
        records.outlines.append(
            {"object": position, **place, "kind": "bitmap", "mask_file": mask, "mask_value": identity}
        )

    def _orphans(self, folder: Path) -> None:
        for path in files_below(folder, frozenset({".png"})):
            if path not in self.masks_seen:
                file = self.records.relative(path)
                self.records.problem("orphan-mask", file, f"{file} is named by no annotation of {self.file}")


def _colour(value: object) -> str | None:
    parts: Iterable[int | None] = [integer(v) for v in value] if isinstance(value, list) else ()
    good = [part for part in parts if part is not None and 0 <= part <= 255]
    return "#" + bytes(good).hex() if len(good) == 3 else None
