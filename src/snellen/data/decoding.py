"""The one decoder of images: what training learns from, the exam measures and the report shows are the same pixels.

| in the file | becomes |
| --- | --- |
| grey, RGB, palette, CMYK, YCbCr | 8-bit grey or RGB, as Pillow converts it |
| transparency: an alpha channel or a transparent colour | laid on grey `GROUND` |
| 16-bit grey (`I;16`) | value / 257 |
| 32-bit grey (`I`) | value / 257 when all lie in 0..65535, else from 0 at the smallest to 255 at the largest |
| floating point (`F`) | value x 255 when all lie in 0..1, else likewise, of those that are finite |

Hostile files: only the formats of `FORMATS` are opened (Pillow would start Ghostscript for an EPS), a header of
endlessly many parts is not walked, and pictures above `MAX_PIXELS` are refused before a pixel is decoded.
"""

import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from snellen.data.containers import MAX_HEADER, crowded, late_exif

MAX_PIXELS = 100_000_000
"""Larger images are not decoded (300 MB as RGB)."""
GROUND = 114
"""Grey under transparency, that of the letterbox."""
FORMATS = (
    "JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "DIB", "PPM",
    *(("AVIF",) if features.check("avif") else ()), *(("JPEG2000",) if features.check("jpg_2000") else ()),
)  # fmt: skip
"""What is opened; MPO comes with JPEG."""
EXIF_ORIENTATION = 0x0112
UNREADABLE = (
    OSError, UnidentifiedImageError, ValueError, SyntaxError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    EOFError, OverflowError, MemoryError, ZeroDivisionError, AttributeError, AssertionError, RuntimeError,
    NotImplementedError, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files; all of it means the file cannot be used."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """The image with its header read, no pixel decoded. Raises one of UNREADABLE.

    EXIF data that a PNG keeps behind its pixels is found too, without decoding them.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            _refuse_crowded(file)
    else:
        _refuse_crowded(source)
    image = Image.open(os.fspath(source) if isinstance(source, Path) else source, formats=FORMATS)
    if image.format == "PNG" and "exif" not in image.info:
        exif = late_exif(image.fp) if image.fp else None
        if exif:
            image.info["exif"] = exif
    return image


def _refuse_crowded(file: IO[bytes]) -> None:
    if crowded(file):
        raise ValueError(f"its header has more than {MAX_HEADER:,} parts")


def exif_of(image: Image.Image) -> Image.Exif:
    """The image's EXIF data, without decoding it; empty when it is damaged."""
    try:
        # Not image.getexif: that of a PNG decodes the whole picture.
        return Image.Image.getexif(image)
    except UNREADABLE:
        return Image.Exif()


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; 1 when absent, impossible or unreadable."""
    value = exif_of(image).get(EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def file_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before EXIF rotation of an image that is not yet decoded, pixels."""
    turned = image.format == "TIFF" and orientation(image) >= 5  # Pillow turns these itself
    return (image.height, image.width) if turned else image.size


def displayed_size(path: Path) -> tuple[int, int] | None:
    """Width and height after EXIF rotation, from the header alone; None when it cannot be read."""
    if not path.is_file():  # a pipe would block
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(path) as image:
                width, height = file_size(image)
                return (height, width) if orientation(image) >= 5 else (width, height)
    except UNREADABLE:
        return None


def upright(image: Image.Image) -> Image.Image:
    """The decoded image turned as its EXIF orientation says; pass the decoded one, for TIFFs turn while they load."""
    turn = _UPRIGHT.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels of `image` can be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def eight_bit(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB by the table at the head of this file."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.take(_DEEP, np.asarray(image, np.uint16)))
    if image.mode in ("I", "F"):
        return _stretched(image)
    if has_alpha(image):
        solid = image.convert("RGBA")
        if solid.getchannel("A").getextrema()[0] == 255:
            return solid.convert("RGB")
        ground = Image.new("RGBA", solid.size, (GROUND, GROUND, GROUND, 255))
        ground.alpha_composite(solid)
        return ground.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


_DEEP = ((np.arange(65536) + 128) // 257).astype(np.uint8)


def _stretched(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = math.inf, -math.inf
    for row in values:
        finite = row[np.isfinite(row)].astype(np.float64)
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    top = 65535 if image.mode == "I" else 1
    if low > high or (low >= 0 and high <= top):
        low, high = 0.0, float(top)
    scale = 255 / (high - low) if high > low else 0.0
    levels = np.empty(values.shape, np.uint8)
    # Row by row: 100 megapixels at once would take 800 MB on the way.
    for row, out in zip(values, levels, strict=True):
        known = np.nan_to_num(row.astype(np.float64), nan=low, posinf=high, neginf=low)
        out[:] = np.clip(np.rint((known - low) * scale), 0, 255)
    return Image.fromarray(levels)


def draft(image: Image.Image, side: int) -> None:
    """Have a JPEG decoded at the smallest eighth whose long side is at least `side`; other formats ignore it."""
    long = max(image.size)
    if long > side:
        image.draft(image.mode, (max(1, image.width * side // long), max(1, image.height * side // long)))


def too_large(width: int, height: int) -> str | None:
    """Why a picture of this size is not decoded; None when it is."""
    if width * height <= MAX_PIXELS:
        return None
    return f"too large: {width} x {height} pixels, the limit is {MAX_PIXELS:,}"


def decode(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3), EXIF rotation applied. Raises one of UNREADABLE when no decoder can read it."""
    with open_image(path) as image:
        if refusal := too_large(*image.size):
            raise ValueError(refusal)
        image.load()
        return np.asarray(eight_bit(upright(image)).convert("RGB"))
