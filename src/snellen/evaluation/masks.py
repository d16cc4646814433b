"""Masks of many instances as run lengths: from dense arrays, COCO's RLE or polygons, with what cannot be read named."""

from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from snellen.evaluation import rle
from snellen.evaluation.pairs import Bools, Floats, Ints, Pairs

MAX_PIXELS = 2**31 - 1
"""Of one mask; more does not fit the run lengths."""
MAX_COORDINATE = 1e6
"""Pixels; far beyond any image, and still an integer on the grid that polygons are drawn on."""
_BLOCK = 1 << 19
"""Bytes of dense masks padded at once."""
_VERDICTS = {
    rle.BAD_CHARACTER: "malformed-rle",
    rle.CUT_SHORT: "malformed-rle",
    rle.NEGATIVE: "malformed-rle",
    rle.WRONG_SUM: "rle-size",
}


@dataclass(frozen=True)
class Masks:
    """N masks, each with its own size."""

    runs: rle.Runs
    """(R, 2) uint32 [begin, end) in column-major pixels, of all masks one after the other."""
    starts: Ints
    """(N + 1,) first run of each mask."""
    sizes: Ints
    """(N, 2) height, width."""
    areas: Ints
    """(N,) pixels."""
    boxes_xywh: Floats
    """(N, 4) tight; zeros for an empty mask."""

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, rows: Ints) -> "Masks":
        """The masks at `rows`, in that order."""
        lengths = np.diff(self.starts)[rows]
        starts = np.append(0, np.cumsum(lengths))
        chosen = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Masks(self.runs[chosen], starts, self.sizes[rows], self.areas[rows], self.boxes_xywh[rows])

    def dense(self, row: int) -> Bools:
        """One mask as (height, width) bool."""
        height, width = self.sizes[row]
        return rle.decode_dense(self._own(row), height, width).astype(np.bool_)

    def counts(self, row: int) -> Ints:
        """COCO's uncompressed counts of one mask."""
        return rle.run_counts(self._own(row), int(np.prod(self.sizes[row])))

    def compressed(self, row: int) -> bytes:
        """COCO's compressed counts of one mask, as pycocotools' `encode` writes them."""
        return rle.count_string(self.counts(row)).tobytes()

    def _own(self, row: int) -> rle.Runs:
        return self.runs[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True)
class MaskOverlap:
    """Intersection over union of masks of equal size; with a crowd, intersection over the detection's own area."""

    masks: Masks
    """N detections."""
    object_masks: Masks
    """M objects."""
    crowd: Bools
    """(M,)."""
    floor: float = 0.5
    """Overlaps below may be returned as 0: what no IoU threshold asks for need not be measured."""

    def __call__(self, pairs: Pairs) -> Floats:
        """Measure `pairs` as pycocotools' `rleIou` does, to the last bit; masks of unequal size overlap by 0."""
        out = np.empty(pairs.offsets[-1])
        mine, other = self.masks, self.object_masks
        rle.mask_overlaps(
            mine.runs, mine.starts, mine.sizes, mine.areas, mine.boxes_xywh,
            other.runs, other.starts, other.sizes, other.areas, other.boxes_xywh, self.crowd, self.floor,
            pairs.detections, pairs.objects, pairs.starts, pairs.ends, pairs.object_starts, pairs.object_ends, out,
        )  # fmt: skip
        return out


def from_runs(runs: rle.Runs, starts: Ints, sizes: Ints) -> Masks:
    """Measure flat runs, see `Masks`."""
    areas, boxes = rle.measure(runs, starts, np.ascontiguousarray(sizes[:, 0]))
    return Masks(runs, starts, sizes, areas, boxes)


