"""What one mask file tells: header facts without decoding, and from a single decode its values and their parts."""

import io
import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from snellen.data.containers import pixel_size
from snellen.data.decoding import UNREADABLE, open_image, too_large
from snellen.data.images import MAX_BYTES
from snellen.findings.severity import Tier

MAX_VALUES = 4096
"""Values of one mask that are kept, the most frequent: a photograph taken for a mask has hundreds of thousands."""
COMPONENT_BUDGET = 400_000_000
"""Pixels looked at in counting the parts of one mask's values, about two seconds; the largest are left out first."""
MAX_DISTINCT = 1 << 20
"""Values of one mask that are told apart; above it the rarest are dropped as they come."""
STRIP = 1 << 20
"""Pixels handled at once, so that memory does not grow with the mask."""
REACH = 3
"""Pixels within which a blended value has its neighbours: half the width that a fourfold enlargement blends."""
Values = NDArray[np.int64] | NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32]
VALUE_COLUMNS = ("value", "pixels", "x1", "y1", "x2", "y2", "components", "smallest_component", "solid", "between")
"""Of each entry of `regions`: as in `MASK_VALUES`, with the hull x1 y1 x2 y2 in pixels, right and bottom exclusive."""


def measure_mask(path: Path, kind: str, tier: Tier) -> dict[str, Any]:
    """The measured columns of `MASKS` without those that need the class list, and `regions`, a list of values.

    `kind` as in `MASKS`. Never raises on what a file holds: `error` says why it cannot be used.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return {"error": "not a regular file"}
        if state.st_size > MAX_BYTES:
            return {"error": f"too large: {state.st_size:,} bytes, the limit is {MAX_BYTES:,}"}
        data = path.read_bytes()
    except FileNotFoundError:
        return {"error": "the file is missing"}
    except (OSError, ValueError) as error:
        return {"error": f"cannot be read: {getattr(error, 'strerror', None) or error}"}
    if not data:
        return {"error": "the file is empty"}
    row: dict[str, Any] = {}
    try:
        with open_image(io.BytesIO(data)) as image:
            row = {"format": image.format, "mode": image.mode, "width": image.width, "height": image.height}
            if why := too_large(image.width, image.height):
                return row | {"error": why}
            if tier >= Tier.PIXELS:
                row |= _contents(drawn_values(image, kind), kind)
    except UNREADABLE as error:
        size = pixel_size(data)
        if size and (why := too_large(*size)):
            return {"width": size[0], "height": size[1], "error": why}
        text = "no decoder knows its content" if isinstance(error, UnidentifiedImageError) else str(error)
        row["error"] = "too large: " + text if isinstance(error, Image.DecompressionBombError) else text
        row["error"] = row["error"] or type(error).__name__
    return row


def drawn_values(image: Image.Image, kind: str) -> Values:
    """HxW, whole numbers: what is drawn. Colours are packed as r + 256 g + 65536 b, an instance is 0 and 1.

    An index mask saved with three equal channels has the values of one.

    Raises ValueError for values that are not whole.
    """
    if image.mode == "P" and kind in ("colour", "panoptic"):
        image = image.convert("RGB")
    if image.mode in ("LA", "La"):
        image = image.getchannel(0)
    if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
        values: Values = np.asarray(image, np.uint8) if image.mode == "1" else np.asarray(image)
    elif image.mode == "F":
        numbers = np.asarray(image)
        if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any() or np.abs(numbers).max() >= 2**31:
            raise ValueError("its values are not whole numbers")
        values = numbers.astype(np.int32)
    else:
        red, green, blue = (np.asarray(c, np.int32) for c in image.convert("RGB").split())
        grey = kind == "index" and bool((red == green).all() and (green == blue).all())
        values = red if grey else red + (green << 8) + (blue << 16)
    return (values != 0).astype(np.uint8) if kind == "instance" else values


def _contents(values: Values, kind: str) -> dict[str, Any]:
    digest = blake2b(repr(values.shape).encode(), digest_size=16)
    for strip, _, _ in _strips(values, 0):
        digest.update(np.ascontiguousarray(strip, "u1" if strip.dtype == np.uint8 else "<i4").tobytes())
    found = _hulls(values)
    distinct = len(found["value"])
    kept = np.sort(np.argsort(-found["pixels"], kind="stable")[:MAX_VALUES])
    found = {name: column[kept] for name, column in found.items()}
    solid = _solid(values, found["value"])
    between = np.zeros(len(kept), np.int64)
    if kind in ("index", "colour") and not solid.all() and solid.any():
        between = _between(values, found["value"], solid)
    components, smallest = _components(values, found)
    plain = [column.tolist() for column in found.values()]
    columns = (*plain, components, smallest, solid.tolist(), between.tolist())
    regions = [dict(zip(VALUE_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    return {"pixel_hash": digest.hexdigest(), "values": distinct, "regions": regions}


def _strips(values: Values, halo: int) -> Iterator[tuple[Values, int, int]]:
    """Bands of rows with `halo` more above and below where there are any: band, its first own row, its last + 1."""
    height, width = values.shape
    step = max(STRIP // max(width, 1), 1)
    for top in range(0, height, step):
        first, end = max(top - halo, 0), min(top + step + halo, height)
        yield values[first:end], top - first, min(top + step, height) - first


def _hulls(values: Values) -> dict[str, NDArray[np.int64]]:
    """Each value, its pixels and hull, sorted by value; from runs of equal pixels, far fewer than pixels."""
    parts: list[NDArray[np.int64]] = []
    row = 0
    for strip, _, _ in _strips(values, 0):
        flat, width = strip.ravel(), strip.shape[1]
        change = np.ones(flat.size, np.bool_)
        np.not_equal(flat[1:], flat[:-1], out=change[1:])
        change[::width] = True
        starts = np.flatnonzero(change)
        lengths = np.diff(starts, append=flat.size)
        y, x = np.divmod(starts, width)
        parts.append(_merged(np.stack([flat[starts], lengths, x, y + row, x + lengths, y + row + 1]).astype(np.int64)))
        if len(parts) > 1:
            parts = [_merged(np.concatenate(parts, axis=1))]
        if parts[0].shape[1] > MAX_DISTINCT:
            parts = [parts[0][:, np.sort(np.argsort(-parts[0][1], kind="stable")[:MAX_DISTINCT])]]
        row += strip.shape[0]
    columns = parts[0] if parts else np.zeros((6, 0), np.int64)
    return dict(zip(("value", "pixels", "x1", "y1", "x2", "y2"), columns, strict=True))


def _merged(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """6xN (value, pixels, hull) with one column for each value."""
    rows = rows[:, np.argsort(rows[0], kind="stable")]
    first = np.flatnonzero(np.diff(rows[0], prepend=rows[0, 0] - 1))
    reductions = (np.maximum, np.add, np.minimum, np.minimum, np.maximum, np.maximum)
    return np.stack([how.reduceat(row, first) for how, row in zip(reductions, rows, strict=True)])


def _codes(strip: Values, known: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Position of each pixel's value in the sorted `known`; len(known) for the others."""
    if strip.dtype == np.uint8:
        every: NDArray[np.int64] = np.arange(256, dtype=np.int64)
        return _lookup(every, known)[strip]
    return _lookup(strip.astype(np.int64), known)


