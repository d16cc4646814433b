"""Facts of an image's pixels, in the time that a fraction of its decoding takes.

No fact depends on the resolution: each is measured on a picture of fixed scale. A JPEG is decoded at the smallest
eighth whose long side is at least LEAST, and whole blocks of pixels are averaged until the long side is below 2 x LEAST
(`reduced`). A smaller image stays as it is.

On that picture, in grey:

* sharpness: variance of the Laplacian of a Gaussian, scaled to a long side of SIDE: s^2 Lap(G_sigma * grey), with
  s = long side / SIDE (at least LEAST / SIDE), Lap = [0 1 0; 1 -4 1; 0 1 0], and sigma^2 = SHARP^2 s^2 - 1/12, as a
  pixel averages over its own width already (the scale-normalised Laplacian of Lindeberg, Feature Detection with
  Automatic Scale Selection, 1998). The plain Laplacian of a picture resized to SIDE changes twofold with the phase of
  the resizing, this by a tenth.

On the same averaged by 2 x 2 where it has SIDE pixels or more (`halved`), of 128 to 255 pixels:

* brightness: perceived brightness sqrt(0.241 R^2 + 0.691 G^2 + 0.068 B^2) (HSP, Finley 2006), rounded to 256 levels
* percentiles: the smallest level that at least so large a share of the pixels does not exceed
* entropy: Shannon entropy of the 256-bin histogram of grey, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)
* mean, std: of each channel; the averaging takes about 5 % from the deviation of a photograph
* colour_spread: 99th percentile of the largest minus the smallest channel of a pixel
* border: share of the picture in strips along its edges, of whole rows or columns whose pixels all lie within
  BORDER_LEVELS of the mean of the strip's outermost row or column

These are counted in integer histograms: the sums are exact.
"""

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256
"""Long side that facts refer to, pixels."""
LEAST = 240
"""Long side down to which pictures are averaged, so that those of 480 and 500 pixels are still worth halving."""
SHARP = 0.5
"""Standard deviation of the Gaussian under the Laplacian, pixels of a picture of long side SIDE."""
BORDER_LEVELS = 8
"""A strip of one colour may vary by so many of 256 levels to either side: what JPEG makes of a flat one."""
_LEVELS = np.arange(256.0)
_POWERS = np.stack([np.ones(256), _LEVELS, _LEVELS**2], axis=1)
_RED, _GREEN, _BLUE, _GREY, _BRIGHTNESS, _RANGE = range(6)


def reduced(image: Image.Image) -> NDArray[np.uint8]:
    """Grey (H, W) or RGB (H, W, 3) uint8, long side below 2 x LEAST, of a decoded image in mode L or RGB."""
    factor = max(image.size) // LEAST
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The `reduced` picture averaged by 2 x 2 where its long side is SIDE or more."""
    height, width = pixels.shape[:2]
    if max(height, width) < SIDE:
        return pixels
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey (H, W) of grey or RGB."""
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def sharpness(grey: NDArray[np.uint8]) -> float:
    """The variance of the Laplacian of a Gaussian of a `reduced` picture in grey: see above."""
    scale = max(LEAST, *grey.shape) / SIDE
    kernel = _gaussian(math.sqrt(SHARP**2 * scale**2 - 1 / 12))
    edges = cv2.Laplacian(cv2.sepFilter2D(grey, cv2.CV_32F, kernel, kernel), cv2.CV_32F)
    mean = cv2.sumElems(edges)[0] / grey.size
    return max(0.0, cv2.norm(edges, cv2.NORM_L2SQR) / grey.size - mean**2) * scale**4


@lru_cache(maxsize=1024)
def _gaussian(sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.getGaussianKernel(7, sigma, cv2.CV_32F), np.float32)


def statistics(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> dict[str, Any]:
    """The columns of `IMAGES` about brightness and colour, of a `halved` picture and its grey."""
    counts = _counts(pixels, grey)
    # Whole numbers below 2^53 until the last division.
    n, total, squares = (counts @ _POWERS).T
    means = (total / n / 255).tolist()
    deviations = (np.sqrt(n * squares - total * total) / n / 255).tolist()
    below = np.cumsum(counts, axis=1)
    p1, p5, p99 = (np.searchsorted(below[_BRIGHTNESS], np.array([0.01, 0.05, 0.99]) * grey.size) / 255).tolist()
    share = counts[_GREY][counts[_GREY] > 0] / grey.size
    return {
        "brightness": means[_BRIGHTNESS], "brightness_p1": p1, "brightness_p5": p5, "brightness_p99": p99,
        "contrast": deviations[_BRIGHTNESS], "entropy": max(0.0, -float(share @ np.log2(share))),
        "mean_r": means[_RED], "mean_g": means[_GREEN], "mean_b": means[_BLUE],
        "std_r": deviations[_RED], "std_g": deviations[_GREEN], "std_b": deviations[_BLUE],
        "colour_spread": int(np.searchsorted(below[_RANGE], 0.99 * grey.size)) / 255,
        "border": _border(pixels, grey),
    }  # fmt: skip


def _counts(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(6, 256) number of pixels at each level of red, green, blue, grey, brightness and range of channels."""
    if pixels.ndim == 2:
        shades = _histogram(grey)
        zeros = np.zeros(256, np.float32)
        zeros[0] = grey.size
        return np.array([*[shades] * 5, zeros], np.float64)
    r, g, b = cv2.split(pixels)
    square = cv2.multiply(r, r, scale=0.241, dtype=cv2.CV_32F)
    square = cv2.add(square, cv2.multiply(g, g, scale=0.691, dtype=cv2.CV_32F))
    square = cv2.add(square, cv2.multiply(b, b, scale=0.068, dtype=cv2.CV_32F))
    brightness = cv2.convertScaleAbs(cv2.sqrt(square))
    ranges = cv2.subtract(cv2.max(cv2.max(r, g), b), cv2.min(cv2.min(r, g), b))
    return np.array([_histogram(plane) for plane in (r, g, b, grey, brightness, ranges)], np.float64)


def _histogram(plane: NDArray[Any]) -> NDArray[Any]:
    return cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel()


def _border(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> float:
    """Strips of whole rows first, then of what is left of the columns."""
    height, width = grey.shape
    top, bottom = _strip(pixels, grey), _strip(pixels[::-1], grey[::-1])
    if top + bottom >= height:
        return 1.0
    inner = slice(top, height - bottom)
    columns, shades = pixels[inner].swapaxes(0, 1), grey[inner].T
    left, right = _strip(columns, shades), _strip(columns[::-1], shades[::-1])
    return 1 - max(0, width - left - right) * (height - top - bottom) / (height * width)


def _strip(lines: NDArray[np.uint8], grey: NDArray[np.uint8]) -> int:
    """Number of outermost lines (N, L) or (N, L, 3) of one colour."""
    first, most = grey[0], 2 * BORDER_LEVELS + 1
    # Most pictures: the line cannot be of one colour; two of its pixels often tell.
    if abs(int(first[0]) - int(first[first.size // 2])) > most or int(first.max()) - int(first.min()) > most:
        return 0
    colour = lines[0].mean(axis=0)
    alike = (np.abs(lines - colour) <= BORDER_LEVELS).reshape(len(lines), -1).all(axis=1)
    return len(alike) if alike.all() else int(alike.argmin())
