"""Pascal VOC: one XML an image in Annotations/, images in JPEGImages/ or images/, splits in ImageSets/Main/*.txt.

Problem kinds of its own: none beyond those of `records`. Boxes are taken as written (xmin, ymin, xmax, ymax); VOC's own
files count pixels from 1, most tools' files from 0, and a pixel's difference is within every rule's tolerance.
"""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from snellen.data.records import (
    IMAGE_SUFFIXES,
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
    for path in files_below(images, IMAGE_SUFFIXES):
        by_stem.setdefault(path.stem, path)
    splits = _splits(records, folder, {*by_stem, *(p.stem for p in place.glob("*.xml"))})
    renamed = 0
    for path in sorted(place.glob("*.xml")):
        renamed += _read_file(records, path, images, by_stem, splits)
    if renamed:
        records.notes.append(f"{renamed} annotation files name another image than their own name says")
    for stem, path in by_stem.items():
        key = records.relative(path)
        if key not in records.images:
            records.image(key, listed=stem in splits, split=splits.get(stem))
    names = sorted(set(records.boxes.column("class_name")))
    records.classes = {number_: (name, False) for number_, name in enumerate(names)}
    return records


def _splits(records: Records, folder: Path, stems: set[str]) -> dict[str, str]:
    """Stem -> split. trainval.txt counts only for images that train.txt and val.txt do not name."""
    found: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            continue
        file = records.relative(path)
        records.splits.append(split)
        try:
            lines = read_bytes(path, records.root).decode("utf-8", "replace").splitlines()
        except RecordError as error:
            records.problem("corrupt-annotation-file", file, f"{file} {error}")
            continue
        for row, line in enumerate(lines, 1):
            stem = line.split()[0] if line.split() else ""
            if stem and stem not in stems:
                message = f"split {split} names {stem}, of which there is neither image nor annotation"
                records.problem("missing-split-target", file, message, row=row, value=stem)
            elif stem and found.setdefault(stem, split) != split:
                message = f"{stem} is in split {found[stem]} and in split {split}; the first counts"
                records.problem("image-in-two-splits", file, message, row=row, value=stem)
    if not found:
        records.notes.append("no split declared")
    return {stem: SPLIT_NAMES[split] for stem, split in found.items()}


def _read_file(records: Records, path: Path, images: Path, by_stem: dict[str, Path], splits: dict[str, str]) -> bool:
    """Read one XML; True when its <filename> is not the image of the same stem."""
    file = records.relative(path)
    try:
        root = defusedxml.ElementTree.fromstring(read_bytes(path, records.root))
    except RecordError as error:
        records.problem("corrupt-annotation-file", file, f"{file} {error}", image=_key(records, by_stem, path.stem))
        return False
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        message = f"{file} is not usable XML: {error}"
        records.problem("corrupt-annotation-file", file, message, image=_key(records, by_stem, path.stem))
        return False
    name = (root.findtext("filename") or "").strip()
    beside = by_stem.get(path.stem)
    # The name of the XML file decides, as in VOC's own tools, which go by the ids of ImageSets.
    if beside is None:
        try:
            beside = inside(records.root, images, name)
        except RecordError as error:
            records.problem("unsafe-path", file, f"filename: {error}; it was not followed", value=name)
            return False
        if not beside.is_file() and Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            records.problem("orphan-label", file, f"{file} has no image: neither {path.stem}.* nor {name!r}")
            return False
    key = records.relative(beside)
    size = root.find("size")
    if not records.image(
        key, split=splits.get(path.stem), label_file=file,
        declared_width=integer(_text(size, "width")) or None, declared_height=integer(_text(size, "height")) or None,
    ):  # fmt: skip
        records.problem("duplicate-id", file, f"{key} has a second annotation file", image=key, value=name)
        return False
    for row, entry in enumerate(root.iter("object"), 1):
        box = _box(entry)
        if box is None:
            message = f"object {row} of {file} lacks a name or four numbers in bndbox"
            records.problem("malformed-label", file, message, row=row, image=key, value=_text(entry, "name"))
        else:
            records.boxes.append({"image": key, "file": file, "row": row, **box})
    return bool(name) and Path(name).stem != path.stem and path.stem in by_stem


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
        "crowd": (entry.findtext("difficult") or "0").strip() == "1", "usable": well_formed(*corners),
    }  # fmt: skip
