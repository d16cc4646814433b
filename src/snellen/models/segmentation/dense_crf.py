"""A fully connected CRF that draws a segmenter's probabilities to the edges of the image, by mean field.

Krahenbuhl and Koltun 2011, "Efficient inference in fully connected CRFs with Gaussian edge potentials"
(arXiv:1210.5644). Shapes: K classes, H W pixels, P = H * W.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from snellen.models.segmentation.permutohedral import PermutohedralLattice

Floats = NDArray[np.float32]
LEAST = 1e-5
"""Probabilities below are taken for this: of 0, no neighbour could ever raise one."""


@dataclass(frozen=True)
class CrfSettings:
    """Equation 3: how far, and how strongly, pixels pull each other to one class.

    The default weights are for objects much larger than the kernels, as in photographs; lines of a few pixels, such as
    membranes or vessels, are outvoted by what lies around them, and want no CRF at all.
    """

    spatial_sigma: float = 3.0
    """Pixels: standard deviation of the smoothness kernel."""
    spatial_weight: float = 3.0
    bilateral_sigma: float = 60.0
    """Pixels: standard deviation of the appearance kernel in space."""
    colour_sigma: float = 10.0
    """Grey levels of 0..255: its standard deviation in each colour."""
    bilateral_weight: float = 5.0
    iterations: int = 5
    """Mean-field updates."""

    def __post_init__(self) -> None:
        if min(self.spatial_sigma, self.bilateral_sigma, self.colour_sigma) <= 0 or self.iterations < 0:
            raise ValueError(f"sigmas must be above 0 and iterations 0 or more: {self}")


def dense_crf(
    probabilities_KHW: NDArray[Any], image_HW3: NDArray[np.uint8], settings: CrfSettings | None = None
) -> Floats:
    """Marginals of the mean field, algorithm 1, with Potts compatibility: (K, H, W) float32 that add up to 1.

    Messages of a kernel are divided on both sides by the root of its own sum, as in the authors' program, so that
    weights mean the same at the image's edge, and for any sigma. As there, a pixel's own part stays in its message.

    Args:
        probabilities_KHW: The segmenter's probabilities, K, at the image's own size; their negative logarithms are the
            unary potentials.
        image_HW3: The image.
        settings: Kernels and iterations; None: the default ones.

    Raises:
        ValueError: Sizes that differ.
    """
    s = settings or CrfSettings()
    height, width = probabilities_KHW.shape[1:]
    if image_HW3.shape[:2] != (height, width):
        raise ValueError(f"probabilities of {height} x {width}, image of {image_HW3.shape[:2]} pixels")
    unary = np.log(np.clip(probabilities_KHW, LEAST, 1.0)).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32) / s.bilateral_sigma
    colours = image_HW3.reshape(-1, 3).astype(np.float32) / s.colour_sigma
    lattice = PermutohedralLattice(np.column_stack([y.ravel(), x.ravel(), colours]))

    def bilateral(values: Floats) -> Floats:
        return lattice.filter(np.ascontiguousarray(values.reshape(len(values), -1).T)).T.reshape(values.shape)

    def spatial(values: Floats) -> Floats:
        # Its scale does not matter: it falls out of the division by its own sum.
        sigma = (0, s.spatial_sigma, s.spatial_sigma)
        return np.asarray(gaussian_filter(values, sigma, mode="constant"), np.float32)

    ones = np.ones((1, height, width), np.float32)
    kernels = [
        (weight, kernel, np.asarray(1 / np.sqrt(np.maximum(kernel(ones), 1e-12)), np.float32))
        for weight, kernel in ((s.spatial_weight, spatial), (s.bilateral_weight, bilateral))
        if weight
    ]
    q = np.asarray(softmax(unary, axis=0), np.float32)
    for _ in range(s.iterations):
        # Of the Potts model only agreement counts: what all classes pay alike falls out of the softmax.
        energy = unary.copy()
        for weight, kernel, norm in kernels:
            energy += np.float32(weight) * norm * kernel(q * norm)
        q = np.asarray(softmax(energy, axis=0), np.float32)
    return q
