"""From an image file to the square frame that the network sees."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import resize

PAD = 114
"""Grey of the letterbox and of what a shift brings in from outside."""


def decode(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3), EXIF rotation applied, transparency on grey.

    Raises one of `snellen.data.images.UNREADABLE` when no decoder can read it.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            values = np.asarray(image, dtype=np.float32)
            top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-6)
            grey = (values / top * 255).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (PAD, PAD, PAD, 255))
            image = Image.alpha_composite(ground, image)
        return np.asarray(image.convert("RGB"))


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
