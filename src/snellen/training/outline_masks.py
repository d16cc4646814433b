"""The outlines of an image's objects as masks of the size at which the network sees them.

Polygons and rotated boxes are scaled and drawn there by the evaluator's rasteriser (pycocotools' rules); run lengths
and bitmaps are drawn at their own size and shrunk by majority.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.decoding import UNREADABLE, open_image, too_large
from snellen.data.facts import DataFacts
from snellen.data.masks import Values, drawn_values
from snellen.data.records import leads_out

Bools = NDArray[np.bool_]
COLUMNS = ("kind", "rings", "rle", "rle_width", "rle_height", "mask_file", "mask_value")


@dataclass(frozen=True)
class ObjectOutlines:
    """The outlines of one image's objects: rows of a table that all images share."""

    table: pl.DataFrame
    """`COLUMNS`, one row an object; `kind` is null where it has no outline."""
    first: int
    count: int

    def drawn(
        self, root: Path, boxes: NDArray[np.float32], size: tuple[int, int], wanted: tuple[int, int]
    ) -> tuple[Bools, Bools]:
        """((M, h, w) masks at the `wanted` width and height, (M,) whether the object has an outline that can be read).

        `boxes` (M, 4) are xyxy pixels of the whole image, which is `size` wide and high; an object without an outline
        that can be read is its box, filled.
        """
        width, height = wanted
        masks = np.zeros((self.count, height, width), np.bool_)
        known = np.zeros(self.count, np.bool_)
        pictures: dict[str, Values | None] = {}
        scale = np.array([width / size[0], height / size[1]])
        for i, row in enumerate(self.table[self.first : self.first + self.count].iter_rows(named=True)):
            mask = _mask(root, row, size, wanted, pictures)
            if mask is not None and mask.any():
                masks[i], known[i] = mask, True
            else:
                x1, y1, x2, y2 = (boxes[i].reshape(2, 2) * scale).round().astype(int).ravel().tolist()
                masks[i, max(y1, 0) : max(y2, y1 + 1, 1), max(x1, 0) : max(x2, x1 + 1, 1)] = True
        return masks, known


def outlines_of(data: DataFacts, boxes: pl.DataFrame) -> pl.DataFrame | None:
    """`COLUMNS` for each row of `boxes`, rows of `data.boxes` in any order; None where no object has an outline."""
    drawn = data.outlines.unique("object", keep="first", maintain_order=True).select("object", *COLUMNS)
    if drawn.is_empty():
        return None
    return boxes.select("object").join(drawn, on="object", how="left", maintain_order="left").select(COLUMNS)


def read_values(root: Path, file: str, kind: str) -> Values:
    """(H, W) whole numbers drawn in a mask below `root`, see `drawn_values`. Raises one of UNREADABLE."""
    path = root / file
    if leads_out(root, path):
        raise ValueError("a link that leads out of the dataset's folder, not followed")
    if not path.is_file():
        raise ValueError("no such file")
    with open_image(path) as image:
        if why := too_large(*image.size):
            raise ValueError(why)
        return drawn_values(image, kind)


def _mask(
    root: Path, row: Mapping[str, Any], size: tuple[int, int], wanted: tuple[int, int], pictures: dict[str, Any]
) -> Bools | None:
    width, height = wanted
    if row["kind"] in ("polygon", "oriented"):
        scale = [width / size[0], height / size[1]]
        rings = [(np.array(r, dtype=np.float64)[: len(r) // 2 * 2].reshape(-1, 2) * scale) for r in row["rings"]]
        if not all(np.isfinite(r).all() for r in rings):
            return None
        return _rasterised([r.ravel().tolist() for r in rings], height, width)
    if row["kind"] == "rle":
        own = _rasterised(
            {"size": [row["rle_height"], row["rle_width"]], "counts": row["rle"]}, row["rle_height"], row["rle_width"]
        )
    elif row["kind"] == "bitmap":
        own = _from_picture(root, row, pictures)
    else:
        return None
    if own is None or own.shape != (size[1], size[0]):
        return None
    if own.shape == (height, width):
        return own
    shrunk = cv2.resize(own.view(np.uint8) * 255, wanted, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk >= 128)


def _rasterised(outline: Any, height: int | None, width: int | None) -> Bools | None:
    from snellen.evaluation.masks import read_segmentations

    if not height or not width or min(height, width) < 0 or too_large(width, height):
        return None
    masks, problems = read_segmentations([outline], np.array([[height, width]], np.int64))
    return None if problems else np.asarray(masks.dense(0))


def _from_picture(root: Path, row: Mapping[str, Any], pictures: dict[str, Any]) -> Bools | None:
    file, value = row["mask_file"], row["mask_value"]
    if file not in pictures:
        try:
            # Colours of a panoptic picture are packed; of one without a value all that is not zero counts.
            pictures[file] = read_values(root, file, "instance" if value is None else "panoptic")
        except UNREADABLE:
            pictures[file] = None
    values = pictures[file]
    return None if values is None else np.asarray(values != 0 if value is None else values == value)
