"""From an image file to the square frame that the network sees."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from snellen.data.decoding import GROUND
from snellen.data.jpeg import decode_reduced

PAD = GROUND
"""Grey of the letterbox and of what a shift brings in from outside; that under transparency, too."""


class Frame(NamedTuple):
    """A file's picture as the network sees it, and how it lies in the frame."""

    image: Tensor
    """(3, S, S) uint8; colour varies fastest in memory."""
    scale_x: float
    """Pixels of the frame per pixel of the image."""
    scale_y: float
    width: int
    """Pixels of the whole image, EXIF rotation applied."""
    height: int


def read_frame(path: Path, size: int, keep_ratio: bool) -> Frame:
    """Decode and fit a file, as `fit_frame` fits its decoded pixels; large JPEGs are decoded at a fraction.

    Raises one of `snellen.data.decoding.UNREADABLE`.
    """
    pixels, (width, height) = decode_reduced(path, size, keep_ratio)
    new_w, new_h = fitted(width, height, size, keep_ratio)
    return Frame(_framed(pixels, new_w, new_h, size), new_w / width, new_h / height, width, height)


def fit_frame(image_HW3: NDArray[np.uint8], size: int, keep_ratio: bool) -> tuple[Tensor, float, float]:
    """Resize into a (3, size, size) uint8 frame; returns it and the horizontal and vertical scale.

    keep_ratio: letterbox, the image at the top left and grey beside it; else stretched to the square.
    """
    height, width = image_HW3.shape[:2]
    new_w, new_h = fitted(width, height, size, keep_ratio)
    return _framed(image_HW3, new_w, new_h, size), new_w / width, new_h / height


def fitted(width: int, height: int, size: int, keep_ratio: bool) -> tuple[int, int]:
    """Width and height in the frame of an image, pixels."""
    if not keep_ratio:
        return size, size
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _framed(image_HW3: NDArray[np.uint8], new_w: int, new_h: int, size: int) -> Tensor:
    # Colours stay side by side: resizing is twice as fast so, and OpenCV reads them without a copy.
    x = torch.from_numpy(image_HW3 if image_HW3.flags.writeable else image_HW3.copy()).permute(2, 0, 1)
    if (new_h, new_w) != x.shape[1:]:
        x = resize(x, [new_h, new_w], antialias=True)
    frame = torch.full((size, size, 3), PAD, dtype=torch.uint8).permute(2, 0, 1)
    frame[:, :new_h, :new_w] = x
    return frame
