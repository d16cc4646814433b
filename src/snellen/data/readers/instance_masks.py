"""One mask an object: `<image>/images/` and `<image>/masks/*.png` (DSB 2018), or `<image>_<class>_<k>.png`.

Whatever is not zero in a mask is the object; its box is the hull of that, known once pixels are measured. In the second
layout masks lie in masks/ beside images/, or among the images; where a name has no class, the class is `object`.

Problem kinds of its own: `orphan-mask`, a mask without an image.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from snellen.data.decoding import UNREADABLE, open_image
from snellen.data.readers import class_lists
from snellen.data.readers.class_folders import sub_folders
from snellen.data.readers.masks import IMAGE_FOLDERS, MASK_FOLDERS, named_folders, split_places
from snellen.data.records import IMAGE_SUFFIXES, Records, clean, files_below

ONLY_CLASS = "object"
Found = tuple[str | None, Path, list[tuple[Path, str]]]
"""Split, image, and its masks with the class of each."""


def find(folder: Path) -> list[Found]:
    """The images of `folder` with their masks; empty when it is no such dataset."""
    places: list[tuple[str | None, Path]] = [*split_places(folder).items()] or [(None, folder)]
    found = [one for split, place in places for one in _nested(split, place)]
    if not found:
        found = [one for split, place in places for one in _by_name(split, place)]
    return found if any(masks for _, _, masks in found) else []


def read(folder: Path, found: list[Found]) -> Records:
    """Read what `find` found. Classes are the names in use, unless a class list lies beside."""
    records = Records(folder, "instance-masks", "detection")
    if listing := class_lists.find(folder):
        class_lists.read(records, listing)
    names = {name for name, _ in records.classes.values()}
    if all(split is None for split, _, _ in found):
        records.notes.append("no split declared")
    if {name for _, _, masks in found for _, name in masks} == {ONLY_CLASS}:
        records.notes.append(f"the names of the masks tell no classes: all are {ONLY_CLASS!r}")
    records.splits = list(dict.fromkeys(split for split, _, _ in found if split))
    for split, path, masks in found:
        key = records.relative(path)
        if not records.image(key, split=split, label_file=records.relative(masks[0][0].parent) if masks else None):
            continue
        for mask, name in masks:
            _object(records, key, records.relative(mask), name, bool(names) and name not in names)
    _orphans(records, found)
    return records


def _object(records: Records, image: str, file: str, name: str, unknown: bool) -> None:
    place = {"image": image, "file": file, "row": 1, "class_name": None if unknown else name}
    if unknown:
        records.problem("malformed-label", file, f"class {name!r} of {file} is not in the class list", image=image)
    position = records.boxes.append(
        {**place, "crowd": False, "box_stated": False, "usable": False if unknown else None}
    )
    records.outlines.append({"object": position, **place, "kind": "bitmap", "mask_file": file})
    records.masks.append({"image": image, "file": file, "kind": "instance"})


def _nested(split: str | None, place: Path) -> Iterator[Found]:
    """A folder an image, with images/ and masks/ in it; without masks/ in a test split."""
    for folder in sub_folders(place):
        images = named_folders(folder, ("images", "image"), place)
        masks = named_folders(folder, ("masks", "mask"), place)
        pictures = list(files_below(images[0], IMAGE_SUFFIXES)) if images else []
        if len(pictures) != 1:
            continue
        drawn = files_below(masks[0], IMAGE_SUFFIXES) if masks else ()
        yield split, pictures[0], [(mask, ONLY_CLASS) for mask in drawn]


def _by_name(split: str | None, place: Path) -> list[Found]:
    apart = [
        (i, m) for i in named_folders(place, IMAGE_FOLDERS, place) for m in named_folders(place, MASK_FOLDERS, place)
    ]
    images, masks = apart[0] if apart else (place, place)
    pictures = {p.relative_to(images).with_suffix("").as_posix(): p for p in _files(images, bool(apart))}
    drawn = {p.relative_to(masks).with_suffix("").as_posix(): p for p in _files(masks, bool(apart))}
    owners = {path: _owner(key, pictures) for key, path in drawn.items()}
    if not apart:
        # Among the images, a name alone does not make a mask: copy_1.png may be a second picture.
        owners = {path: o for path, o in owners.items() if o and o[1] != ONLY_CLASS and _one_channel(path)}
        pictures = {key: path for key, path in pictures.items() if path not in owners}
    found: dict[str, list[tuple[Path, str]]] = {key: [] for key in pictures}
    for path, owner in owners.items():
        if owner and owner[0] in found:
            found[owner[0]].append((path, owner[1]))
    return [(split, pictures[key], mine) for key, mine in found.items()]


def _files(folder: Path, below: bool) -> list[Path]:
    every = files_below(folder, IMAGE_SUFFIXES)
    return [path for path in every if below or path.parent == folder]


def _owner(mask: str, pictures: dict[str, Path]) -> tuple[str, str] | None:
    """Key of the image and class that a mask's name tells: the longest image name it begins with."""
    for end in (m.start() for m in reversed(list(re.finditer("_", mask)))):
        if mask[:end] in pictures:
            rest = re.fullmatch(r"(?:(.*[^_\d].*?)_)?\d+", mask[end + 1 :])
            return (mask[:end], clean(rest[1] or ONLY_CLASS)) if rest else None
    return None


def _one_channel(path: Path) -> bool:
    try:
        with open_image(path) as image:
            return image.mode in ("1", "L", "P")
    except UNREADABLE:
        return False


def _orphans(records: Records, found: list[Found]) -> None:
    """Masks that lie among those of images and belong to none."""
    used = {path for _, picture, masks in found for path in (picture, *(mask for mask, _ in masks))}
    for folder in dict.fromkeys(masks[0][0].parent for _, _, masks in found if masks):
        for path in files_below(folder, IMAGE_SUFFIXES):
            if path not in used:
                file = records.relative(path)
                records.problem("orphan-mask", file, f"{file} belongs to no image")
