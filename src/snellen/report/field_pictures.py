"""Receptive fields drawn over one of the user's images, with the sizes of the objects beside them."""

import base64
import io
import math
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decoding import GROUND, UNREADABLE, decode
from snellen.data.facts import DataFacts
from snellen.network.facts import NetworkFacts
from snellen.network.field_facts import receptive_field_of
from snellen.network.stages import stages
from snellen.report.receptive_field import Box, receptive_field
from snellen.report.thumbnails import inside

SIDE = 300
BYTES = 40_000
"""Of the picture, at most."""
PHOTO = "field-photo"
TRIED = 5
"""Images tried before the fields are drawn over nothing."""

UNMEASURED = "What the central output sees; --effective measures what sways it."

Figures = list[tuple[str, Markup, str]]
"""Title, drawing, hint."""


def field_pictures(
    network: NetworkFacts, data: DataFacts | None, root: Path | None, sides: NDArray[np.float64]
) -> Figures:
    """One drawing per level of a detector, or per stage of another network: theoretical and effective field.

    `sides` are the objects' sides in input pixels; their tenths, middle and nine tenths are drawn beside the image.
    The picture is one of `data` below `root`, as training would fit it into the input; None: no picture.
    """
    if len(network.input_shape) != 4:
        return []
    layers = list(network.levels.sort("level")["layer"]) if len(network.levels) else stages(network)
    size = (network.input_shape[2], network.input_shape[3])
    image = _picture(data, root, size) if data is not None and root is not None else None
    objects = [
        (name, float(np.quantile(sides, q)), float(np.quantile(sides, q)))
        for name, q in (("small (10 %)", 0.1), ("median", 0.5), ("large (90 %)", 0.9))
        if len(sides)
    ]
    measured = {r["layer"]: r for r in network.effective.iter_rows(named=True)}
    figures: Figures = []
    for layer in layers[:4]:
        theory, stride, known = _theory(network, layer, size)
        effective, heat = _measured(measured.get(layer))
        if not known:
            continue
        # The picture stands in the page once, and the others refer to it.
        drawn = receptive_field(
            size, theory=theory, effective=effective, heat=heat, objects=objects,
            image=f"#{PHOTO}" if figures and image else image, image_id=PHOTO, name=f"field of {layer}",
        )  # fmt: skip
        title = layer + (f", stride {stride:g}" if stride else "")
        figures.append((title, drawn, "" if effective else UNMEASURED))
    return figures


def _theory(network: NetworkFacts, layer: str, size: tuple[int, int]) -> tuple[Box | None, float | None, bool]:
    """Box of the central output (None: the whole input), stride, and whether anything is known."""
    ran = network.layers.filter(pl.col("order").is_not_null()).sort("order")
    # Of a container the last part in the pass speaks.
    inside_it = ran.filter((pl.col("layer") == layer) | pl.col("layer").str.starts_with(f"{layer}."))
    field = receptive_field_of(inside_it.row(-1, named=True)) if len(inside_it) else None
    if field is None:
        return None, None, False
    if not math.isfinite(field.height) or field.rows is None or field.columns is None:
        return None, field.stride[0] if field.stride else None, True
    down, across = field.rows.stride, field.columns.stride
    return field.box(int(size[0] / down / 2), int(size[1] / across / 2)), down, True


def _measured(row: dict[str, object] | None) -> tuple[Box | None, NDArray[np.float64] | None]:
    if row is None:
        return None, None
    height, width, middle, column = (float(str(row[c])) for c in ("height", "width", "centre_row", "centre_column"))
    box = (column - (width - 1) / 2, middle - (height - 1) / 2, column + (width + 1) / 2, middle + (height + 1) / 2)
    shape = int(str(row["heat_rows"])), int(str(row["heat_columns"]))
    return box, np.asarray(row["heat"], np.float64).reshape(shape)


def _picture(data: DataFacts, root: Path, size: tuple[int, int]) -> str | None:
    """A data URI of the first image that can be read, in a frame of the input's shape."""
    scale = SIDE / max(size)
    tall, wide = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    for name in data.images["image"].head(TRIED):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture = Image.fromarray(decode(inside(root, name)))
        except UNREADABLE:
            continue  # The examination of the data tells of it; any other image serves.
        if data.task == "detection":
            factor = min(wide / picture.width, tall / picture.height)
            fitted = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
            frame = Image.new("RGB", (wide, tall), (GROUND,) * 3)
            frame.paste(fitted, (0, 0))
        else:
            frame = picture.resize((wide, tall))
        return _encoded(frame.convert("RGB"))
    return None


def _encoded(frame: Image.Image) -> str | None:
    """As a data URI of at most `BYTES`; None where that cannot be."""
    for quality in (70, 45, 20):
        stored = io.BytesIO()
        frame.save(stored, "JPEG", quality=quality, optimize=True)
        told = "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()
        if len(told) <= BYTES:
            return told
    return None
