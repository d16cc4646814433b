"""YOLO: data.yaml with names and train/val/test; a .txt an image, its rows as `yolo_rows` says.

Problem kinds of its own:

* `unnormalized-coordinates`: a row with a value beyond `NORMALIZED_LIMIT`
* `mixed-label-rows`: boxes beside polygons or poses in one file; trainers read all rows of a file as of one kind
* `class-list-contradicts`: a classes.txt among the labels numbers a class otherwise than data.yaml
* `shared-label-file`: two images whose names differ in the suffix alone, so that both have the same labels
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snellen.data.decoding import displayed_size
from snellen.data.readers.yolo_rows import LabelRows, pose_shape
from snellen.data.records import (
    IMAGE_SUFFIXES,
    RecordError,
    Records,
    brief,
    clean,
    files_below,
    inside,
    integer,
    placeholder_target,
    plain_path,
    read_bytes,
)
from snellen.data.yaml_document import load_yaml

MAX_LABEL_BYTES = 1 << 24
"""Label files above this (16 MiB) are not read: an image of twenty thousand polygons is smaller."""


def looks_like(path: Path) -> bool:
    """Whether the YAML names classes and a train or val split."""
    try:
        document = load_yaml(path)
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
        document = load_yaml(path)
        if not isinstance(document, dict):
            raise RecordError(f"holds no mapping but {type(document).__name__}")
    except RecordError as error:
        records.problem("corrupt-annotation-file", path.name, f"{path.name} {error}")
        return records
    base = _base(records, path, document.get("path"))
    records.classes = _names(records, path, document)
    found = {s: _targets(records, path, base, document.get(s), s) for s in ("train", "val", "test") if s in document}
    targets = {split: pairs for split, pairs in found.items() if pairs}
    records.splits = list(found)
    places = [p for pairs in targets.values() for pair in pairs for p in pair]
    if any(not p.is_relative_to(records.root) for p in places):
        # A followed placeholder leads beside the folder: the paths of all tables are then relative to both's parent.
        records.root = Path(os.path.commonpath([records.root, *places]))
    for problem in records.problems:
        problem["file"] = records.relative(path.parent / problem["file"])
    if not targets:
        records.notes.append("no split declared")
    rows = _label_rows(records, path, document)
    label_of: dict[str, str] = {}
    for split, pairs in targets.items():
        for actual, named in pairs:
            for image in _listed(records, actual, base):
                same = actual == named or not actual.is_dir()
                _read_image(records, rows, label_of, image, image if same else named / image.relative_to(actual), split)
    rows.finish()
    _orphans(records)
    _class_lists(records)
    return records


def _label_rows(records: Records, path: Path, document: dict[Any, Any]) -> LabelRows:
    file, task = records.relative(path), document.get("task")
    points, dims = pose_shape(records, file, document.get("kpt_shape"), document.get("flip_idx"))
    names = document.get("kpt_names")
    first = next(iter(names.values()), None) if isinstance(names, dict) else names
    if points and isinstance(first, list) and all(isinstance(n, str) for n in first):
        records.keypoint_names = [clean(n) for n in first]
    return LabelRows(records, task if isinstance(task, str) else None, points, dims)


def _base(records: Records, path: Path, text: object) -> Path:
    """The folder of `path:`, when it exists in or beside the YAML's own; else the YAML's own."""
    if isinstance(text, str):
        try:
            base = inside(path.parent.parent, path.parent, text)
        except RecordError:
            base = path.parent / "?"
        if base.is_dir() and base.is_relative_to(path.parent):
            return base
        records.notes.append(f"path {brief(text)!r} of {path.name} is not below its folder: the folder itself is taken")
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
            message = f"names of {path.name} holds {brief(key)}: {brief(name)}"
            records.problem("malformed-label", path.name, message, value=name)
        else:
            found[identity] = (clean(name) if isinstance(name, str) else brief(name), True)
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
                records.problem("malformed-label", path.name, f"{split} is {brief(text)}, no path", value=text)
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


def _listed(records: Records, actual: Path, base: Path) -> Iterator[Path]:
    if actual.is_dir():
        yield from files_below(actual, IMAGE_SUFFIXES, records.pass_over)
        return
    file = records.relative(actual)
    try:
        data = read_bytes(actual, records.root)
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}")
        return
    for row, raw in enumerate(io.BytesIO(data), 1):
        text = raw.decode("utf-8", "replace").strip().removeprefix("./")
        if plain_path(text):
            yield base / text
        elif text:
            try:
                yield inside(records.root, base, text)
            except RecordError as error:
                message = f"line {row}: {error}; it was not followed"
                records.problem("unsafe-path", file, message, row=row, value=text)


def _label_path(root: Path, named: Path) -> Path:
    """The label beside an image: the last folder called images, below `root`, becomes labels."""
    text, folder = str(named), f"{os.sep}images{os.sep}"
    at = text.rfind(folder, len(str(root)))
    if at >= 0:
        text = f"{text[:at]}{os.sep}labels{os.sep}{text[at + len(folder) :]}"
    return Path(f"{os.path.splitext(text)[0]}.txt")


def _read_image(
    records: Records, rows: LabelRows, label_of: dict[str, str], image: Path, named: Path, split: str
) -> None:
    key = records.relative(image)
    label = _label_path(records.root, named)
    file = records.relative(label) if label.is_file() else None
    if not records.image(key, split=split, label_file=file) or file is None:
        return
    if (first := label_of.setdefault(file, key)) != key:
        message = f"{file} is the label file of {first} and of {key}: both train on the same rows"
        records.problem("shared-label-file", file, message, image=key, value=first)
    try:
        text = read_bytes(label, records.root, limit=MAX_LABEL_BYTES).decode("utf-8", "replace")
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}", image=key)
        return
    if text.strip():
        rows.add(key, file, text, displayed_size(image))


def _class_lists(records: Records) -> None:
    """classes.txt beside the labels, as labelImg leaves it: what contradicts data.yaml is a problem."""
    names = {number: name for number, (name, _) in records.classes.items()}
    folders = {records.root / Path(file).parent for file in records.image_rows.column("label_file") if file}
    for path in sorted(folder / "classes.txt" for folder in folders):
        if not path.is_file():
            continue
        file = records.relative(path)
        try:
            listed = read_bytes(path, records.root).decode("utf-8", "replace").split("\n")
        except RecordError as error:
            records.problem("corrupt-annotation-file", file, f"{file} {error}")
            continue
        listed = [clean(name.strip()) for name in listed if name.strip()]
        moved = [(i, name) for i, name in enumerate(listed) if names.get(i, name) != name and name in names.values()]
        if moved:
            number, name = moved[0]
            message = f"{file} numbers {name!r} {number}, data.yaml says that {number} is {names[number]!r}"
            records.problem("class-list-contradicts", file, message, value=name)


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
