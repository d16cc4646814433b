"""Edits as new contents of files, before any file is touched."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from snellen.data.facts import DataFacts
from snellen.data.records import RecordError, inside, leads_out, read_bytes
from snellen.findings.finding import Finding
from snellen.fixes import coco, voc, yolo
from snellen.fixes.edit import Edit, EditError

Planned = Iterable[tuple[Finding, Edit]]


@dataclass(frozen=True)
class Changes:
    """What one pass would write."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    """File -> its new content; None: the file goes."""
    made: list[Finding] = field(default_factory=list)
    failed: list[tuple[Finding, str]] = field(default_factory=list)
    """Findings whose edit could not be made, and why."""


def changes_for(data: DataFacts, planned: Planned) -> Changes:
    """The edits of one pass, a file at a time; a file that cannot be edited fails with all its edits."""
    changes = Changes()
    by_file: dict[str, list[tuple[Finding, Edit]]] = {}
    for finding, edit in planned:
        for file in _files(data, edit):
            by_file.setdefault(file, []).append((finding, edit))
        if edit["op"] == "drop-image" and data.format != "coco":
            for image in _images(edit):
                _drop(data, image, changes)
            changes.made.append(finding)
        elif edit["op"] == "drop-file":
            _drop(data, edit["file"], changes)
            changes.made.append(finding)
    for file, pairs in by_file.items():
        findings = list({id(f): f for f, _ in pairs}.values())
        try:
            old = read_bytes(_path(data, file), Path(data.root))
            new = _edited(data, file, old, [edit for _, edit in pairs])
            if new == old:
                raise EditError("the edit changes nothing")
        except (EditError, RecordError, ValueError, KeyError) as error:
            changes.failed.extend((finding, f"{file}: {error}") for finding in findings)
            continue
        changes.files.setdefault(file, new)
        changes.made.extend(f for f in findings if all(f is not m for m in changes.made))
    return changes


def _files(data: DataFacts, edit: Edit) -> list[str]:
    """The annotation files in which an edit is to be made."""
    if edit["op"] == "drop-file":
        return []
    if edit["op"] in ("drop-image", "rewrite-size"):
        rows = data.images.filter(pl.col("image").is_in(_images(edit)))
        files = list(rows["label_file"].drop_nulls().unique(maintain_order=True))
        return files if data.format == "coco" or edit["op"] == "rewrite-size" else []
    return [edit["file"]]


def _images(edit: Edit) -> list[str]:
    return list(edit["images"]) if "images" in edit else [edit["image"]]


def _drop(data: DataFacts, file: str, changes: Changes) -> None:
    """The file goes; with an image its label file, where no other image has it, and its line in the lists of splits."""
    if os.path.lexists(_path(data, file)):
        changes.files[file] = None
    row = data.images.filter(pl.col("image") == file)
    label = row["label_file"][0] if row.height else None
    if label and data.images.filter(pl.col("label_file") == label).height == 1:
        changes.files[label] = None
    for name, content in _lists(data, file, changes):
        changes.files[name] = content


def _lists(data: DataFacts, image: str, changes: Changes) -> Iterable[tuple[str, bytes]]:
    """The split lists that name `image`, without its line."""
    root = Path(data.root)
    if data.format == "voc":
        paths, words = sorted((root / "ImageSets" / "Main").glob("*.txt")), {Path(image).stem}
    elif data.format == "yolo":
        paths, words = sorted(root.glob("*.txt")), {image, f"./{image}", str(root / image)}
    else:
        return
    for path in paths:
        name = path.relative_to(root).as_posix()
        old = changes.files.get(name) or read_bytes(path, root)
        lines = old.decode("utf-8", "surrogateescape").splitlines(keepends=True)
        kept = [line for line in lines if not words & ({*line.split()[:1]} if data.format == "voc" else {line.strip()})]
        if len(kept) < len(lines):
            yield name, "".join(kept).encode("utf-8", "surrogateescape")


def _edited(data: DataFacts, file: str, old: bytes, edits: list[Edit]) -> bytes:
    if data.format == "coco":
        mine = data.images.filter(pl.col("label_file") == file).select("image", "image_id").drop_nulls()
        return coco.edited(old, edits, dict(mine.iter_rows()))
    if data.format == "voc":
        if all(edit["op"] == "drop-line" for edit in edits):
            return yolo.edited(old, edits)
        return voc.edited(old, edits)
    return yolo.edited(old, edits, polygons=not data.keypoints.height)


def _path(data: DataFacts, file: str) -> Path:
    """`file` below the root, links out of it refused. Raises EditError."""
    root = Path(data.root)
    try:
        path = inside(root, root, file)
    except RecordError as error:
        raise EditError(f"{file}: {error}") from error
    if leads_out(root, path):
        raise EditError(f"{file}: is a link that leads out of the dataset's folder")
    return path
