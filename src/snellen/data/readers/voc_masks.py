"""The masks of a VOC set: a PNG an image in SegmentationClass/.

Their values are those of VOC's class list where all names in use are VOC's, or the positions of a labelmap.txt, as CVAT
writes it. Values of masks of other classes are unknown: those masks are named in `images`, and not judged.
"""

from itertools import islice
from pathlib import Path

from snellen.data.readers import class_lists
from snellen.data.records import Records, files_below, leads_out

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""In the order of the values of VOC's masks, which begin with 1; 0 is background, 255 the void between objects."""
SAMPLED = 8
"""Masks whose header is read to tell colours from class ids."""


def add_masks(records: Records, folder: Path, by_stem: dict[str, Path], names: list[str]) -> None:
    """Name the masks of `folder` and, where it is known what their values mean, have them measured.

    `names` are the classes in use, `by_stem` the images. Classes take the ids that the masks give them.
    """
    if (folder / "SegmentationObject").is_dir():
        records.notes.append("SegmentationObject/, a value an object, is not read")
    place = folder / "SegmentationClass"
    masks = {p.stem: p for p in files_below(place, frozenset({".png"}), records.pass_over)} if place.is_dir() else {}
    if not masks:
        return
    known = _take_classes(records, folder / "labelmap.txt", names)
    sample = [p for p in islice(masks.values(), SAMPLED) if not leads_out(records.root, p)]
    kind = "colour" if any(map(_is_coloured, sample)) else "index"
    for stem, path in by_stem.items():
        mask = masks.pop(stem, None)
        if mask is not None:
            key, file = records.relative(path), records.relative(mask)
            records.image_rows.put(records.images[key], "mask_file", file)
            if known:
                records.masks.append({"image": key, "file": file, "kind": kind})
    for mask in masks.values():
        file = records.relative(mask)
        records.problem("orphan-mask", file, f"{file} has no image")


def _take_classes(records: Records, labels: Path, names: list[str]) -> bool:
    """Whether the values of the masks have a meaning, which is then that of `records.classes`."""
    if labels.is_file():
        records.classes.clear()
        class_lists.read(records, labels)
        # No object, but the value of what is none, as 0 is in VOC's own masks.
        records.classes = {n: c for n, c in records.classes.items() if c[0].lower() != "background"}
        return True
    if set(names) <= set(VOC_CLASSES):
        records.classes = {VOC_CLASSES.index(name) + 1: (name, False) for name in names}
        records.class_details = {n: {"colour": voc_colour(n)} for n in records.classes}
        return True
    records.notes.append("no labelmap.txt says what the values of SegmentationClass/ mean: the masks are not judged")
    return False


def _is_coloured(png: Path) -> bool:
    """Whether the colour type of a PNG's header is RGB or RGBA; a palette or greys hold class ids."""
    if not png.is_file():
        return False
    with png.open("rb") as file:
        head = file.read(26)
    return len(head) == 26 and head[12:16] == b"IHDR" and head[25] in (2, 6)


def voc_colour(value: int) -> str:
    """#rrggbb of a class in VOC's palette: its bits, lowest first, go to red, green, blue by turns, highest first."""
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (value >> bit & 1) << (7 - bit // 3)
    return "#" + bytes(channels).hex()
