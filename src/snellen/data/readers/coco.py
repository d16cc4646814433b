"""COCO JSON: one file a split, `images`, `annotations` and `categories`; bbox is x, y, width, height in pixels.

Problem kinds of its own: none beyond those of `records`. `duplicate-id` is recorded for images, categories and
annotations; the first stands.
"""

import json
import re
from pathlib import Path
from typing import Any

from snellen.data.records import (
    SPLIT_NAMES,
    RecordError,
    Records,
    clean,
    inside,
    integer,
    number,
    read_bytes,
    well_formed,
)


def split_of(path: Path) -> str | None:
    """The split that a file's name speaks of: train.json, instances_val2017.json, _annotations.coco.json in train/."""
    for word in (*re.findall(r"[a-z]+", path.stem.lower()), path.parent.name.lower()):
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return None


def looks_like(path: Path) -> bool:
    """Whether the file holds the two keys of a COCO file with boxes, or bears the name of one and is damaged."""
    if path.suffix.lower() != ".json":
        return False
    try:
        data = read_bytes(path)
    except RecordError:
        return split_of(path) is not None
    if b'"images"' in data and b'"annotations"' in data:
        return b'"segments_info"' not in data
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return split_of(path) is not None
    return False


def find(folder: Path) -> list[Path]:
    """The COCO files of a folder, of its annotations/ or of its split folders."""
    places = [folder, folder / "annotations", *(folder / name for name in SPLIT_NAMES)]
    for place in places[:2]:
        found = [p for p in sorted(place.glob("*.json")) if looks_like(p)] if place.is_dir() else []
        if found:
            boxes = [p for p in found if p.name.startswith("instances")]
            return boxes or found
    return [p for place in places[2:] for p in sorted(place.glob("*.json")) if looks_like(p)]


def read(root: Path, files: list[Path]) -> Records:
    """Read COCO `files` that lie below `root`. Boxes keep what is written: NaN, negative and outside alike."""
    records = Records(root, "coco", "detection")
    splits = {path: split_of(path) for path in files}
    if len(files) == 1 or None in splits.values():
        splits = dict.fromkeys(files) if len(files) == 1 else splits
        records.notes.append("no split declared")
    for path in files:
        _read_file(records, path, splits[path])
    return records


def _read_file(records: Records, path: Path, split: str | None) -> None:
    file = records.relative(path)
    try:
        document = json.loads(read_bytes(path, records.root))
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}")
        return
    except (ValueError, RecursionError) as error:
        records.problem("corrupt-annotation-file", file, f"{file} is not JSON: {error}")
        return
    if not isinstance(document, dict):
        records.problem("corrupt-annotation-file", file, f"{file} holds no COCO object: {type(document).__name__}")
        return
    categories = _categories(records, document, file)
    images = _images(records, document, path, file, split)
    _annotations(records, document, file, categories, images)


def _entries(records: Records, document: dict[str, Any], key: str, file: str) -> list[tuple[int, dict[str, Any]]]:
    entries = document.get(key, [])
    if not isinstance(entries, list):
        records.problem("malformed-label", file, f"{key} of {file} is no list but {type(entries).__name__}")
        return []
    good = []
    for row, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            good.append((row, entry))
        else:
            records.problem("malformed-label", file, f"{key} entry {row} is no object", row=row, value=entry)
    return good


def _identity(value: object) -> int | str | None:
    return integer(value) if not isinstance(value, str) else clean(value)


