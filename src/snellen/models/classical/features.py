"""Numbers that describe an image: edges, texture, colour, pixels, or what a frozen network sees.

Shapes: N images (N, 3, H, W) uint8 -> (N, D) float32.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from skimage.feature import hog as oriented_gradients
from skimage.feature import local_binary_pattern
from torch import Tensor

Features = NDArray[np.float32]

SIDE = 64
"""Pixels to which an image is resized before HOG and LBP: 7 x 7 blocks of HOG, 4 x 4 cells of LBP."""
RAW_SIDE = 16
"""Pixels of the thumbnail whose values are the raw features."""
COLOUR_BINS = 6
"""Bins of each of red, green, blue in the joint histogram."""
LBP_POINTS = 8


def raw(images: Tensor) -> Features:
    """A thumbnail's pixels, 0..1: D = 768."""
    small = [cv2.resize(image, (RAW_SIDE, RAW_SIDE), interpolation=cv2.INTER_AREA) for image in _pictures(images)]
    return np.stack(small).reshape(len(images), -1).astype(np.float32) / np.float32(255)


def hog(images: Tensor) -> Features:
    """Histograms of oriented gradients: 9 bins, cells of 8 px, blocks of 2 x 2 cells, L2-Hys; D = 1,764.

    Dalal & Triggs 2005, "Histograms of Oriented Gradients for Human Detection", sec. 6; scikit-image's `hog`.
    """
    rows = [
        oriented_gradients(image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys")
        for image in _grey(images)
    ]
    return np.stack(rows).astype(np.float32)


def lbp(images: Tensor) -> Features:
    """Uniform local binary patterns of 8 neighbours, a histogram in each of 4 x 4 cells; D = 160.

    Ojala, Pietikainen & Maenpaa 2002, "Multiresolution Gray-Scale and Rotation Invariant Texture Classification with
    Local Binary Patterns", eq. 9; scikit-image's `local_binary_pattern(method="uniform")`.
    """
    kinds = LBP_POINTS + 2
    rows = []
    for image in _grey(images):
        codes = local_binary_pattern(image, LBP_POINTS, 1.0, method="uniform").astype(np.int64)
        cells = codes.reshape(4, SIDE // 4, 4, SIDE // 4).swapaxes(1, 2).reshape(16, -1)
        rows.append(np.concatenate([np.bincount(cell, minlength=kinds) / len(cell) for cell in cells]))
    return np.stack(rows).astype(np.float32)


def colour(images: Tensor) -> Features:
    """The joint histogram of red, green and blue in 6 bins each, as shares of the pixels; D = 216.

    Swain & Ballard 1991, "Color Indexing", sec. 3. The square root makes a linear kernel Hellinger's.
    """
    bins = images.to(torch.int64) * COLOUR_BINS // 256
    codes = (bins[:, 0] * COLOUR_BINS + bins[:, 1]) * COLOUR_BINS + bins[:, 2]
    counts = torch.stack([row.flatten().bincount(minlength=COLOUR_BINS**3) for row in codes])
    shares: Features = (counts.float() / codes[0].numel()).sqrt().numpy()
    return shares


FEATURES: dict[str, Callable[[Tensor], Features]] = {"hog": hog, "lbp": lbp, "colour": colour, "raw": raw}


class FrozenNetwork:
    """The pooled features of a network that is not trained: (N, 3, H, W) uint8 -> (N, D).

    With random weights (`pretrained=False`) these are random projections: of use as a floor only.
    """

    def __init__(self, name: str, pretrained: bool) -> None:
        if not timm.is_model(name):
            near = ", ".join(FEATURES)
            raise ValueError(f"no features are called {name!r}: {near}, or any network of timm")
        self.net: Any = timm.create_model(name, pretrained=pretrained, num_classes=0).eval()
        settings: Any = self.net.pretrained_cfg
        self.mean = torch.tensor(settings["mean"]).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(settings["std"]).view(1, 3, 1, 1) * 255

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Features of a batch."""
        found: Features = self.net((images.float() - self.mean) / self.std).float().numpy()
        return found


def _pictures(images: Tensor) -> list[NDArray[np.uint8]]:
    """Pictures (H, W, 3)."""
    return list(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()))


def _grey(images: Tensor) -> list[NDArray[np.uint8]]:
    """Grey pictures of `SIDE` pixels."""
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in _pictures(images))
    return [np.asarray(cv2.resize(g, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8) for g in grey]
