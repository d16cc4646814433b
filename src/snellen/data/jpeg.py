"""JPEGs decoded for a network: straight into RGB, at a half, quarter or eighth of their size where that is enough.

libjpeg computes a scaled picture from the low frequencies of each block: the means of 2 x 2, 4 x 4 or 8 x 8 pixels
within a level of 255 on average; it costs less than all pixels and their means.
`reduced` takes the same means of pixels that are already decoded. At full size the pixels are those of
`decoding.decode`, bit for bit: both are libjpeg-turbo. Whatever is not a plain JPEG goes through `decode`.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.data.containers import too_many_scans
from snellen.data.decoding import EXIF_ORIENTATION, decode, too_large

Pixels = NDArray[np.uint8]
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_MOST_TAGS = 200
"""Tags of an EXIF directory that is read here."""
_SHORT = 3
"""TIFF's type of 16-bit numbers."""
_MOST_SEGMENTS = 64
"""Header segments of a plain JPEG; a file of more goes the other way."""


class Header(NamedTuple):
    """What a plain JPEG says of itself."""

    width: int
    """Pixels of the file, before EXIF rotation."""
    height: int
    orientation: int
    """EXIF orientation, 1..8."""
    pixels_at: int
    """Offset of the first scan."""


def decode_reduced(path: Path, side: int, keep_ratio: bool) -> tuple[Pixels, tuple[int, int]]:
    """(RGB uint8 (h, w, 3) with EXIF rotation applied, (width, height) of the whole image in pixels).

    The picture may be 1/2, 1/4 or 1/8 of the whole, rounded up, never smaller than it is wanted: with `keep_ratio`
    its long side is at least `side`, else its short side. Raises one of UNREADABLE when no decoder can read it.
    """
    data = path.read_bytes()
    header = plain_header(data)
    if header is not None and data.rfind(b"\xff\xd9", header.pixels_at) >= 0:
        small = reduction(header.width, header.height, side, keep_ratio)
        flags = _FLAGS[small] | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if picture is not None:
            if small > 1:
                picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)
            turned = header.orientation >= 5
            size = (header.height, header.width) if turned else (header.width, header.height)
            return _upright(np.asarray(picture, np.uint8), header.orientation), size
    whole = decode(path)
    return reduced(whole, side, keep_ratio), (whole.shape[1], whole.shape[0])


def reduced(image_HW3: Pixels, side: int, keep_ratio: bool) -> Pixels:
    """The means of 2 x 2, 4 x 4 or 8 x 8 pixels where `decode_reduced` would have them; at most a new array."""
    height, width = image_HW3.shape[:2]
    small = reduction(width, height, side, keep_ratio)
    if small == 1:
        return image_HW3
    if width % small or height % small:
        # The last block is filled with what stands at the edge, as an encoder fills it.
        image_HW3 = np.pad(image_HW3, ((0, -height % small), (0, -width % small), (0, 0)), mode="edge")
    size = (image_HW3.shape[1] // small, image_HW3.shape[0] // small)
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)


def reduction(width: int, height: int, side: int, keep_ratio: bool) -> int:
    """Largest of 1, 2, 4, 8 by which an image can be divided and still be as large as it is wanted, all in pixels."""
    spare = (max if keep_ratio else min)(width, height) // side
    return 1 << min(3, max(1, spare).bit_length() - 1)


def plain_header(data: bytes) -> Header | None:
    """The header of a JPEG of 8 bits, grey or of three colours, that both decoders read alike; else None."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at, size, exif = 2, None, b""
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            if size is None or too_large(*size):
                return None
            orientation = _orientation(exif)
            return None if orientation is None else Header(*size, orientation, at)
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            return None
        body = data[at + 4 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            # Baseline, extended and progressive Huffman frames; the rest is rare and decoded elsewhere.
            if size or marker > 0xC2 or len(body) < 6 or body[0] != 8 or body[5] not in (1, 3):
                return None
            if marker == 0xC2 and too_many_scans(data):
                return None
            size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
            if not all(size):
                return None
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            if exif:
                return None
            exif = body
        elif marker == 0xE1 and b"Orientation" in body:  # XMP may turn a picture, too
            return None
        at += 2 + length
    return None


def _orientation(exif: bytes) -> int | None:
    """EXIF orientation, 1..8, 1 where it is absent or impossible; None where Pillow must tell."""
    if not exif:
        return 1
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[6:10])
    if order is None:
        return None
    # The first directory: a count, then entries of tag, type, count and value.
    at = 6 + int(struct.unpack_from(order + "I", exif, 10)[0]) if len(exif) >= 14 else len(exif)
    count = int(struct.unpack_from(order + "H", exif, at)[0]) if at + 2 <= len(exif) else 0
    if not 0 < count <= _MOST_TAGS or at + 2 + 12 * count > len(exif):
        return None
    entries = struct.unpack_from(order + count * "HHIHH", exif, at + 2)
    found = [entries[i : i + 4] for i in range(0, len(entries), 5) if entries[i] == EXIF_ORIENTATION]
    if not found:
        return 1
    if len(found) > 1 or found[0][1:3] != (_SHORT, 1):
        return None
    return found[0][3] if 1 <= found[0][3] <= 8 else 1


def _upright(image: Pixels, orientation: int) -> Pixels:
    """The image turned as its EXIF orientation says."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
