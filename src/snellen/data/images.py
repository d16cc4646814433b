"""What one image file tells: header facts without decoding, and pixel facts from a single decode."""

import io
import stat
import struct
import warnings
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from snellen.data import hashes
from snellen.findings.severity import Tier

MAX_PIXELS = 100_000_000
"""Larger images are not decoded (300 MB as RGB)."""
MAX_BYTES = 1 << 29
"""Larger image files are not read (512 MiB)."""
SIDE = 256
"""Long side at which pixels are measured, so that sharpness does not depend on resolution."""
EXIF_ORIENTATION = 0x0112
UNREADABLE = (
    OSError, UnidentifiedImageError, ValueError, SyntaxError, struct.error, zlib.error, IndexError, KeyError, TypeError,
    EOFError, OverflowError, MemoryError, ZeroDivisionError, AttributeError, AssertionError, RuntimeError,
    NotImplementedError, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files; all of it means the file cannot be used."""


def displayed_size(path: Path) -> tuple[int, int] | None:
    """Width and height after EXIF rotation, from the header alone; None when it cannot be read."""
    if not path.is_file():  # a pipe would block
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
                return (image.height, image.width) if turned else (image.width, image.height)
    except UNREADABLE:
        try:
            with path.open("rb") as file:
                return _png_size(file.read(24))
        except OSError:
            return None


def measure(path: Path, tier: Tier) -> dict[str, Any]:
    """The columns of `IMAGES` that `tier` asks for, of the file at `path`. Never raises on what a file holds."""
    row: dict[str, Any] = {"exists": False, "decoded": False if tier >= Tier.PIXELS else None}
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return row | {"exists": True, "error": "not a regular file"}
        row["bytes"] = size = state.st_size
        if size > MAX_BYTES:
            return row | {"exists": True, "error": f"too large: {size:,} bytes, the limit is {MAX_BYTES:,}"}
        data = path.read_bytes()
    except FileNotFoundError:
        return row
    except (OSError, ValueError) as error:
        return row | {"exists": True, "error": f"cannot be read: {getattr(error, 'strerror', None) or error}"}
    row |= {"exists": True, "hash": blake2b(data, digest_size=16).hexdigest(), "complete": _complete(data)}
    if not data:
        return row | {"error": "the file is empty"}
    try:
        with Image.open(io.BytesIO(data)) as image:
            row |= {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
            row["exif_orientation"] = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
            if image.width * image.height > MAX_PIXELS:
                return row | {"error": _too_large(image.width, image.height)}
            if tier >= Tier.PIXELS:
                row |= _pixels(image)
    except UNREADABLE as error:
        size_wh = _png_size(data)
        if size_wh and size_wh[0] * size_wh[1] > MAX_PIXELS:
            return row | {"format": "PNG", "width": size_wh[0], "height": size_wh[1], "error": _too_large(*size_wh)}
        text = "no decoder knows its content" if isinstance(error, UnidentifiedImageError) else str(error)
        row["error"] = "too large: " + text if isinstance(error, Image.DecompressionBombError) else text
        row["error"] = row["error"] or type(error).__name__
    return row


def _too_large(width: int, height: int) -> str:
    return f"too large: {width} x {height} pixels, the limit is {MAX_PIXELS:,}"


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24 or not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _complete(data: bytes) -> bool | None:
    """Whether the end marker is there: JPEG EOI (padding or other data may follow), PNG IEND; else None."""
    if data.startswith(b"\xff\xd8"):
        # Cameras append previews and padding after the marker, so it may stand before the file's end.
        return data.rstrip(b"\0\r\n ").endswith(b"\xff\xd9") or b"\xff\xd9" in data[-65536:]
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" in data[-65536:]
    return None


def _pixels(image: Image.Image) -> dict[str, Any]:
    """Pixel facts of an open image. A JPEG is decoded at the smallest eighth that still covers SIDE."""
    image.draft(image.mode, (SIDE, SIDE))
    image.load()
    rgb = _rgb(ImageOps.exif_transpose(image))
    scale = SIDE / max(rgb.shape[:2])
    if scale < 1:
        shape = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        rgb = np.asarray(cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA), np.uint8)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    unit = rgb.astype(np.float32) / np.float32(255)
    # Perceived brightness, HSP model (Finley 2006).
    brightness = np.sqrt(unit.astype(np.float32) ** 2 @ np.array([0.241, 0.691, 0.068], np.float32))
    dark, bright = np.percentile(brightness, [1, 99])
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    share = share[share > 0]
    means, deviations = unit.mean(axis=(0, 1)), unit.std(axis=(0, 1))
    return {
        "decoded": True,
        "brightness_p1": float(dark), "brightness_p99": float(bright), "contrast": float(brightness.std()),
        "entropy": max(0.0, float(-(share * np.log2(share)).sum())),
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
        **{f"mean_{c}": float(m) for c, m in zip("rgb", means, strict=True)},
        **{f"std_{c}": float(d) for c, d in zip("rgb", deviations, strict=True)},
        **hashes.columns(grey),
    }  # fmt: skip


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """HxWx3, uint8; 16-bit greys are scaled by 257, 32-bit and float ones from their own range."""
    if image.mode.startswith(("I", "F")):
        grey = np.nan_to_num(np.asarray(image, np.float64))
        top = 65535.0 if image.mode.startswith("I;16") else max(float(grey.max()), 1.0)
        image = Image.fromarray(np.clip(grey / top * 255, 0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"), np.uint8)
