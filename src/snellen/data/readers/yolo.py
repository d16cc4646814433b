"""YOLO: data.yaml with names and train/val/test; a .txt an image, rows `class cx cy w h` in 0..1, or a polygon.

Problem kinds of its own: `unnormalized-coordinates`, a row with a value beyond `NORMALIZED_LIMIT`.
"""

import math
import os
from pathlib import Path
from typing import Any

import yaml

from snellen.data.images import displayed_size
from snellen.data.records import (
    IMAGE_SUFFIXES,
    RecordError,
    Records,
    clean,
    files_below,
    inside,
    integer,
    number,
    placeholder_target,
    read_bytes,
    well_formed,
)

NORMALIZED_LIMIT = 2.0
"""Above it a value is no fraction of the image's side but something else, most often pixels."""


def looks_like(path: Path) -> bool:
    """Whether the YAML names classes and a train or val split."""
    try:
        document = _load(path)
    except RecordError:
        return path.name in ("data.yaml", "data.yml")
    return isinstance(document, dict) and "names" in document and bool({"train", "val"} & document.keys())


def find(folder: Path) -> Path | None:
    """The data.yaml of a folder, whatever it is called."""
    candidates = [folder / "data.yaml", *sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))]
    return next((p for p in candidates if p.is_file() and looks_like(p)), None)


def read(path: Path) -> Records:
    """Read the YOLO dataset of a data.yaml. Pixel sizes come from the image headers; without one, boxes are null."""
    records = Records(path.parent, "yolo", "detection")
    try:
        document = _load(path)
        if not isinstance(document, dict):
            raise RecordError(f"holds no mapping but {type(document).__name__}")
    except RecordError as error:
        records.problem("corrupt-annotation-file", path.name, f"{path.name} {error}")
        return records
    base = _base(records, path, document.get("path"))
    records.classes = _names(records, path, document)
    found = {s: _targets(records, path, base, document.get(s), s) for s in ("train", "val", "test") if s in document}
    targets = {split: pairs for split, pairs in found.items() if pairs}
    places = [p for pairs in targets.values() for pair in pairs for p in pair]
    if any(not p.is_relative_to(records.root) for p in places):
        # A followed placeholder leads beside the folder: the paths of all tables are then relative to both's parent.
        records.root = Path(os.path.commonpath([records.root, *places]))
    for problem in records.problems:
        problem["file"] = records.relative(path.parent / problem["file"])
    if not targets:
        records.notes.append("no split declared")
    for split, pairs in targets.items():
        for actual, named in pairs:
            for image in _listed(records, actual, base):
                _read_image(records, image, named / image.relative_to(actual) if actual.is_dir() else image, split)
    _orphans(records)
    return records


