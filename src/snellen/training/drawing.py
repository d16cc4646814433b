"""Predictions drawn into pictures, for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import draw_bounding_boxes

from snellen.data.readers.voc_masks import voc_colour
from snellen.files import written_whole

QUALITY = 92


def drawn(pixels: NDArray[np.uint8], rows: Sequence[dict[str, Any]], class_names: Sequence[str]) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with its predictions: boxes with class and score, or the class of the whole image.

    `rows` are rows of a table of predictions that speak of this image. Classes have VOC's colours.
    """
    boxes, labels, colours = [], [], []
    height, width = pixels.shape[:2]
    for row in rows:
        whole = row.get("x1") is None
        boxes.append([0, 0, width - 1, height - 1] if whole else [row[side] for side in ("x1", "y1", "x2", "y2")])
        labels.append(f"{row['class_name']} {row['score']:.2f}")
        colours.append(voc_colour(class_names.index(row["class_name"]) + 1))
    if not boxes:
        return pixels
    image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
    line = max(1, round(max(height, width) / 320))
    out = draw_bounding_boxes(image, torch.tensor(boxes), labels=labels, colors=colours, width=line)
    return np.ascontiguousarray(out.permute(1, 2, 0).numpy())


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) as JPEG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="JPEG", quality=QUALITY)
