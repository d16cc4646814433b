"""Objects painted over each other in one picture: what formats need in which a pixel belongs to one thing."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.writers.bitmaps import bitmap
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import Row, at, unusable

Canvas = NDArray[np.uint32]


def painted(
    data: DataFacts, image: Row, rows: Sequence[Row], value: Callable[[int, Row], int | None], losses: Losses
) -> Canvas | None:
    """(h, w) of 0 where nothing is, else what `value` says of the object on top; None when the size is unknown.

    Large objects are painted first, so that small ones stay whole. An object without outline is its box.
    """
    if not image["wide"] or not image["high"]:
        for row in rows:
            losses.add("objects-without-size", "objects of images of unknown size are left out", at(row))
        return None
    canvas = np.zeros((image["high"], image["wide"]), np.uint32)
    layers: list[tuple[int, int, NDArray[np.uint8], Row]] = []
    for place, row in enumerate(rows):
        row["wide"], row["high"] = image["wide"], image["high"]
        number = value(place, row)
        if number is None:
            continue
        mask = bitmap(data, row, losses)
        if mask is not None and row["rings"] is not None:
            losses.add("polygons-to-pixels", "polygons were drawn: their corners are on whole pixels now", at(row))
        if mask is None and row["outline"] is None:
            mask = _rectangle(row, canvas.shape, losses)
        if mask is None or mask.shape != canvas.shape:
            if mask is not None:
                losses.add("masks-of-other-size", "outlines of another size than their image are left out", at(row))
            continue
        layers.append((int(mask.sum()), number, mask, row))
    for size, number, mask, row in sorted(layers, key=lambda layer: -layer[0]):
        if not size:
            losses.add("empty-objects", "objects that cover no pixel are left out", at(row))
        hidden = canvas[mask > 0]
        if hidden.any():
            losses.add("overlaps", "objects cover a part of others: a pixel belongs to one", at(row))
        canvas[mask > 0] = number
    return canvas


def _rectangle(row: Row, shape: tuple[int, ...], losses: Losses) -> NDArray[np.uint8] | None:
    if unusable(row):
        losses.add("unusable-boxes-left-out", "unusable boxes without an outline are left out", at(row))
        return None
    losses.add("boxes-to-rectangles", "boxes without an outline were drawn as rectangles", at(row))
    mask = np.zeros(shape, np.uint8)
    x1, y1, x2, y2 = (int(np.clip(round(row[c]), 0, 1 << 30)) for c in ("x1", "y1", "x2", "y2"))
    mask[y1:y2, x1:x2] = 1
    return mask


def png(values: Canvas) -> bytes:
    """A PNG of one channel: 8 bits where the values fit, else 16. Raises ValueError above 65,535."""
    import cv2

    if values.max(initial=0) > 65535:
        raise ValueError("a PNG of one channel holds values up to 65,535")
    kind = np.uint8 if values.max(initial=0) < 256 else np.uint16
    return bytes(cv2.imencode(".png", values.astype(kind))[1])


def colour_png(values: Canvas) -> bytes:
    """A PNG of three channels, r + 256 g + 65536 b."""
    import cv2

    channels = [(values >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    return bytes(cv2.imencode(".png", np.stack(channels, axis=2))[1])