def _load(path: Path) -> object:
    try:
        return yaml.safe_load(read_bytes(path).decode("utf-8", "replace"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecordError(f"is not YAML: {str(error).splitlines()[0]}") from error


def _base(records: Records, path: Path, text: object) -> Path:
    """The folder of `path:`, when it exists in or beside the YAML's own; else the YAML's own."""
    if isinstance(text, str):
        try:
            base = inside(path.parent.parent, path.parent, text)
        except RecordError:
            base = path.parent / "?"
        if base.is_dir() and base.is_relative_to(path.parent):
            return base
        records.notes.append(f"path {text!r} of {path.name} is not below its folder: the folder itself is taken")
    return path.parent


def _names(records: Records, path: Path, document: dict[Any, Any]) -> dict[int, tuple[str, bool]]:
    names = document.get("names")
    pairs = (
        list(enumerate(names)) if isinstance(names, list) else list(names.items()) if isinstance(names, dict) else []
    )
    found: dict[int, tuple[str, bool]] = {}
    for key, name in pairs:
        identity = integer(key)
        if identity is None or not isinstance(name, str | int | float):
            message = f"names of {path.name} holds {key!r}: {name!r}"
            records.problem("malformed-label", path.name, message, value=name)
        else:
            found[identity] = (clean(str(name)), True)
    count = integer(document.get("nc"))
    if count is not None and count != len(found):
        message = f"{path.name} says nc {count} and names {len(found)} classes"
        records.problem("malformed-label", path.name, message, value=count)
    return found


def _targets(records: Records, path: Path, base: Path, entry: object, split: str) -> list[tuple[Path, Path]]:
    """(folder or list file on disk, the path it is named by) for each entry of a split."""
    found: list[tuple[Path, Path]] = []
    for text in entry if isinstance(entry, list) else [entry]:
        if not isinstance(text, str):
            if text is not None:
                records.problem("malformed-label", path.name, f"{split} is {text!r}, no path", value=text)
            continue
        # Exports of Roboflow write ../train/images for a folder that lies beside the YAML.
        tries = [text, text.removeprefix("../")] if text.startswith("../") else [text]
        pair, refusal = None, ""
        for attempt in tries:
            try:
                named = inside(records.root, base, attempt)
            except RecordError as error:
                refusal = str(error)
                continue
            actual = _follow(records, named)
            if actual.exists():
                pair = (actual, named)
                break
        if pair:
            found.append(pair)
        elif refusal and len(tries) == 1:
            message = f"{split} of {path.name}: {refusal}; it was not followed"
            records.problem("unsafe-path", path.name, message, value=text)
        else:
            message = f"{split} of {path.name} names {text}, which is not there"
            records.problem("missing-split-target", path.name, message, value=text)
    return found


def _follow(records: Records, named: Path) -> Path:
    """`named`, with a link that was checked out as a text file followed."""
    for parent in (named, *named.parents):
        if parent == records.root or not parent.is_relative_to(records.root):
            break
        target = placeholder_target(parent) if parent.suffix == "" else None
        if target is not None:
            file = records.relative(parent)
            if not any(p["kind"] == "symlink-placeholder" and p["file"] == file for p in records.problems):
                text = parent.read_text(encoding="utf-8", errors="replace").strip()
                message = f"{file} is a text file that says {text!r}: a link, checked out without link support"
                records.problem("symlink-placeholder", file, message, value=text)
            return target / named.relative_to(parent)
    return named


def _listed(records: Records, actual: Path, base: Path) -> list[Path]:
    if actual.is_dir():
        return list(files_below(actual, IMAGE_SUFFIXES))
    file = records.relative(actual)
    try:
        lines = read_bytes(actual, records.root).decode("utf-8", "replace").splitlines()
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}")
        return []
    found = []
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(inside(records.root, base, line.strip()))
        except RecordError as error:
            records.problem("unsafe-path", file, f"line {row}: {error}; it was not followed", row=row, value=line)
    return found


def _label_path(named: Path) -> Path:
    """The label beside an image: the last folder called images becomes labels."""
    parts = list(named.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read_image(records: Records, image: Path, named: Path, split: str) -> None:
    key = records.relative(image)
    label = _label_path(named)
    file = records.relative(label) if label.is_file() else None
    if not records.image(key, split=split, label_file=file) or file is None:
        return
    try:
        text = read_bytes(label, records.root).decode("utf-8", "replace")
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}", image=key)
        return
    size = displayed_size(image) if text.strip() else None
    for row, line in enumerate(text.splitlines(), 1):
        values = [number(v) for v in line.split()]
        if not values:
            continue
        class_id = integer(values[0])
        if None in values or class_id is None or not (len(values) == 5 or (len(values) >= 7 and len(values) % 2)):
            message = f"{file}:{row} is neither `class cx cy w h` nor a polygon: {len(values)} columns"
            records.problem("malformed-label", file, message, row=row, image=key, value=line)
            continue
        numbers = [v for v in values[1:] if v is not None]
        if any(math.isfinite(v) and abs(v) > NORMALIZED_LIMIT for v in numbers):
            message = f"{file}:{row} holds {max(numbers, key=abs):g} where fractions of the image are expected"
            records.problem("unnormalized-coordinates", file, message, row=row, image=key, value=line)
        records.boxes.append({"image": key, "file": file, "row": row, **_box(records, class_id, numbers, size)})


def _box(records: Records, class_id: int, numbers: list[float], size: tuple[int, int] | None) -> dict[str, Any]:
    if len(numbers) == 4:
        cx, cy, w, h = numbers
        fractions = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    else:
        xs, ys = numbers[0::2], numbers[1::2]
        fractions = (min(xs), min(ys), max(xs), max(ys))
    corners: list[float | None] = [None] * 4
    if size:
        corners = [f * side for f, side in zip(fractions, size * 2, strict=True)]
    known = records.classes.get(class_id)
    return {
        "class_id": class_id, "class_name": known[0] if known else None,
        **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)), "crowd": False,
        "polygon_points": len(numbers) // 2 if len(numbers) > 4 else None,
        "usable": known is not None and well_formed(*corners),
    }  # fmt: skip


def _orphans(records: Records) -> None:
    """Label files in the folders of read labels that belong to no image."""
    used = {file for file in records.image_rows.column("label_file") if file}
    for folder in sorted({records.root / Path(file).parent for file in used}):
        for path in sorted(folder.glob("*.txt")):
            file = records.relative(path)
            if file not in used and path.name != "classes.txt" and not (path.is_file() and _is_list(path)):
                records.problem("orphan-label", file, f"{file} has no image")


def _is_list(path: Path) -> bool:
    """A list of image paths that lies among labels: its first line ends as an image does."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return os.path.splitext(lines.readline(2048).strip())[1].lower() in IMAGE_SUFFIXES
