"""What the header of an image file tells beside its size: who took it and when, colour profile, JPEG quality."""

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from snellen.data.containers import MAX_FRAMES, gif_frames, tiff_pages
from snellen.data.decoding import UNREADABLE, exif_of

LENGTH = 100
"""Characters kept of a text."""
MAKE, MODEL, EXIF_IFD, DATE_TIME_ORIGINAL = 0x010F, 0x0110, 0x8769, 0x9003

# ITU-T T.81, table K.1: the luminance table that libjpeg scales.
_LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


def metadata(image: Image.Image, data: bytes) -> dict[str, Any]:
    """The columns taken, camera, frames, icc_profile and jpeg_quality of `IMAGES`; null for what is damaged."""
    exif = exif_of(image)
    camera = " ".join(part for part in (_text(exif.get(MAKE)), _text(exif.get(MODEL))) if part)
    return {
        "taken": _text(_taken(exif)),
        "camera": camera or None,
        "frames": _frames(image, data),
        "icc_profile": _icc_name(image.info.get("icc_profile")),
        "jpeg_quality": _quality(image),
    }


def _taken(exif: Image.Exif) -> object:
    try:
        return exif.get_ifd(EXIF_IFD).get(DATE_TIME_ORIGINAL) if EXIF_IFD in exif else None
    except UNREADABLE:
        return None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    shown = "".join(c if c.isprintable() else " " for c in value[: 4 * LENGTH].split("\0")[0])
    return shown.encode("utf-8", "replace").decode().strip()[:LENGTH] or None


def _frames(image: Image.Image, data: bytes) -> int:
    """Pillow's count for formats whose header states it; GIFs and TIFFs, where Pillow would walk them all, by hand."""
    if image.format == "GIF":
        return gif_frames(data)
    if image.format == "TIFF":
        return tiff_pages(data)
    frames = getattr(image, "n_frames", 1)
    return min(max(frames, 1), MAX_FRAMES) if isinstance(frames, int) else 1


def _icc_name(profile: object) -> str | None:
    """The description of an ICC profile (ICC.1:2022, 9.2.41): tag `desc`, as text or the first of its translations."""
    if not isinstance(profile, bytes) or not profile:
        return None
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for number in range(min(count, 100)):
            kind, at, length = struct.unpack_from(">4sII", profile, 132 + 12 * number)
            if kind != b"desc":
                continue
            tag = profile[at : at + min(length, 4096)]
            if tag[:4] == b"mluc":
                size, start = struct.unpack_from(">II", tag, 20)
                return _text(tag[start : start + size].decode("utf-16-be", "replace")) or "unnamed"
            return _text(tag[12 : 12 + int.from_bytes(tag[8:12], "big")]) or "unnamed"
    except struct.error:
        pass
    return "unnamed"


def _quality(image: Image.Image) -> int | None:
    tables = getattr(image, "quantization", None)
    if not isinstance(tables, dict) or not tables:
        return None
    table = tables.get(0) or next(iter(tables.values()))
    return _nearest_quality(tuple(table)) if len(table) == 64 else None


@lru_cache(maxsize=1024)
def _nearest_quality(table: tuple[int, ...]) -> int:
    """The quality at which libjpeg's luminance table is nearest to `table`; exact for what libjpeg wrote."""
    return int(np.abs(_libjpeg_tables() - np.array(table)).sum(axis=1).argmin()) + 1


@lru_cache(maxsize=1)
def _libjpeg_tables() -> np.ndarray[Any, np.dtype[np.int64]]:
    """(100, 64): libjpeg's luminance tables at quality 1..100 (`jpeg_set_quality`, baseline)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((_LUMINANCE * scale[:, None] + 50) // 100, 1, 255)
