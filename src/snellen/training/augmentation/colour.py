"""Brightness, contrast, saturation, hue and grey, by tables of the 256 levels where colours do not mix.

The factors mean what torchvision's `adjust_*` mean by them; levels are rounded where torchvision cuts them off.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.training.augmentation.draws import Draws
from snellen.training.recipe import Recipe

Pixels = NDArray[np.uint8]
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, ITU-R 601-2."""
_LEVELS = np.arange(256, dtype=np.float64)


def recoloured(image_HW3: Pixels, recipe: Recipe, draws: Draws) -> Pixels:
    """The image under the drawn changes of light; a new array."""
    image = image_HW3
    if recipe.jitter_colour:
        image = brightened(image, 1 + recipe.jitter_colour * draws.brightness)
        image = contrasted(image, 1 + recipe.jitter_colour * draws.contrast)
    if recipe.jitter_saturation:
        image = saturated(image, 1 + recipe.jitter_saturation * draws.saturation)
    if recipe.jitter_hue:
        image = hue_shifted(image, recipe.jitter_hue * draws.hue)
    if draws.grey < recipe.grey:
        image = saturated(image, 0.0)
    return image


def brightened(image_HW3: Pixels, factor: float) -> Pixels:
    """Levels times `factor`."""
    return _through(image_HW3, _LEVELS * factor)


def contrasted(image_HW3: Pixels, factor: float) -> Pixels:
    """Distances from the image's mean grey times `factor`."""
    mean = float(np.dot(cv2.mean(image_HW3)[:3], LUMA))
    return _through(image_HW3, mean + (_LEVELS - mean) * factor)


def saturated(image_HW3: Pixels, factor: float) -> Pixels:
    """Distances from each pixel's own grey times `factor`; 0 is grey."""
    mix = factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))
    return np.asarray(cv2.transform(image_HW3, mix), np.uint8)


def hue_shifted(image_HW3: Pixels, share: float) -> Pixels:
    """Hues turned by `share` of the colour circle, -0.5..0.5."""
    hsv = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(share * 256) % 256)  # 256 levels are the whole circle, and wrap around as it does
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def _through(image: Pixels, levels: NDArray[np.float64]) -> Pixels:
    return np.asarray(cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), np.uint8)
