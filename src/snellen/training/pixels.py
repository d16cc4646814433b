"""From an image file to the square frame that the network sees."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.data.decoding import GROUND
from snellen.data.jpeg import decode_reduced, reduced

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


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 less `mean`, by `std`, in float32 with colour fastest in memory.

    `mean` and `std` have three numbers on the scale of 0..255, on the images' device. Every element is exactly
    (image - mean) / std. Whole rows are computed at once: with three numbers at a time it takes ten times as long.
    """
    count, _, height, width = images.shape
    mean_row, std_row = mean.flatten().repeat(width), std.flatten().repeat(width)
    rows = images.permute(0, 2, 3, 1).reshape(count, height, 3 * width)
    if rows.is_cuda:
        x = rows.to(torch.float32, copy=True).sub_(mean_row).div_(std_row)
    else:
        x = torch.empty(rows.shape)
        for one, raw in zip(x, rows, strict=True):  # an image at a time stays in the processor's cache
            one.copy_(raw).sub_(mean_row).div_(std_row)
    return x.view(count, height, width, 3).permute(0, 3, 1, 2)


def fit_frame(image_HW3: NDArray[np.uint8], size: int, keep_ratio: bool) -> tuple[Tensor, float, float]:
    """Resize into a (3, size, size) uint8 frame; returns it and the horizontal and vertical scale.

    keep_ratio: letterbox, the image at the top left and grey beside it; else stretched to the square. An image of twice
    the size or more is first halved by means of 2 x 2 pixels, as often as it takes; the rest is antialiased.
    """
    height, width = image_HW3.shape[:2]
    new_w, new_h = fitted(width, height, size, keep_ratio)
    return _framed(reduced(image_HW3, size, keep_ratio), new_w, new_h, size), new_w / width, new_h / height


def fitted(width: int, height: int, size: int, keep_ratio: bool) -> tuple[int, int]:
    """Width and height in the frame of an image, pixels."""
    if not keep_ratio:
        return size, size
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _framed(image_HW3: NDArray[np.uint8], new_w: int, new_h: int, size: int) -> Tensor:
    # Colours stay side by side: resizing is twice as fast so, and OpenCV reads them without a copy.
    if (new_h, new_w) != image_HW3.shape[:2]:
        x = torch.from_numpy(image_HW3 if image_HW3.flags.writeable else image_HW3.copy()).permute(2, 0, 1)[None]
        image_HW3 = interpolate(x, (new_h, new_w), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    frame = np.empty((size, size, 3), np.uint8)
    frame[:new_h, :new_w] = image_HW3
    frame[new_h:] = PAD
    frame[:new_h, new_w:] = PAD
    return torch.from_numpy(frame).permute(2, 0, 1)
