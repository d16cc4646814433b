"""Class folders: `[train|val|test/]<class>/<image>`. Precision: the class of an image is a name, kept as it is.

Folder names cannot hold every class name: `/` and a leading `.` become `_`. Of a dataset with boxes, images whose boxes
are all of one class are kept; boxes are not.
"""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.data.records import SPLIT_NAMES
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import (
    RESERVED,
    Row,
    Written,
    class_index,
    found_by_looking,
    objects,
    place_images,
    rest_of,
)

LONGEST_FOLDER = 200
"""Bytes of a folder's name; file systems allow 255."""


def write(data: DataFacts, losses: Losses) -> Written:
    """Images by class; the files are the folders of the classes without an image."""
    splits = set(data.images["split"])
    split_of = _splits(splits, losses, data)
    folders = _folders(data, losses, reserved=split_of == {})
    labels = dict(data.images.select("image", "class_name").iter_rows())
    if data.task != "classification":
        labels = _labels_of_boxes(data, losses)

    def wish(row: Row) -> str | None:
        name = labels.get(row["image"])
        if name is None and data.task != "classification":
            return None
        if name is None:
            losses.add("images-without-class", "images without a class lie beside the class folders", row["image"])
        first = split_of.get(row["split"])
        rest = rest_of(row, *((row["class_name"],) if row["class_name"] else ()))
        folder = [folders[name]] if name is not None else []
        return found_by_looking(row, losses, "/".join([*([first] if first else []), *folder, rest]))

    places = place_images(data, losses, wish, taken=RESERVED)
    return Written(places, _empty(places, folders, "train/" if split_of else ""))


def _splits(splits: set[str | None], losses: Losses, data: DataFacts) -> dict[str | None, str]:
    """Split -> folder. Without train the readers of class folders would take a split's folder for a class."""
    if splits <= {None}:
        return {}
    if "train" not in splits:
        losses.add(
            "splits", "images lose their split: class folders without train/ have none", "all", data.images.height
        )
        return {}
    if None in splits:
        losses.add("splits", "images of no split go to train", "some", data.images["split"].null_count())
    return {split: split or "train" for split in splits}


def _folders(data: DataFacts, losses: Losses, *, reserved: bool) -> dict[str, str]:
    """Class -> the name of its folder."""
    found: dict[str, str] = {}
    for name in data.classes["class_name"]:
        folder = name.replace("/", "_").replace("\0", "_")
        folder = f"_{folder[1:]}" if folder.startswith(".") else folder or "_"
        folder = folder.encode()[:LONGEST_FOLDER].decode("utf-8", "ignore")
        while folder in found.values() or (reserved and (folder.lower() in SPLIT_NAMES or folder in RESERVED)):
            folder += "_"
        if folder != name:
            losses.add("class-names", "class names changed: no folder can bear them", f"{name!r} -> {folder!r}")
        found[name] = folder
    return found


def _labels_of_boxes(data: DataFacts, losses: Losses) -> dict[str, str]:
    """The class of the images whose boxes are of one class; what is lost thereby is counted."""
    index, names = class_index(data), data.classes["class_name"].to_list()
    labels: dict[str, str] = {}
    for image, rows in objects(data, losses):
        kinds = {index(row) for row in rows}
        only = kinds.pop() if len(kinds) == 1 else None
        if only is None:
            what = "images without a box, or with boxes of several or unknown classes, are left out"
            losses.add("images-of-no-one-class", what, image["image"])
            continue
        labels[image["image"]] = names[only]
        losses.add("boxes", "boxes are left out: only the class of the image remains", image["image"], len(rows))
    return labels


def _empty(places: dict[str, str], folders: dict[str, str], top: str) -> Iterator[tuple[str, bytes]]:
    used = {part for path in places.values() for part in path.split("/")[:-1]}
    for folder in folders.values():
        if folder not in used:
            yield f"{top}{folder}/", b""
