"""Pascal VOC: one XML an image in Annotations/, images in JPEGImages/ or images/, splits in ImageSets/Main/*.txt.

Boxes are taken as written (xmin, ymin, xmax, ymax); VOC's own files count pixels from 1, most tools' files from 0, and
a pixel's difference is within every rule's tolerance. Parts of objects (heads, hands) are counted in a note.

Problem kinds of its own: `shared-label-file`, two images of one stem, of which one has the XML; `orphan-mask`, a mask
without an image.
"""

from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from snellen.data.readers.voc_masks import add_masks
from snellen.data.records import (
    IMAGE_SUFFIXES,
    RecordError,
    Records,
    brief,
    clean,
    files_below,
    inside,
    integer,
    number,
    read_bytes,
    well_formed,
)

MAX_XML_BYTES = 1 << 24
"""XML files above this (16 MiB) are not read: an image of forty thousand objects is smaller."""


def annotation_folder(folder: Path) -> Path | None:
    """Annotations/ or annotations/ when an XML file lies in it."""
    for name in ("Annotations", "annotations"):
        if next(iter((folder / name).glob("*.xml")), None) is not None:
            return folder / name
    return None


def read(folder: Path) -> Records:
    """Read a VOC folder. Classes are the names in use, sorted; images without XML are listed with `label_file` null."""
    records = Records(folder, "voc", "detection")
    place = annotation_folder(folder)
    assert place is not None, "detect calls this only for a VOC folder"
    images = next((folder / n for n in ("JPEGImages", "images", "Images") if (folder / n).is_dir()), folder)
    by_stem: dict[str, Path] = {}
    for path in files_below(images, IMAGE_SUFFIXES, records.pass_over):
        if (first := by_stem.setdefault(path.stem, path)) != path:
            key, other = records.relative(path), records.relative(first)
            message = f"{key} and {other} have one stem: an XML of that name is read for the second alone"
            records.problem("shared-label-file", key, message, image=key, value=other)
    splits = _splits(records, folder, {*by_stem, *(p.stem for p in place.glob("*.xml"))})
    told: Counter[str] = Counter()
    for path in sorted(place.glob("*.xml")):
        _read_file(records, path, images, by_stem, splits, told)
    records.notes += [f"{count} {what}" for what, count in told.items() if count]
    for stem, path in by_stem.items():
        key = records.relative(path)
        if key not in records.images:
            records.image(key, listed=stem in splits, split=splits.get(stem))
    names = sorted(set(records.boxes.column("class_name")))
    records.classes = {number_: (name, False) for number_, name in enumerate(names)}
    add_masks(records, folder, by_stem, names)
    return records


def _splits(records: Records, folder: Path, stems: set[str]) -> dict[str, str]:
    """Stem -> split. trainval.txt counts only for images that train.txt and val.txt do not name."""
    found: dict[str, str] = {}
    lists = next((f for name in ("Main", "Segmentation") if (f := folder / "ImageSets" / name).is_dir()), None)
    for name, split in (("train", "train"), ("val", "val"), ("test", "test"), ("trainval", "train")):
        path = lists / f"{name}.txt" if lists else None
        if path is None or not path.is_file():
            continue
        file = records.relative(path)
        records.splits += [split] if split not in records.splits else []
        try:
            lines = read_bytes(path, records.root).decode("utf-8", "replace").splitlines()
        except RecordError as error:
            records.problem("corrupt-annotation-file", file, f"{file} {error}")
            continue
        for row, line in enumerate(lines, 1):
            stem = line.split()[0] if line.split() else ""
            if stem and stem not in stems:
                message = f"split {name} names {stem}, of which there is neither image nor annotation"
                records.problem("missing-split-target", file, message, row=row, value=stem)
            elif stem and found.setdefault(stem, split) != split and name != "trainval":
                message = f"{stem} is in split {found[stem]} and in split {split}; the first counts"
                records.problem("image-in-two-splits", file, message, row=row, value=stem)
    if not found:
        records.notes.append("no split declared")
    return found


def _read_file(
    records: Records, path: Path, images: Path, by_stem: dict[str, Path], splits: dict[str, str], told: Counter[str]
) -> None:
    """Read one XML; `told` counts what the notes say."""
    file = records.relative(path)
    try:
        root = defusedxml.ElementTree.fromstring(read_bytes(path, records.root, limit=MAX_XML_BYTES))
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}", image=_key(records, by_stem, path.stem))
        return
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        message = f"{file} is not usable XML: {error}"
        records.problem("corrupt-annotation-file", file, message, image=_key(records, by_stem, path.stem))
        return
    name = (root.findtext("filename") or "").strip()
    beside = by_stem.get(path.stem)
    # The name of the XML file decides, as in VOC's own tools, which go by the ids of ImageSets.
    if beside is None:
        try:
            beside = inside(records.root, images, name)
        except RecordError as error:
            records.problem("unsafe-path", file, f"filename: {error}; it was not followed", value=name)
            return
        if not beside.is_file() and Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            records.problem("orphan-label", file, f"{file} has no image: neither {path.stem}.* nor {brief(name)!r}")
            return
    key = records.relative(beside)
    size = root.find("size")
    if not records.image(
        key, split=splits.get(path.stem), label_file=file,
        declared_width=integer(_text(size, "width")), declared_height=integer(_text(size, "height")),
    ):  # fmt: skip
        records.problem("duplicate-id", file, f"{key} has a second annotation file", image=key, value=name)
        return
    for row, entry in enumerate(root.iter("object"), 1):
        box = _box(entry)
        if box is None:
            message = f"object {row} of {file} lacks a name or four numbers in bndbox"
            records.problem("malformed-label", file, message, row=row, image=key, value=_text(entry, "name"))
        else:
            records.boxes.append({"image": key, "file": file, "row": row, **box})
        told["parts of objects are not read"] += len(entry.findall("part"))
        told["polygons of objects are not read"] += len(entry.findall("polygon"))
    if name and Path(name).stem != path.stem and path.stem in by_stem:
        told["annotation files name another image than their own name says"] += 1


def _key(records: Records, by_stem: dict[str, Path], stem: str) -> str | None:
    return records.relative(by_stem[stem]) if stem in by_stem else None


def _text(element: Element | None, name: str) -> str | None:
    return None if element is None else element.findtext(name)


def _box(entry: Element) -> dict[str, Any] | None:
    name, frame = (entry.findtext("name") or "").strip(), entry.find("bndbox")
    corners = [number(_text(frame, side)) for side in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in corners:
        return None
    return {
        "class_name": clean(name), **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True)),
        "crowd": bool(_flag(entry, "difficult")), "truncated": _flag(entry, "truncated"),
        "occluded": _flag(entry, "occluded"), "box_stated": True, "usable": well_formed(*corners),
    }  # fmt: skip


def _flag(entry: Element, name: str) -> bool | None:
    return {"1": True, "0": False}.get((entry.findtext(name) or "").strip())
