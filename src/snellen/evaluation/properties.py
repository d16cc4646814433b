"""The bins by which lost points are told apart: class aside, what objects and their images are like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.boxes import CORNERS
from snellen.evaluation.crowding import crowding
from snellen.evaluation.pairs import Floats, Ints

BORDER = 2.0
"""Pixels: a box that ends nearer to the edge of the image reaches it."""
SIZES = (32.0, 96.0)
"""Pixels, square root of the area: COCO's small, medium and large."""
ASPECTS = (0.75, 1.33)
"""Width / height: tidecv's tall, square and wide."""
CROWDED = 0.3
"""IoU with another object from which suppression at the usual 0.5 to 0.7 begins to be a danger (judgement)."""
NO_SIZE = ("width", "height")
"""Image properties that only say where its edges are."""


@dataclass(frozen=True)
class Property:
    """One property cut into B bins."""

    name: str
    bins: Sequence[str]
    """(B,) in words."""
    edges: Sequence[tuple[float | None, float | None]]
    """(B,) lower bound, included, and upper bound, not included; None where the bin is open or a category."""
    objects: NDArray[Any]
    """(G,) integers, bin of every object; -1 when not known."""
    detections: NDArray[Any]
    """(N,) bin of the object that a detection speaks of, else of its own box; -1 when not known."""


def with_properties(objects: pl.DataFrame, num_images: int, sizes: Floats | None) -> pl.DataFrame:
    """Add area, aspect, border, neighbours, crowding and same_class_iou (see OBJECTS) to the usable objects.

    `objects` has the columns of `sift_boxes`; `sizes` is (num_images, 2) width and height in pixels, NaN where not
    known, or None.
    """
    boxes = np.ascontiguousarray(objects.select(CORNERS).to_numpy())
    classes, images = objects["class_index"].to_numpy(), objects["image_index"].to_numpy()
    close = crowding(boxes, classes, images, objects["crowd"].to_numpy(), num_images)
    border = touches_border(boxes, images, sizes)
    return objects.with_columns(
        pl.Series("area", _area(boxes), dtype=pl.Float64),
        pl.Series("aspect", _aspect(boxes), dtype=pl.Float64),
        pl.Series("border", border, dtype=pl.Float64).fill_nan(None).cast(pl.Boolean),
        pl.Series("neighbours", close.neighbours, dtype=pl.Int64),
        pl.Series("crowding", close.any_iou, dtype=pl.Float64),
        pl.Series("same_class_iou", close.same_class_iou, dtype=pl.Float64),
    )


def detection_properties(
    objects: pl.DataFrame,
    boxes: Floats,
    images: Ints,
    target: Ints,
    best_iou: Floats,
    sizes: Floats | None,
    image_properties: pl.DataFrame | None,
) -> list[Property]:
    """Size, aspect, crowding, border (when sizes are known) and thirds of every image property.

    `objects` as `with_properties` returns them; `boxes` (N, 4) xyxy, `images`, `target` (row of the object or -1) and
    `best_iou` (N,) of the detections; `image_properties` has a row for every image, in order, and numeric columns.
    """
    found: list[Property] = []
    claims = np.flatnonzero(target >= 0)
    claimed = target[claims]
    object_images = objects["image_index"].to_numpy()

    def add(name: str, values: Floats, own: Floats, cuts: Sequence[float], bins: Sequence[str]) -> None:
        mine, speaks = _digitized(values, cuts), _digitized(own, cuts)
        speaks[claims] = mine[claimed]
        found.append(Property(name, bins, _edges(cuts), mine, speaks))

    add("size", np.sqrt(objects["area"].to_numpy()), np.sqrt(_area(boxes)), SIZES,
        [f"below {SIZES[0]:g} px", f"{SIZES[0]:g} to {SIZES[1]:g} px", f"{SIZES[1]:g} px and more"])  # fmt: skip
    add("aspect", objects["aspect"].to_numpy(), _aspect(boxes), ASPECTS, ["tall", "square", "wide"])
    # Above 0 is touching; the smallest positive number keeps 0 itself out.
    add("crowding", objects["crowding"].to_numpy(), best_iou, (np.finfo(float).tiny, CROWDED),
        ["alone", f"touching, IoU below {CROWDED:g}", f"IoU {CROWDED:g} and more"])  # fmt: skip
    if sizes is not None:
        border = touches_border(objects.select(CORNERS).to_numpy(), object_images, sizes)
        add("border", border, touches_border(boxes, images, sizes), (0.5,), ["inside", "at the border"])
    for column in numeric_columns(image_properties):
        assert image_properties is not None
        values = image_properties[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = values[~np.isnan(values)]
        cuts = np.unique(np.quantile(known, [1 / 3, 2 / 3])) if len(known) else np.zeros(0)
        if len(cuts) < 2:
            continue
        low, high = (float(f"{cut:.3g}") for cut in cuts)
        if low < high:
            names = [f"below {low:g}", f"{low:g} to {high:g}", f"{high:g} and more"]
            of_image = _digitized(values, (low, high))
            found.append(Property(column, names, _edges((low, high)), of_image[object_images], of_image[images]))
    return found


def aligned(image_properties: pl.DataFrame | None, images: Sequence[str]) -> pl.DataFrame | None:
    """One row for each of `images`, in their order; nulls for an image the table lacks."""
    if image_properties is None:
        return None
    unique = image_properties.unique("image", keep="first", maintain_order=True)
    return pl.DataFrame({"image": list(images)}, schema={"image": pl.String}).join(
        unique, on="image", how="left", maintain_order="left"
    )


def sizes_of(pictures: pl.DataFrame | None) -> Floats | None:
    """(n, 2) width and height of the aligned images, NaN where not known; None when the columns are not there."""
    if pictures is None or not set(NO_SIZE) <= set(pictures.columns):
        return None
    return pictures.select(pl.col(NO_SIZE).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


def numeric_columns(image_properties: pl.DataFrame | None) -> list[str]:
    """The columns of a table of images that are properties to cut by."""
    if image_properties is None:
        return []
    return [c for c, dtype in image_properties.schema.items() if dtype.is_numeric() and c not in NO_SIZE]


def touches_border(boxes: Floats, images: Ints, sizes: Floats | None) -> Floats:
    """(n,) 1 where a box comes within BORDER px of an edge of its image, 0 where not, NaN where its size is unknown."""
    if sizes is None:
        return np.full(len(boxes), np.nan)
    width, height = sizes[:, 0][images], sizes[:, 1][images]
    near = (boxes[:, 0] < BORDER) | (boxes[:, 1] < BORDER)
    near |= (boxes[:, 2] > width - BORDER) | (boxes[:, 3] > height - BORDER)
    return np.where(np.isnan(width + height), np.nan, near)


def _area(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _aspect(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])


def _digitized(values: Floats, cuts: Sequence[float]) -> NDArray[np.int8]:
    """Bin i holds the values from cuts[i - 1], included, to cuts[i], not included; -1: NaN."""
    index = np.isnan(values).astype(np.int8)
    np.negative(index, out=index)
    for cut in cuts:
        index += values >= cut
    return index


def _edges(cuts: Sequence[float]) -> list[tuple[float | None, float | None]]:
    return list(zip([None, *cuts], [*cuts, None], strict=True))
