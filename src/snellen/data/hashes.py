"""Perceptual hashes of an image and of its centre: near-equal pictures differ in few bits.

A hash holds the signs of the 8 x 8 lowest DCT coefficients without the first (which is the mean), row by row, highest
bit first; the highest bit is 0. This is the pHash of C. Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions" (2010), with 0 for the median as threshold: the coefficients of natural images lie about 0 anyway, and
so the hash of the mirrored or turned picture is a matter of bits (`oriented`), without a second transform.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOWS = {"phash": 1.0, "phash_centre": 0.92, "phash_inner": 0.84}
"""Column -> share of width and height, about the centre, that it looks at. A hash meets that of a picture whose crop
differs by about 4 % of a side from its own in 8 bits or fewer, so that these three find crops down to 0.8."""
SIDE = 64
"""Side of the thumbnail that is transformed, pixels."""
BLANK = 1.0
"""Thumbnails of a smaller standard deviation, of 255, have no hash: what remains in them is noise."""
ORIENTATIONS = ("as it is", "mirrored", "upside down", "turned by 180", "transposed", "turned by 90", "turned by 270",
                "transversed")  # fmt: skip
"""The eight ways to lay a picture; 90 and 270 degrees are counter-clockwise, as `numpy.rot90` turns."""
_ODD_COLUMNS = np.uint64(0x5555555555555555)
_ODD_ROWS = np.uint64(0x00FF00FF00FF00FF)


def columns(grey_HW: NDArray[np.uint8]) -> dict[str, int | None]:
    """The hash columns of `IMAGES` for a grey picture of any size; None each when it is blank."""
    import cv2  # rules read these hashes too, and are listed without it

    thumbnail = cv2.resize(grey_HW, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(thumbnail.std()) < BLANK:
        return dict.fromkeys(WINDOWS)
    basis = _basis()
    coefficients = basis @ thumbnail @ basis.transpose(0, 2, 1)
    coefficients[:, 0, 0] = 0.0
    packed = np.packbits((coefficients > 0).reshape(len(WINDOWS), 64), axis=1)
    return {name: int.from_bytes(row.tobytes(), "big") for name, row in zip(WINDOWS, packed, strict=True)}


def oriented(hashes_N: NDArray[np.uint64], orientation: str) -> NDArray[np.uint64]:
    """What the hashes would be of the pictures laid another way: one of `ORIENTATIONS`."""
    mirrored, upside_down, transposed = _STEPS[orientation]
    if transposed:
        hashes_N = _transposed(hashes_N)
    if mirrored:
        hashes_N = hashes_N ^ _ODD_COLUMNS
    return hashes_N ^ _ODD_ROWS if upside_down else hashes_N


def laid(picture_HW: NDArray[Any], orientation: str) -> NDArray[Any]:
    """The picture itself laid that way; a view."""
    mirrored, upside_down, transposed = _STEPS[orientation]
    if transposed:
        picture_HW = picture_HW.T
    return picture_HW[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


_STEPS = {
    "as it is": (False, False, False), "mirrored": (True, False, False), "upside down": (False, True, False),
    "turned by 180": (True, True, False), "transposed": (False, False, True), "turned by 90": (False, True, True),
    "turned by 270": (True, False, True), "transversed": (True, True, True),
}  # fmt: skip
"""Orientation -> mirrored, upside down, and whether the picture was transposed before."""


def _transposed(hashes_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Rows and columns of the 8 x 8 bits swapped: the network of H. Warren, Hacker's Delight (2002), section 7-3."""
    x = hashes_N
    for mask, shift in ((0x00AA00AA00AA00AA, 7), (0x0000CCCC0000CCCC, 14), (0x00000000F0F0F0F0, 28)):
        swap = (x ^ (x >> np.uint64(shift))) & np.uint64(mask)
        x = x ^ swap ^ (swap << np.uint64(shift))
    return x


@cache
def _basis() -> NDArray[np.float32]:
    """[W, 8, SIDE]: the cosines of DCT-II over each window, integrated over the thumbnail's pixels."""
    frequency_8 = np.arange(8)[:, None]
    edges = np.linspace(0.0, 1.0, SIDE + 1)
    bases = []
    for share in WINDOWS.values():
        inside = np.clip((edges - (1 - share) / 2) / share, 0.0, 1.0)
        integral = np.where(
            frequency_8 == 0, inside, np.sin(np.pi * frequency_8 * inside) / (np.pi * np.maximum(frequency_8, 1))
        )
        bases.append(np.diff(integral, axis=1))
    return np.stack(bases).astype(np.float32)
