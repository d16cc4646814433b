"""Whether two pictures show the same, by their pixels: straight, laid another way, or one a crop of the other."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.data.decoding import UNREADABLE, draft, eight_bit, open_image, too_large, upright
from snellen.data.hashes import laid

Floats = NDArray[np.float32]

SIDE = 64
"""Pictures are compared at SIDE x SIDE pixels, whatever their shape."""
LIKE = 0.9
"""Least correlation of two pictures that show the same."""
LIKE_DETAIL = 0.7
"""Least correlation of their detail. Of two that merely have light and dark in the same places it stays below 0.65 on
blood smears, electron micrographs, hand signs and photographs; a JPEG of quality 40 at half the size keeps 0.85."""
SIGNIFICANCE = 20.0
"""Least atanh(r) sqrt(n) of the correlation r of details of n independent components (Fisher's z, 1915). A photograph
has hundreds; of scanned digits of 8 x 8, which have ten to sixty, two of different hands reach 17."""
DETAIL_SIGMA = 1.5
"""What a Gaussian blur of this sigma, in pixels of SIDE, takes away is detail."""
TEMPTING = 0.5
"""Least correlation, as the windows of the hashes lie, from which an alignment is worth trying."""
LEAST_OVERLAP = 0.6
"""Least share of the one picture that the other must hold of it."""
LEAST_SHARE = 0.6
"""Least side of a crop, in sides of the whole."""
SHEAR = 0.05
"""Most that a cropped picture may be turned or sheared against the other, pixels a pixel."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture, squeezed to a square: `colour` (SIDE, SIDE, 3), and `grey` at twice that for what is cut out of it."""

    colour: NDArray[np.uint8]
    grey: NDArray[np.uint8]

    @cached_property
    def components(self) -> float:
        """Independent components of the detail: the participation ratio of its power spectrum, 1..SIDE^2."""
        power = np.abs(np.fft.fft2(detail(_resized(_floats(self.grey), SIDE)))) ** 2
        square = float((power * power).sum())
        return float(power.sum()) ** 2 / square if square > 0 else 1.0


def thumbnail(path: Path) -> Thumbnail | None:
    """The picture at `path`, EXIF rotation applied; None when it can no longer be read."""
    try:
        with open_image(path) as image:
            if too_large(*image.size):
                return None
            draft(image, 3 * SIDE)
            image.load()
            rgb = np.asarray(eight_bit(upright(image)).convert("RGB"))
    except UNREADABLE:
        return None
    large = cv2.resize(rgb, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
    colour = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Thumbnail(np.asarray(colour, np.uint8), np.asarray(grey, np.uint8))


def likeness(first: Thumbnail, second: Thumbnail, orientation: str) -> float | None:
    """Correlation of the pictures, the second laid that way; None when they do not show the same.

    Zero-mean normalised cross-correlation over pixels and channels, 0..1: brightness and contrast do not count.
    """
    one, other = _floats(first.colour), _floats(_laid3(second.colour, orientation))
    like = correlation(one, other)
    if like < LIKE:
        return None
    alike = correlation(detail(one.mean(axis=2)), detail(other.mean(axis=2)))
    return like if _telling(alike, first, second) else None


def cropped_likeness(whole: Thumbnail, crop: Thumbnail, orientation: str, share: float) -> float | None:
    """Correlation of what both show, `crop` lying within `whole` or shifted against it; None when they show two things.

    `share` is where the search begins: the side of the crop, centred, in sides of the whole. The two are aligned by an
    affine map that maximises their correlation (Evangelidis, Psarakis, "Parametric Image Alignment Using Enhanced
    Correlation Coefficient Maximization", PAMI 2008), which must turn out to be a crop.
    """
    part, full = _floats(np.ascontiguousarray(laid(crop.grey, orientation))), _floats(whole.grey)
    template = _resized(part, SIDE)
    pose = np.array([[share, 0, (1 - share) / 2], [0, share, (1 - share) / 2]], np.float32)
    if correlation(_cut(full, pose), template) < TEMPTING:
        return None
    # At half the size first: most pairs are told apart there, at a quarter of the work.
    for side, steps in ((SIDE // 2, 30), (SIDE, 15)):
        bettered = _aligned(_resized(part, side), _resized(full, 2 * side), pose, steps)
        if bettered is None:
            return None
        pose = bettered
    turned = max(abs(pose[0, 1]), abs(pose[1, 0]))
    across, down = pose[0, 0], pose[1, 1]
    if turned > SHEAR or not LEAST_SHARE < min(across, down) <= max(across, down) < 1.1:
        return None
    held = _cut(np.ones_like(full), pose) > 0.99
    if held.mean() < LEAST_OVERLAP:
        return None
    cut = _cut(full, pose)
    like = correlation(cut[held], template[held])
    alike = correlation(detail(cut)[held], detail(template)[held])
    return like if like >= LIKE and _telling(alike, whole, crop) else None


def _aligned(part: Floats, full: Floats, pose_23: Floats, steps: int) -> Floats | None:
    """`pose` bettered until `part` correlates most with what it cuts out of `full`; None below LIKE.

    A pose maps places in the part to places in the full picture, both in units of their sides, 0..1.
    """
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-3)
    everywhere = np.full(full.shape, 255, np.uint8)
    warp = _pixels(pose_23, len(part), len(full))
    try:
        like, found = cv2.findTransformECC(part, full, warp, cv2.MOTION_AFFINE, stop, everywhere, 3)
    except cv2.error:  # it did not converge
        return None
    return _units(np.asarray(found, np.float32), len(part), len(full)) if like >= LIKE else None


def _pixels(pose_23: Floats, part: int, full: int) -> Floats:
    """A pose as a map of pixel positions, a pixel's centre being whole, in pictures of these sides."""
    linear = pose_23[:, :2] * (full / part)
    return np.column_stack([linear, linear.sum(axis=1) / 2 + full * pose_23[:, 2] - 0.5]).astype(np.float32)


def _units(warp_23: Floats, part: int, full: int) -> Floats:
    """The inverse of `_pixels`."""
    shift = (warp_23[:, 2] + 0.5 - warp_23[:, :2].sum(axis=1) / 2) / full
    return np.column_stack([warp_23[:, :2] * (part / full), shift]).astype(np.float32)


def _cut(full: Floats, pose_23: Floats) -> Floats:
    """SIDE x SIDE pixels of what the pose cuts out, 0 beyond the edge."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(full, _pixels(pose_23, SIDE, len(full)), (SIDE, SIDE), flags=flags), np.float32)


def _resized(picture: Floats, side: int) -> Floats:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _telling(alike: float, first: Thumbnail, second: Thumbnail) -> bool:
    """Whether a correlation of details says that two pictures show the same."""
    components = min(first.components, second.components)
    return alike >= LIKE_DETAIL and math.atanh(min(alike, 1 - 1e-9)) * math.sqrt(components) >= SIGNIFICANCE


def correlation(one: Floats, other: Floats) -> float:
    """Zero-mean normalised cross-correlation, -1..1; 0 when either is constant."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / scale if scale > 0 else 0.0


def detail(grey_HW: Floats) -> Floats:
    """What is finer than DETAIL_SIGMA."""
    return grey_HW - np.asarray(cv2.GaussianBlur(grey_HW, (0, 0), DETAIL_SIGMA), np.float32)


def _floats(values: NDArray[np.uint8]) -> Floats:
    return values.astype(np.float32)


def _laid3(colour_HW3: NDArray[np.uint8], orientation: str) -> NDArray[np.uint8]:
    return np.stack([laid(colour_HW3[..., c], orientation) for c in range(3)], axis=2)