def encode(masks: np.ndarray) -> Masks:
    """Encode (N, height, width) bool in C order. Raises ValueError for another shape or dtype, or too many pixels."""
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise ValueError(f"expected (N, height, width) bool, got {masks.shape} {masks.dtype}")
    count, height, width = masks.shape
    if height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} has more than {MAX_PIXELS} pixels")
    sizes = np.tile(np.array([[height, width]], dtype=np.int64), (count, 1))
    if not masks.size:
        return from_runs(np.zeros((0, 2), dtype=np.uint32), np.zeros(count + 1, dtype=np.int64), sizes)
    pixels = np.ascontiguousarray(masks).view(np.uint8)
    if width % 8 == 0:
        runs, starts = rle.encode_dense(pixels, pixels.view(np.uint64), width)
        return from_runs(runs, starts, sizes)
    # Rows that are no multiple of eight pixels are padded, a few masks at a time.
    step = max(1, _BLOCK // (height * (width + 8)))
    padded = np.zeros((step, height, (width + 7) // 8 * 8), dtype=np.uint8)
    words = padded.view(np.uint64)
    parts = []
    for first in range(0, count, step):
        some = pixels[first : first + step]
        padded[: len(some), :, :width] = some
        parts.append(rle.encode_dense(padded[: len(some)], words[: len(some)], width))
    lengths = np.concatenate([np.diff(starts) for _, starts in parts])
    return from_runs(np.concatenate([runs for runs, _ in parts]), np.append(0, np.cumsum(lengths)), sizes)


def read_segmentations(items: Sequence[Any], sizes: Ints) -> tuple[Masks, list[tuple[int, str, str]]]:
    """Read COCO segmentations: polygons [[x0, y0, x1, y1, ...], ...], {"size": [h, w], "counts": str, bytes or list}.

    `sizes` (N, 2) are height and width of the image of each. Polygons become what pycocotools' `frPyObjects` and
    `merge` make of them. Whatever cannot be read is an empty mask and a problem (0-based row, kind, value):
    no-segmentation, malformed-polygon, malformed-rle, rle-size (the counts do not add up to the size), mask-size (not
    the image's), image-size (no pixels, or more than 2^31). Memory: the runs, 8 bytes each, and what is read.
    """
    strings: dict[int, str] = {}
    lists: dict[int, Ints] = {}
    drawn: dict[int, rle.Runs] = {}
    bad: dict[int, str] = {}
    heights, widths = sizes.T.tolist()
    for row, (item, height, width) in enumerate(zip(items, heights, widths, strict=True)):
        if isinstance(item, dict):
            size, given = item.get("size"), item.get("counts")
            if not isinstance(size, list | tuple) or len(size) != 2:
                bad[row] = "malformed-rle"
            elif size[0] != height or size[1] != width:
                bad[row] = "mask-size"
            elif isinstance(given, str) and given.isascii():
                strings[row] = given
            elif isinstance(given, bytes) and given.isascii():
                strings[row] = given.decode("ascii")
            elif (numbers := _integers(given)) is not None:
                lists[row] = numbers
            else:
                bad[row] = "malformed-rle"
        elif not isinstance(item, list | tuple) or not item:
            bad[row] = "no-segmentation"
        elif not 0 < height * width <= MAX_PIXELS:
            bad[row] = "image-size"
        elif (runs := _draw(item, height, width)) is not None:
            drawn[row] = runs
        else:
            bad[row] = "malformed-polygon"
    pixels = sizes[:, 0] * sizes[:, 1]
    pixels[(pixels <= 0) | (pixels > MAX_PIXELS)] = -1  # no counts add up to it
    none = np.zeros((0, 2), dtype=np.uint32)
    parts: list[tuple[Ints, rle.Runs, Ints]] = [
        (_rows(drawn), np.concatenate([none, *drawn.values()]), _offsets(drawn.values())),
        (_rows(bad), none, np.zeros(len(bad) + 1, dtype=np.int64)),
    ]
    text = np.frombuffer("".join(strings.values()).encode("ascii"), dtype=np.uint8)
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *lists.values()])
    for rows, parsed in (
        (_rows(strings), rle.parse_strings(text, _offsets(strings.values()), pixels[_rows(strings)])),
        (_rows(lists), rle.parse_counts(counts, _offsets(lists.values()), pixels[_rows(lists)])),
    ):
        runs, starts, verdicts = parsed
        parts.append((rows, runs, starts))
        for i in np.flatnonzero(verdicts):
            bad[int(rows[i])] = _VERDICTS[int(verdicts[i])] if pixels[rows[i]] > 0 else "image-size"
    parts = [part for part in parts if len(part[0])] or parts[:1]
    order = np.concatenate([rows for rows, _, _ in parts])
    flat = parts[0][1] if len(parts) == 1 else np.concatenate([runs for _, runs, _ in parts])
    starts = np.append(0, np.cumsum(np.concatenate([np.diff(starts) for _, _, starts in parts])))
    masks = from_runs(flat, starts, sizes[order])
    if (np.diff(order) < 0).any():
        masks = masks.take(np.argsort(order))
    return masks, [(row, bad[row], repr(items[row])[:200]) for row in sorted(bad)]


def _integers(counts: Any) -> Ints | None:
    try:
        numbers = np.asarray(counts)
    except (ValueError, OverflowError, TypeError):
        return None
    whole = numbers.dtype.kind in "iu" or not numbers.size
    return numbers.astype(np.int64) if numbers.ndim == 1 and whole else None


def _draw(rings: Sequence[Any], height: int, width: int) -> rle.Runs | None:
    """The union of the rings; None when one of them is no polygon."""
    runs = []
    for ring in rings:
        try:
            xy = np.asarray(ring, dtype=np.float64)
        except (ValueError, OverflowError, TypeError):
            return None
        if xy.ndim != 1 or len(xy) < 6 or len(xy) % 2 or not (np.abs(xy) <= MAX_COORDINATE).all():
            return None
        runs.append(rle.encode_polygon(xy.reshape(-1, 2), height, width))
    return runs[0] if len(runs) == 1 else rle.merge_runs(np.concatenate(runs))


def _rows(found: Mapping[int, object]) -> Ints:
    return np.fromiter(found, dtype=np.int64, count=len(found))


def _offsets(parts: Collection[Sized]) -> Ints:
    """Where each part begins when all are put together."""
    return np.append(0, np.cumsum(np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))))
