"""What one output of a layer sees, drawn over an image, with the sizes of the objects beside it.

The heat is the effective field (`snellen.network.effective_field`), the frames are its 95 % box and the theoretical
field; all in input pixels, so that frame, image and objects share one scale.
"""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from snellen.report.plain import number
from snellen.report.svg import drawing, element, rect, text

SIDE = 300.0
"""Longer side of the image in the drawing."""
CELLS = 48
"""Most cells of heat along one side."""
FAINT = 0.02
"""Cells below this share of the hottest are not drawn."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in input pixels; right and bottom exclusive."""


def receptive_field(
    size: tuple[int, int], *, theory: Box | None = None, effective: Box | None = None,
    heat: NDArray[np.float64] | None = None, objects: Sequence[tuple[str, float, float]] = (),
    image: str | None = None, image_id: str | None = None, name: str = "",
) -> Markup:  # fmt: skip
    """The receptive field of one output as an SVG.

    Args:
        size: Height and width of the input, pixels.
        theory: What the output sees at all; None or infinite: the whole input. Cut at the image's border.
        effective: The box that holds 95 % of what sways it.
        heat: Share of each input pixel, (height, width), any positive scale.
        objects: Name, width and height in input pixels of objects to compare with (such as "median").
        image: Data URI of the picture underneath, stretched to the input; or "#id" of one that the page holds already.
        image_id: What another drawing of the same page may call this picture.
        name: Of the layer, for the text alternative.
    """
    height, width = size
    scale = SIDE / max(height, width)
    wide, tall = width * scale, height * scale
    parts = [rect(0, 0, wide, tall, class_="track")]
    if image is not None and image.startswith("#"):
        parts.append(element("use", href=image))
    elif image is not None:
        parts.append(
            element("image", href=image, id=image_id, width=wide, height=tall, preserveAspectRatio="none")
        )  # fmt: skip
    if heat is not None:
        parts += _heat(heat, wide, tall)
    told = []
    if theory is None or not all(math.isfinite(v) for v in theory):
        theory, label = (0.0, 0.0, float(width), float(height)), "sees the whole input"
    else:
        label = f"theoretical {_sides(theory)}"
    parts.append(_frame(theory, size, scale, label, "box b0"))
    told.append((label, "b0"))
    if effective is not None:
        label = f"effective (95 %) {_sides(effective)}"
        parts.append(_frame(effective, size, scale, label, "box b1"))
        told.append((label, "b1"))
    top, most = 0.0, tall
    right = wide + 14
    for title, object_width, object_height in objects:
        across, down = object_width * scale, object_height * scale
        tip = f"{title}: {number(object_width)} x {number(object_height)} px"
        parts.append(rect(right, top, across, down, tip, class_="s3", fill_opacity=0.75))
        parts.append(text(right + across + 5, top + min(max(down / 2, 4), down) + 4, tip, class_="tick"))
        top += max(down, 14) + 8
        most = max(most, top)
    total = max([wide, *(right + w * scale + 150 for _, w, _ in objects)])
    for line, (label, kind) in enumerate(told):
        y = most + 16 + 15 * line
        parts.append(element("line", x1=0, x2=16, y1=y - 4, y2=y - 4, class_=f"box {kind}"))
        parts.append(text(22, y, label, class_="tick"))
    alternative = "; ".join([name or "receptive field", *(label for label, _ in told)])
    return drawing(total, most + 8 + 15 * len(told) + 6, parts, alternative)


def _sides(box: Box) -> str:
    return f"{number(box[2] - box[0])} x {number(box[3] - box[1])} px"


def _frame(box: Box, size: tuple[int, int], scale: float, tip: str, class_: str) -> Markup:
    left, right = (min(max(v, 0.0), float(size[1])) * scale for v in (box[0], box[2]))
    top, bottom = (min(max(v, 0.0), float(size[0])) * scale for v in (box[1], box[3]))
    return rect(left, top, right - left, bottom - top, tip, class_=class_)


def _heat(heat: NDArray[np.float64], wide: float, tall: float) -> list[Markup]:
    """The map as cells whose opacity is the root of their share, so that the tail is seen too."""
    rows, columns = (min(CELLS, n) for n in heat.shape)
    down = [heat.shape[0] * i // rows for i in range(rows)]
    across = [heat.shape[1] * i // columns for i in range(columns)]
    sums = np.add.reduceat(np.add.reduceat(heat, down, 0), across, 1)
    areas = np.outer(np.diff([*down, heat.shape[0]]), np.diff([*across, heat.shape[1]]))
    cells = sums / areas
    peak = float(cells.max()) or 1.0
    x = [wide * i / heat.shape[1] for i in [*across, heat.shape[1]]]
    y = [tall * i / heat.shape[0] for i in [*down, heat.shape[0]]]
    cell = [
        (x[j], y[i], x[j + 1] - x[j], y[i + 1] - y[i], math.sqrt(cells[i, j] / peak))
        for i, j in zip(*np.nonzero(cells >= FAINT * peak), strict=True)
    ]
    return [rect(*sides, class_="s1", fill_opacity=0.85 * depth) for *sides, depth in cell]
