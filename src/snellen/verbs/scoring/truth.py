"""What a dataset says of the images that are scored: names, classes and objects."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.errors import UseError


def split_of(data: DataFacts, split: str | None) -> str | None:
    """The split to score: `split`, else `val`; None, all images, where nothing is declared. Raises UseError."""
    declared = sorted(data.images["split"].drop_nulls().unique())
    if split is None:
        return "val" if "val" in declared else None
    if split not in declared:
        raise UseError(f"{data.root}: no split {split!r}; declared are {', '.join(declared) or 'none'}")
    return split


def images_of(data: DataFacts, split: str | None) -> list[str]:
    """Images of the split; None: `val`, or all where nothing is declared. Raises UseError on an unknown one."""
    chosen = split_of(data, split)
    images = data.images if chosen is None else data.images.filter(pl.col("split") == chosen)
    return list(images.filter(pl.col("exists").fill_null(True))["image"])


def names_of(data: DataFacts, scored: Sequence[str]) -> dict[str, str]:
    """What a file of predictions may call an image -> its key: the format's own id, the file's name or its stem.

    COCO counts each split's ids anew, so a name means one of the `scored` images first. A name that two of them share
    stands for neither.
    """
    mine = data.images.filter(pl.col("image").is_in(list(scored)))
    return _unambiguous(data.images) | _unambiguous(mine)


def _unambiguous(images: pl.DataFrame) -> dict[str, str]:
    names: dict[str, str | None] = {}
    for image, own in images.select("image", "image_id").iter_rows():
        path = PurePosixPath(image)
        for name in {path.name, path.stem} if own is None else {own, path.name}:
            names[name] = image if names.get(name, image) == image else None
    return {name: image for name, image in names.items() if image is not None}


def truth_of(data: DataFacts, images: Sequence[str]) -> pl.DataFrame:
    """The usable objects of `images`: object, image, class_name, x1, y1, x2, y2, crowd, and area as stated (px^2)."""
    boxes = data.boxes.filter(pl.col("usable") & pl.col("image").is_in(list(images)))
    return boxes.select("object", "image", "class_name", *CORNERS, pl.col("crowd").fill_null(False), "area")


def classes_of(data: DataFacts) -> list[str]:
    """The classes by id."""
    return list(dict.fromkeys(data.classes.drop_nulls("class_name").sort("class_id")["class_name"]))


def class_ids_of(data: DataFacts) -> dict[str, str]:
    """Class id as text -> name."""
    return {str(i): str(name) for i, name in data.classes.select("class_id", "class_name").drop_nulls().iter_rows()}