def _categories(records: Records, document: dict[str, Any], file: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for row, entry in _entries(records, document, "categories", file):
        number_, name = integer(entry.get("id")), entry.get("name")
        if number_ is None or not isinstance(name, str):
            records.problem("malformed-label", file, f"category {row} lacks an id or a name", row=row, value=entry)
        elif number_ in found:
            message = f"category id {number_} is {found[number_]!r} and {name!r}; the first counts"
            records.problem("duplicate-id", file, message, row=row, value=number_)
        else:
            found[number_] = clean(name)
            known = records.classes.setdefault(number_, (clean(name), True))
            if known[0] != clean(name):
                message = f"category id {number_} is {name!r} here and {known[0]!r} in another split"
                records.problem("duplicate-id", file, message, row=row, value=number_)
    return found


def _images(
    records: Records, document: dict[str, Any], path: Path, file: str, split: str | None
) -> dict[int | str, str | None]:
    """Image id -> key; None where the path is unsafe or another split has the image: its boxes are then not usable."""
    found: dict[int | str, str | None] = {}
    folder: Path | None = None
    for row, entry in _entries(records, document, "images", file):
        identity, name = _identity(entry.get("id")), entry.get("file_name")
        if identity is None or not isinstance(name, str):
            records.problem("malformed-label", file, f"image {row} lacks an id or a file_name", row=row, value=entry)
            continue
        if identity in found:
            message = f"image id {identity} appears again, for {name}; the first counts"
            records.problem("duplicate-id", file, message, row=row, value=identity)
            continue
        try:
            if folder is None:
                folder = _image_folder(records.root, path, name, split)
            key = records.relative(inside(records.root, folder, name))
        except RecordError as error:
            records.problem("unsafe-path", file, f"image {row}: {error}; it was not followed", row=row, value=name)
            found[identity] = None
            continue
        fresh = records.image(
            key, image_id=str(identity), split=split, label_file=file, declared_width=integer(entry.get("width")),
            declared_height=integer(entry.get("height")),
        )  # fmt: skip
        if not fresh and records.said(key, "label_file") == file:
            message = f"{key} is listed under two image ids; the second, {identity}, is read as the first"
            records.problem("duplicate-id", file, message, row=row, image=key, value=identity)
        found[identity] = key if fresh or records.said(key, "label_file") == file else None
    return found


def _image_folder(root: Path, file: Path, name: str, split: str | None) -> Path:
    """The folder that file names are relative to: the first of the customary ones in which the first image lies."""
    stem = re.sub(r"^(instances|person_keypoints)_", "", file.stem)
    words = dict.fromkeys((stem, split or "", f"{split}2017"))
    bases = [file.parent, root, root / "images"]
    for base in (*bases, *(b / w for b in bases for w in words)):
        if inside(root, base, name).is_file():
            return base
    return file.parent


def _annotations(
    records: Records,
    document: dict[str, Any],
    file: str,
    categories: dict[int, str],
    images: dict[int | str, str | None],
) -> None:
    seen: set[int | str] = set()
    for row, entry in _entries(records, document, "annotations", file):
        identity, image_id = _identity(entry.get("id")), _identity(entry.get("image_id"))
        key = images.get(image_id) if image_id is not None else None
        if image_id is None or image_id not in images:
            message = f"annotation {row} belongs to image id {entry.get('image_id')!r}, which is not listed"
            records.problem("unknown-image-id", file, message, row=row, value=entry.get("image_id"))
        if identity is not None and identity in seen:
            message = f"annotation id {identity} appears again; COCO's own tools keep only the last"
            records.problem("duplicate-id", file, message, row=row, image=key, value=identity)
        elif identity is not None:
            seen.add(identity)
        bbox, class_id = entry.get("bbox"), integer(entry.get("category_id"))
        values = [number(v) for v in bbox] if isinstance(bbox, list) and len(bbox) == 4 else []
        if not values or None in values or class_id is None:
            message = f"annotation {row} has no bbox of four numbers or no category_id"
            records.problem("malformed-label", file, message, row=row, image=key, value={"bbox": bbox})
            continue
        x, y, width, height = (v for v in values if v is not None)
        corners = (x, y, x + width, y + height)
        area = number(entry.get("area"))
        records.boxes.append(
            {
                "image": key, "file": file, "row": row, "annotation_id": None if identity is None else str(identity),
                "class_id": class_id, "class_name": categories.get(class_id),
                **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)),
                "area": area, "crowd": bool(entry.get("iscrowd") or entry.get("ignore")),
                "polygon_points": _points(entry.get("segmentation")),
                "usable": well_formed(*corners) and key is not None and class_id in categories,
            }
        )  # fmt: skip


def _points(segmentation: object) -> int | None:
    if not isinstance(segmentation, list):
        return None
    return sum(len(ring) // 2 for ring in segmentation if isinstance(ring, list)) or None
