"""The class of each pixel of an image: read from index, colour and panoptic masks, or painted from outlines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.decoding import UNREADABLE
from snellen.data.facts import DataFacts
from snellen.data.mask_classes import IGNORED, packed
from snellen.data.masks import Values
from snellen.errors import UseError
from snellen.training.outline_masks import ObjectOutlines, read_values

ClassIds = NDArray[np.uint8]
BACKGROUND = ("background", "_background_", "__background__", "unlabeled", "unlabelled")
"""Names by which a class list counts the background among its classes."""


@dataclass(frozen=True)
class ClassMap:
    """Where the classes of one image's pixels stand: a mask with the meaning of its values, or painted outlines."""

    file: str | None = None
    """The mask, relative to the root; None: painted."""
    kind: str = "index"
    meaning: Mapping[int, int] | None = None
    """Value -> class; what is not in it is ignored."""
    outlines: ObjectOutlines | None = None
    boxes: NDArray[np.float32] | None = None
    """(M, 4) xyxy pixels, of the painted objects."""
    labels: NDArray[np.int64] | None = None
    """(M,) classes of the painted objects, 255 for what is ignored; class 0 is what no object covers."""

    def drawn(self, root: Path, size: tuple[int, int], wanted: tuple[int, int]) -> ClassIds:
        """(h, w) class ids at the `wanted` width and height, `IGNORED` where nothing is known.

        `size` is the width and height of the whole image. Raises UseError when a mask cannot be read or is not of the
        image's size.
        """
        if self.file is None:
            return self._painted(root, size, wanted)
        try:
            values = read_values(root, self.file, self.kind)
        except UNREADABLE as error:
            raise UseError(f"its mask {self.file} cannot be read: {error}") from error
        if values.shape != (size[1], size[0]):
            own = f"{values.shape[1]} x {values.shape[0]}"
            raise UseError(f"its mask {self.file} is {own}, the image {size[0]} x {size[1]} pixels")
        # INTER_NEAREST_EXACT takes the pixel under the centre, as the image's resizing has it.
        ids = looked_up(values, self.meaning or {})
        return np.asarray(cv2.resize(ids, wanted, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)

    def _painted(self, root: Path, size: tuple[int, int], wanted: tuple[int, int]) -> ClassIds:
        if self.outlines is None or self.boxes is None or self.labels is None:
            raise UseError("it has neither mask nor outlines")
        ids = np.zeros((wanted[1], wanted[0]), np.uint8)
        masks, known = self.outlines.drawn(root, self.boxes, size, wanted)
        # The small ones last: what lies on something large is not hidden by it.
        for i in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
            ids[masks[i]] = self.labels[i] if known[i] else IGNORED
        return ids


def looked_up(values: Values, meaning: Mapping[int, int]) -> ClassIds:
    """(H, W) classes of the drawn `values`; IGNORED for those that mean nothing."""
    known = np.array(sorted(meaning), dtype=np.int64)
    to = np.array([*(meaning[v] for v in known.tolist()), IGNORED], dtype=np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        table = np.full(np.iinfo(values.dtype).max + 1, IGNORED, np.uint8)
        inside = known[(known >= 0) & (known < len(table))]
        table[inside] = [meaning[v] for v in inside.tolist()]
        return table[values]
    at = np.searchsorted(known, values)
    at[np.append(known, -1)[at] != values] = len(known)
    return to[at]


def maps_by_image(data: DataFacts, class_names: Sequence[str]) -> dict[str, ClassMap]:
    """Image -> its mask and what its values mean, of the index, colour and panoptic masks that can be used."""
    position = {name: k for k, name in enumerate(class_names)}
    rows = data.classes.drop_nulls("class_name").filter(pl.col("class_name").is_in(class_names))
    index = {int(i): position[n] for i, n in rows.select("class_id", "class_name").drop_nulls().iter_rows()}
    colour = {packed(c): position[n] for c, n in rows.select("colour", "class_name").drop_nulls().iter_rows()}
    meanings = {"index": index, "colour": colour}
    # Values in use that stand for a class whatever its id: 0 and 255 of two classes.
    kinds = data.masks.select("file", "kind").unique()
    used = data.mask_values.drop_nulls("class_name").join(kinds, on="file").select("kind", "value", "class_name")
    for kind, value, name in used.unique().iter_rows():
        if kind in meanings and name in position:
            meanings[kind][value] = position[name]
    segments: dict[str, dict[int, int]] = {}
    drawn = data.outlines.select("mask_file", "mask_value", "class_name").drop_nulls()
    for file, value, name in drawn.iter_rows():
        if name in position:
            segments.setdefault(file, {})[value] = position[name]
    found: dict[str, ClassMap] = {}
    for image, file, kind, error in data.masks.select("image", "file", "kind", "error").iter_rows():
        if image is None or error is not None or kind not in ("index", "colour", "panoptic"):
            continue
        meaning = segments.get(file, {}) if kind == "panoptic" else meanings[kind]
        found.setdefault(image, ClassMap(file, kind, meaning))
    return found


def names_background(class_names: Sequence[str]) -> bool:
    """Whether the first class is what no object covers."""
    return bool(class_names) and class_names[0].lower() in BACKGROUND
