"""From an image file to the square frame that the network sees."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from snellen.data.decoding import GROUND

PAD = GROUND
"""Grey of the letterbox and of what a shift brings in from outside; that under transparency, too."""


def fit_frame(image_HW3: NDArray[np.uint8], size: int, keep_ratio: bool) -> tuple[Tensor, float, float]:
    """Resize into a (3, size, size) uint8 frame; returns it and the horizontal and vertical scale.

    keep_ratio: letterbox, the image at the top left and grey beside it; else stretched to the square.
    """
    height, width = image_HW3.shape[:2]
    x = torch.from_numpy(np.array(image_HW3)).permute(2, 0, 1)
    if not keep_ratio:
        return resize(x, [size, size], antialias=True).contiguous(), size / width, size / height
    scale = size / max(height, width)
    new_h, new_w = max(1, round(height * scale)), max(1, round(width * scale))
    if (new_h, new_w) != (height, width):
        x = resize(x, [new_h, new_w], antialias=True)
    frame = torch.full((3, size, size), PAD, dtype=torch.uint8)
    frame[:, :new_h, :new_w] = x
    return frame, new_w / width, new_h / height
