"""COCO JSON: one file a split, `images`, `annotations` and `categories`; bbox is x, y, width, height in pixels.

Outlines are polygons of one or several parts, or run lengths; an annotation without bbox has the hull of its outline.
Numbers stay as written, to the last bit of a float64.

Problem kinds of its own: none beyond those of `records`. `duplicate-id` is recorded for images, categories and
annotations; the first stands. A segmentation or keypoints that cannot be read are a `malformed-label`; the box stands.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from snellen.data.json_document import decode, elements, uncollected
from snellen.data.readers.coco_annotations import Annotation, Gatherer, Whole, identity
from snellen.data.records import SPLIT_NAMES, RecordError, Records, clean, inside, integer, plain_path, read_bytes

T = TypeVar("T")


class _Document(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw(b"[]")
    annotations: msgspec.Raw = msgspec.Raw(b"[]")
    categories: msgspec.Raw = msgspec.Raw(b"[]")


class _Image(msgspec.Struct, gc=False):
    id: Whole | str | None = None
    file_name: str | None = None
    width: Whole | None = None
    height: Whole | None = None


class _Category(msgspec.Struct):
    id: Whole | None = None
    name: str | None = None
    supercategory: str | None = None
    keypoints: list[str] | None = None
    skeleton: list[list[Whole]] | None = None


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
        if b'"images"' in data and b'"annotations"' in data:
            captions = b'"caption"' in data and b'"categories"' not in data
            return b'"segments_info"' not in data and not captions
        decode(data, msgspec.Raw)
    except RecordError:
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
    beside = {p for place in {path.parent for path in files} for p in place.glob("*.json")} - set(files)
    if len(files) > 1 and beside:
        names = sorted(records.relative(p) for p in beside)
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        records.notes.append(f"not read, as other JSON files hold the boxes: {', '.join(names[:6])}{more}")
    records.splits = list(dict.fromkeys(split for split in splits.values() if split))
    with uncollected():
        for path in files:
            _read_file(records, path, splits[path])
    return records


def _read_file(records: Records, path: Path, split: str | None) -> None:
    file = records.relative(path)
    try:
        document = decode(read_bytes(path, records.root), _Document)
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}")
        return
    categories = _categories(records, document.categories, file)
    keys: list[str] = []
    positions = _images(records, document.images, path, file, split, keys)
    gatherer = Gatherer(records, file, categories, positions, keys)
    for entries in _chunks(records, document.annotations, Annotation, "annotations", file):
        gatherer.add(entries)


def _chunks(records: Records, array: msgspec.Raw, kind: type[T], key: str, file: str) -> Any:
    try:
        yield from elements(array, kind)
    except RecordError as error:
        records.problem("malformed-label", file, f"{key} of {file} {error}")


def _categories(records: Records, array: msgspec.Raw, file: str) -> dict[int, str]:
    found: dict[int, str] = {}
    row = 0
    for entries in _chunks(records, array, _Category, "categories", file):
        for entry in entries:
            row += 1
            category = entry if isinstance(entry, _Category) else _mended_category(records, entry, file, row)
            number, name = category.id, category.name
            if number is None or name is None:
                records.problem("malformed-label", file, f"category {row} lacks an id or a name", row=row, value=entry)
            elif number in found:
                message = f"category id {number} is {found[number]!r:.80} and {name!r:.80}; the first counts"
                records.problem("duplicate-id", file, message, row=row, value=number)
            else:
                found[number] = clean(name)
                known = records.classes.setdefault(number, (clean(name), True))
                if known[0] != clean(name):
                    message = f"category id {number} is {name!r:.80} here and {known[0]!r:.80} in another split"
                    records.problem("duplicate-id", file, message, row=row, value=number)
                if category.supercategory is not None:
                    details = records.class_details.setdefault(number, {})
                    details.setdefault("supercategory", clean(category.supercategory))
                _points(records, category, file, row)
    return found


def _mended_category(records: Records, entry: object, file: str, row: int) -> _Category:
    """What can be read of a category that is not as it should be."""
    if not isinstance(entry, dict):
        return _Category()
    name, above, keypoints, skeleton = (entry.get(k) for k in ("name", "supercategory", "keypoints", "skeleton"))
    named = isinstance(keypoints, list) and all(isinstance(k, str) for k in keypoints)
    joined = isinstance(skeleton, list) and all(isinstance(pair, list) for pair in skeleton)
    pairs = [[integer(v) or 0 for v in pair] for pair in skeleton or []] if joined else None
    for value, good, what in ((keypoints, named, "names"), (skeleton, joined, "pairs")):
        if value is not None and not good:
            message = f"category {row} has keypoints or a skeleton that is no list of {what}"
            records.problem("malformed-label", file, message, row=row, value=value)
    return _Category(
        integer(entry.get("id")), name if isinstance(name, str) else None, above if isinstance(above, str) else None,
        keypoints if named else None, pairs,
    )  # fmt: skip


def _points(records: Records, category: _Category, file: str, row: int) -> None:
    """Keep the names of the keypoints and the lines between them; one dataset has one list of each."""
    names = [clean(name) for name in category.keypoints or []]
    if not names:
        return
    if not records.keypoint_names:
        records.keypoint_names = names
        pairs = [[a - 1 for a in pair] for pair in category.skeleton or []]
        records.skeleton = [p for p in pairs if len(p) == 2 and all(0 <= a < len(names) for a in p)]
        if len(records.skeleton) < len(pairs):
            message = f"the skeleton of category {row} joins points that are not among its {len(names)} keypoints"
            records.problem("malformed-label", file, message, row=row, value=category.skeleton)
    elif records.keypoint_names != names:
        note = "categories name different keypoints: the first list is kept"
        records.notes += [note] if note not in records.notes else []


def _images(
    records: Records, array: msgspec.Raw, path: Path, file: str, split: str | None, keys: list[str]
) -> dict[int | str | None, int]:
    """Image id -> position in `keys`; -1 where the path is unsafe or another split has the image: no usable boxes."""
    found: dict[int | str | None, int] = {}
    folder: Path | None = None
    row = 0
    for entries in _chunks(records, array, _Image, "images", file):
        for entry in entries:
            row += 1
            image = entry if isinstance(entry, _Image) else _mended_image(entry)
            name = image.file_name
            if image.id is None or name is None:
                message = f"image {row} lacks an id or a file_name"
                records.problem("malformed-label", file, message, row=row, value=entry)
                continue
            if image.id in found:
                message = f"image id {image.id} appears again, for {name:.200}; the first counts"
                records.problem("duplicate-id", file, message, row=row, value=image.id)
                continue
            try:
                if folder is None:
                    folder = _image_folder(records.root, path, name, split)
                    prefix = "" if folder == records.root else f"{records.relative(folder)}/"
                key = prefix + name if plain_path(name) else records.relative(inside(records.root, folder, name))
            except RecordError as error:
                message = f"image {row}: {error}; it was not followed"
                records.problem("unsafe-path", file, message, row=row, value=name)
                found[image.id] = -1
                continue
            fresh = records.image(
                key, image_id=str(image.id), split=split, label_file=file, declared_width=image.width,
                declared_height=image.height,
            )  # fmt: skip
            mine = fresh or records.said(key, "label_file") == file
            if mine and not fresh:
                message = f"{key} is listed under two image ids; the second, {image.id}, is read as the first"
                records.problem("duplicate-id", file, message, row=row, image=key, value=image.id)
            found[image.id] = len(keys) if mine else -1
            keys += [key] if mine else []
    return found


def _mended_image(entry: object) -> _Image:
    """What can be read of an image that is not as it should be."""
    if not isinstance(entry, dict):
        return _Image()
    name = entry.get("file_name")
    return _Image(
        identity(entry.get("id")), name if isinstance(name, str) else None, integer(entry.get("width")),
        integer(entry.get("height")),
    )  # fmt: skip


def _image_folder(root: Path, file: Path, name: str, split: str | None) -> Path:
    """The folder that file names are relative to: the first of the customary ones in which the first image lies."""
    stem = re.sub(r"^(instances|person_keypoints)_", "", file.stem)
    words = dict.fromkeys((stem, split or "", f"{split}2017"))
    bases = [file.parent, root, root / "images"]
    for base in (*bases, *(b / w for b in bases for w in words)):
        if inside(root, base, name).is_file():
            return base
    return file.parent
