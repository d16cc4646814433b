"""Outlines of any kind as bitmaps, drawn by the evaluator's own rasteriser, so that both mean the same pixels."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import at

Bitmap = NDArray[np.uint8]
MAX_PIXELS = 100_000_000
"""Larger images are not drawn on, as they are not decoded."""


def bitmap(data: DataFacts, row: Mapping[str, Any], losses: Losses) -> Bitmap | None:
    """(h, w) of 0 and 1: the pixels of an object's outline; None when it has none that can be drawn.

    Polygons are drawn on the image's size, `wide` x `high`; an outline that cannot be read is counted.
    """
    if row["outline"] is None:
        return None
    try:
        if row["outline"] == "bitmap":
            values = mask_values(Path(data.root) / row["mask_file"])
            return (values == row["mask_value"] if row["mask_value"] is not None else values > 0).astype(np.uint8)
        if row["outline"] == "rle":
            height, width = row["rle_height"], row["rle_width"]
            return _drawn({"size": [height, width], "counts": row["rle"]}, height, width)
        return _drawn(row["rings"], row["high"], row["wide"])
    except (ValueError, OSError) as error:
        losses.add("unreadable-outlines", "outlines that cannot be drawn are left out", f"{at(row)} ({error})")
        return None


def encoded(mask: Bitmap) -> str:
    """COCO's compressed run lengths of a mask."""
    from snellen.evaluation.masks import encode

    return encode(mask[None] > 0).compressed(0).decode("ascii")


@lru_cache(maxsize=1)
def mask_values(path: Path) -> NDArray[np.uint32]:
    """(h, w) values of a mask: r + 256 g + 65536 b of a coloured one. Raises OSError or ValueError."""
    from PIL import Image

    with Image.open(path) as image:
        _sized(image.height, image.width)
        if image.mode in ("RGB", "RGBA"):
            rgb = np.asarray(image.convert("RGB"), np.uint32)
            return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        return np.asarray(image).astype(np.uint32)


def _drawn(segmentation: Any, height: int | None, width: int | None) -> Bitmap:
    from snellen.evaluation.masks import read_segmentations

    size = _sized(height, width)
    masks, problems = read_segmentations([segmentation], np.array([size], np.int64))
    if problems:
        raise ValueError(problems[0][1])
    return masks.dense(0).astype(np.uint8)


def _sized(height: int | None, width: int | None) -> tuple[int, int]:
    if not height or not width or height < 0 or width < 0 or height * width > MAX_PIXELS:
        raise ValueError(f"an image of {width} x {height} px cannot be drawn on")
    return height, width
