"""Blur and noise, as lenses and sensors add them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.training.augmentation.draws import Draws
from snellen.training.recipe import Recipe

Pixels = NDArray[np.uint8]
LEAST_BLUR = 0.1
"""Standard deviations below this, pixels, change no level."""


def worsened(image_HW3: Pixels, recipe: Recipe, draws: Draws, rng: np.random.Generator) -> Pixels:
    """The image out of focus by the drawn amount, then with Gaussian noise from `rng`."""
    sigma = recipe.blur * draws.blur
    if sigma >= LEAST_BLUR:
        image_HW3 = np.asarray(cv2.GaussianBlur(image_HW3, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)
    if recipe.noise:
        grain = rng.standard_normal(image_HW3.shape, np.float32) * np.float32(255 * recipe.noise * draws.noise)
        image_HW3 = np.clip(np.rint(image_HW3 + grain), 0, 255).astype(np.uint8)
    return image_HW3
