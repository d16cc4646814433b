"""What one image file tells: header facts without decoding, and pixel facts from a single decode.

Damage: a JPEG or PNG cut short lacks its end marker (`complete`), wherever it was cut; what the decoder refuses is an
`error`; so is a PNG whose checksums disagree with its pixels. A JPEG has no checksum: a flipped bit among its pixels
shows only where the decoder stumbles over it (less than one in twenty), and is else a smear that no reader reports.
"""

import io
import stat
import threading
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from snellen.data import hashes
from snellen.data.containers import complete, pixel_size, png_damage, too_many_scans
from snellen.data.decoding import (
    MAX_PIXELS,
    UNREADABLE,
    draft,
    eight_bit,
    file_size,
    has_alpha,
    open_image,
    orientation,
    too_large,
    upright,
)
from snellen.data.metadata import metadata
from snellen.data.statistics import LEAST, grey_of, halved, reduced, sharpness, statistics
from snellen.findings.severity import Tier

MAX_BYTES = 1 << 29
"""Larger image files are not read (512 MiB)."""
LARGE_BYTES = 1 << 26
"""Files above this (64 MiB), and pictures above LARGE_PIXELS, are measured one at a time, to bound memory."""
LARGE_PIXELS = 32_000_000
_one_large = threading.RLock()
TILE_WIDTH, TILE_LENGTH = 322, 323


def measure(path: Path, tier: Tier) -> dict[str, Any]:
    """The columns of `IMAGES` that `tier` asks for, of the file at `path`. Never raises on what a file holds.

    Memory: the file's bytes (at most MAX_BYTES) and its pixels (at most MAX_PIXELS of 4 bytes, and as much again for
    modes that must be converted); at most one such file at a time in a process.
    """
    row: dict[str, Any] = {"exists": False, "decoded": False if tier >= Tier.PIXELS else None}
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return row | {"exists": True, "error": "not a regular file"}
        row["bytes"] = size = state.st_size
        if size > MAX_BYTES:
            return row | {"exists": True, "error": f"too large: {size:,} bytes, the limit is {MAX_BYTES:,}"}
        with _one_large if size > LARGE_BYTES else nullcontext():
            with path.open("rb") as file:
                data = file.read(MAX_BYTES)
            return row | _content(data, tier)
    except FileNotFoundError:
        return {"exists": False, "decoded": row["decoded"]}
    except (OSError, ValueError) as error:
        return row | {"exists": True, "error": f"cannot be read: {getattr(error, 'strerror', None) or error}"}


def _content(data: bytes, tier: Tier) -> dict[str, Any]:
    row: dict[str, Any] = {
        "exists": True, "bytes": len(data), "hash": blake2b(data, digest_size=16).hexdigest(),
        "complete": complete(data),
    }  # fmt: skip
    if not data:
        return row | {"error": "the file is empty"}
    file = io.BytesIO(data)
    try:
        with open_image(file) as image:
            width, height = file_size(image)
            row |= {"format": image.format, "mode": image.mode, "width": width, "height": height}
            row["exif_orientation"] = orientation(image)
            row |= metadata(image, data)
            if why := _refusal(image, file, data):
                return row | {"error": why}
            if tier >= Tier.PIXELS:
                row |= _pixels(image)
    except UNREADABLE as error:
        size_wh = pixel_size(data)
        if size_wh and (why := too_large(*size_wh)):
            kind = "PNG" if data.startswith(b"\x89") else "JPEG"
            return row | {"format": kind, "width": size_wh[0], "height": size_wh[1], "error": why}
        text = "no decoder knows its content" if isinstance(error, UnidentifiedImageError) else str(error)
        row["error"] = "too large: " + text if isinstance(error, Image.DecompressionBombError) else text
        row["error"] = (row["error"] or type(error).__name__).encode("utf-8", "backslashreplace").decode()
    return row


def _refusal(image: Image.Image, file: io.BytesIO, data: bytes) -> str | None:
    """Why the pixels are not to be decoded; None when they are."""
    if why := too_large(*image.size):
        return why
    if image.format == "PNG":
        at = file.tell()
        damage = png_damage(file, data)
        file.seek(at)  # Pillow goes on where the header ended
        return damage
    if image.info.get("progressive") and too_many_scans(data):
        return "a progressive JPEG of so many scans that decoding it would not end"
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        sides = tags.get(TILE_WIDTH, 0), tags.get(TILE_LENGTH, 0)
        if all(isinstance(side, int) for side in sides) and sides[0] * sides[1] > MAX_PIXELS:
            return f"too large: tiles of {sides[0]} x {sides[1]} pixels, the limit is {MAX_PIXELS:,}"
    return None


def _pixels(image: Image.Image) -> dict[str, Any]:
    """Pixel facts of an open image, of one decode."""
    area = image.width * image.height
    draft(image, LEAST)
    if not image.info.get("progressive"):  # a progressive JPEG keeps all its coefficients whatever the scale
        area = image.width * image.height
    with _one_large if area > LARGE_PIXELS else nullcontext():
        image.load()
        image = upright(image)
        alpha = None
        if has_alpha(image) and not image.mode.startswith(("I", "F")):
            image = image.convert("RGBA")
            low, high = image.getchannel("A").getextrema()
            alpha = (high - low) / 255  # type: ignore[operator]  # one channel: two numbers
        pixels = reduced(eight_bit(image))
    small = halved(pixels)
    grey = grey_of(small)
    measured = {"decoded": True, "alpha_spread": alpha, "sharpness": sharpness(grey_of(pixels))}
    return measured | statistics(small, grey) | hashes.columns(grey)