def _lookup(values: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.uint16]:
    at = np.searchsorted(known, values)
    found = known[np.minimum(at, len(known) - 1)] == values
    return np.where(found, at, len(known)).astype(np.uint16)


def _solid(values: Values, known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `known` fill a block of 3 x 3 somewhere; at the edge of the mask, what of the block lies inside."""
    solid = np.zeros(len(known) + 1, np.bool_)
    window = np.ones((3, 3), np.uint8)
    for strip, first, end in _strips(values, 1):
        codes = _codes(strip, known)
        equal = np.asarray(cv2.erode(codes, window)) == np.asarray(cv2.dilate(codes, window))
        solid |= np.bincount(codes[first:end][equal[first:end]], minlength=len(solid)) > 0
    return solid[:-1]


def _between(values: Values, known: NDArray[np.int64], solid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels of each value that is not solid whose every channel lies between those of solid values nearby."""
    counts = np.zeros(len(known) + 1, np.int64)
    lasting = np.append(solid, False)
    window = np.ones((2 * REACH + 1,) * 2, np.uint8)
    colours = int(known[-1]) > 65535
    for strip, first, end in _strips(values, REACH):
        codes = _codes(strip, known)
        loose = ~lasting[codes]
        if not loose.any():
            continue
        inside = np.ones(strip.shape, np.bool_)
        apart = np.zeros(strip.shape, np.bool_)
        for channel in [strip & 255, (strip >> 8) & 255, strip >> 16] if colours else [strip]:
            level = channel.astype(np.float32)
            low = np.asarray(cv2.erode(np.where(loose, np.float32(np.inf), level), window))
            high = np.asarray(cv2.dilate(np.where(loose, np.float32(-np.inf), level), window))
            inside &= (low <= level) & (level <= high)
            apart |= (low < level) & (level < high)
        blended = (loose & inside & apart)[first:end]
        counts += np.bincount(codes[first:end][blended], minlength=len(counts))
    return counts[:-1]


def _components(values: Values, found: dict[str, NDArray[np.int64]]) -> tuple[list[int | None], list[int | None]]:
    """Number of 8-connected parts of each value and pixels of the smallest; None beyond the budget."""
    count = len(found["value"])
    parts: list[int | None] = [None] * count
    smallest: list[int | None] = [None] * count
    areas = (found["x2"] - found["x1"]) * (found["y2"] - found["y1"])
    left = COMPONENT_BUDGET
    for index in np.argsort(areas, kind="stable").tolist():
        left -= int(areas[index])
        if left < 0:
            break
        x1, y1, x2, y2 = (int(found[side][index]) for side in ("x1", "y1", "x2", "y2"))
        mine = (values[y1:y2, x1:x2] == found["value"][index]).astype(np.uint8)
        number, _, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=8)
        parts[index], smallest[index] = number - 1, int(stats[1:, cv2.CC_STAT_AREA].min())
    return parts, smallest
