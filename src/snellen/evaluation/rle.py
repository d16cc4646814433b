"""Run lengths of masks in column-major order, as COCO writes them: kernels that never decode a mask.

A mask of height h and width w is a list of runs [begin, end) of positions x * h + y, ascending, not touching each
other; many masks are one flat array of runs. Positions are uint32, so that h * w must be below 2^31.

Equal to pycocotools 2.0: counts and strings of its encoder, polygons of `frPyObjects`, overlaps of `iou`.
"""

import numpy as np
from numba import njit

Runs = np.ndarray
"""(R, 2) uint32."""

GOOD, BAD_CHARACTER, CUT_SHORT, NEGATIVE, WRONG_SUM = range(5)
"""What `parse_strings` and `parse_counts` found of a mask."""


@njit(cache=True)
def _grown(values, used):  # type: ignore[no-untyped-def]
    more = np.empty((2 * len(values), *values.shape[1:]), dtype=values.dtype)
    more[:used] = values[:used]
    return more


@njit(cache=True)
def encode_dense(masks, words, width):  # type: ignore[no-untyped-def]
    """Return (runs, (N + 1,) starts) of uint8 `masks` (N, h, w) in C order, 0 or 1, and 0 right of `width`.

    `words` (N, h, w / 8) is their memory as little-endian uint64. A run begins or ends where a pixel differs from the
    one above it (in the first row: from the foot of the column to the left). Comparing whole rows, eight pixels at a
    time, reads the mask once and in the order it lies in memory.
    """
    count, h, _ = masks.shape
    toggles = np.empty(max(width, 1024), dtype=np.uint64)
    ends = np.empty(2048, dtype=np.uint32)
    columns = np.empty(width, dtype=np.int64)
    starts = np.zeros(count + 1, dtype=np.int64)
    total = 0
    for n in range(count):
        columns[:] = 0
        found = 0
        for x in range(width):
            if masks[n, 0, x] != (masks[n, h - 1, x - 1] if x else 0):
                toggles[found] = np.uint64(x) << np.uint64(32)
                found += 1
                columns[x] += 1
        for y in range(1, h):
            differs = np.uint64(0)
            for i in range(words.shape[2]):
                differs |= words[n, y, i] ^ words[n, y - 1, i]
            if differs == 0:
                continue
            while found + width > len(toggles):
                toggles = _grown(toggles, found)
            for i in range(words.shape[2]):
                differs = words[n, y, i] ^ words[n, y - 1, i]
                x = 8 * i
                while differs:
                    if differs & np.uint64(255):
                        toggles[found] = np.uint64(x) << np.uint64(32) | np.uint64(y)
                        found += 1
                        columns[x] += 1
                    differs >>= np.uint64(8)
                    x += 1
        while total + found + 1 > len(ends):
            ends = _grown(ends, total)
        place = total
        for x in range(width):
            columns[x], place = place, place + columns[x]
        for i in range(found):
            column = np.int64(toggles[i] >> np.uint64(32))
            ends[columns[column]] = column * h + np.int64(toggles[i] & np.uint64(0xFFFFFFFF))
            columns[column] += 1
        total += found
        if found % 2:
            ends[total] = h * width
            total += 1
        starts[n + 1] = total // 2
    return ends[:total].copy().reshape(-1, 2), starts


@njit(cache=True)
def decode_dense(runs, h, w):  # type: ignore[no-untyped-def]
    """Return the (h, w) uint8 mask of one mask's runs."""
    out = np.zeros((h, w), dtype=np.uint8)
    for r in range(len(runs)):
        for position in range(runs[r, 0], runs[r, 1]):
            out[position % h, position // h] = 1
    return out


@njit(cache=True)
def _along(start, slope, t):  # type: ignore[no-untyped-def]
    """Coordinate at step t of an edge on the fine grid, rounded as the reference does."""
    return int(start + slope * t + 0.5)


@njit(cache=True)
def encode_polygon(xy, h, w):  # type: ignore[no-untyped-def]
    """Return the runs of a polygon (k, 2), drawn as pycocotools does: its boundary on a grid five times as fine.

    Where the boundary steps from fine column 5 x + 2 to 5 x + 3 or back, past the centre of a pixel, that column of
    pixels toggles from there down. Only these steps are looked for, not all of the boundary drawn.
    """
    toggles = np.empty(64, dtype=np.uint32)
    found = 0
    k = len(xy)
    for j in range(k):
        xs, ys = int(5.0 * xy[j, 0] + 0.5), int(5.0 * xy[j, 1] + 0.5)
        xe, ye = int(5.0 * xy[(j + 1) % k, 0] + 0.5), int(5.0 * xy[(j + 1) % k, 1] + 0.5)
        dx, dy = abs(xe - xs), abs(ys - ye)
        if dx == 0:
            continue
        along_x = dx >= dy
        if (along_x and xs > xe) or (not along_x and ys > ye):
            xs, xe, ys, ye = xe, xs, ye, ys
        slope = (ye - ys) / dx if along_x else (xe - xs) / dy
        low, high = min(xs, xe), max(xs, xe)
        first, end = max(0, (low + 2) // 5), min(w, (high + 2) // 5)  # low <= 5 x + 2 < high
        while found + end - first > len(toggles):
            toggles = _grown(toggles, found)
        for x in range(first, end):
            left = 5 * x + 2
            if along_x:
                t = left - xs
                v = min(_along(ys, slope, t), _along(ys, slope, t + 1))
            else:
                # The first step on the far side: near where the line says, and then exactly.
                t = min(max(int((left + 0.5 - xs) / slope), 1), dy)
                if slope > 0:
                    while t > 1 and _along(xs, slope, t - 1) > left:
                        t -= 1
                    while t < dy and _along(xs, slope, t) <= left:
                        t += 1
                else:
                    while t > 1 and _along(xs, slope, t - 1) <= left:
                        t -= 1
                    while t < dy and _along(xs, slope, t) > left:
                        t += 1
                v = ys + t - 1
            y = np.ceil(min(max((v + 0.5) / 5.0 - 0.5, 0.0), float(h)))
            toggles[found] = x * h + int(y)
            found += 1
    ends = np.sort(toggles[:found])
    # Two toggles at one place cancel each other; what is open at the end runs to the last pixel.
    kept = 0
    for i in range(found):
        if kept and ends[kept - 1] == ends[i]:
            kept -= 1
        else:
            ends[kept] = ends[i]
            kept += 1
    runs = np.empty(((kept + 1) // 2, 2), dtype=np.uint32)
    for i in range(kept):
        runs[i // 2, i % 2] = ends[i]
    if kept % 2:
        runs[kept // 2, 1] = h * w
        if runs[kept // 2, 0] == h * w:
            return runs[:-1]
    return runs


@njit(cache=True)
def merge_runs(runs):  # type: ignore[no-untyped-def]
    """Return the union of any runs, in any order."""
    order = np.argsort(runs[:, 0])
    out = np.empty_like(runs)
    kept = 0
    for r in order:
        begin, end = runs[r, 0], runs[r, 1]
        if kept and begin <= out[kept - 1, 1]:
            out[kept - 1, 1] = max(out[kept - 1, 1], end)
        elif end > begin:
            out[kept, 0], out[kept, 1] = begin, end
            kept += 1
    return out[:kept].copy()


@njit(cache=True)
def _append_counts(counts, size, runs, total):  # type: ignore[no-untyped-def]
    """Add the runs of one mask's counts at `total`; return (new total, verdict)."""
    position, first = np.int64(0), total
    for i in range(len(counts)):
        if counts[i] < 0:
            return first, NEGATIVE
        begin = position
        position += counts[i]
        if position > size:
            return first, WRONG_SUM
        if i % 2 and counts[i]:
            if total > first and runs[total - 1, 1] == begin:
                runs[total - 1, 1] = position
            else:
                runs[total, 0], runs[total, 1] = begin, position
                total += 1
    return (total, GOOD) if position == size else (first, WRONG_SUM)


@njit(cache=True)
def parse_counts(counts, offsets, sizes):  # type: ignore[no-untyped-def]
    """Return (runs, (N + 1,) starts, (N,) verdicts) of uncompressed counts.

    `counts` are int64, those of mask n from offsets[n] to offsets[n + 1]; `sizes` (N,) its pixels. A bad mask is empty.
    """
    count = len(sizes)
    runs = np.empty((len(counts) // 2 + count, 2), dtype=np.uint32)
    starts, verdicts = np.zeros(count + 1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for n in range(count):
        starts[n + 1], verdicts[n] = _append_counts(counts[offsets[n] : offsets[n + 1]], sizes[n], runs, starts[n])
    return runs[: starts[count]], starts, verdicts


@njit(cache=True)
def parse_strings(text, offsets, sizes):  # type: ignore[no-untyped-def]
    """Return what `parse_counts` does, from COCO's compressed strings: uint8 `text`, mask n from offsets[n].

    A count is written in groups of five bits, lowest first, bit 5 for "more follows", each plus 48; from the fourth
    on as the difference to the count two before.
    """
    count = len(sizes)
    numbers = 0
    for i in range(len(text)):
        numbers += (text[i] - 48) & 32 == 0
    runs = np.empty((numbers // 2 + count, 2), dtype=np.uint32)
    starts, verdicts = np.zeros(count + 1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    counts = np.empty(64, dtype=np.int64)
    for n in range(count):
        used, i, verdict = 0, offsets[n], GOOD
        while len(counts) < offsets[n + 1] - i:
            counts = _grown(counts, 0)
        while i < offsets[n + 1] and verdict == GOOD:
            value, shift, more = np.int64(0), 0, True
            while more:
                if i == offsets[n + 1]:
                    verdict = CUT_SHORT
                    break
                group = np.int64(text[i]) - 48
                if group < 0 or group > 63 or shift > 35:
                    verdict = BAD_CHARACTER
                    break
                value |= (group & 31) << shift
                more = group & 32 != 0
                i, shift = i + 1, shift + 5
                if not more and group & 16:
                    value |= -1 << shift
            counts[used] = value + (counts[used - 2] if used > 2 else 0)
            used += 1
        starts[n + 1], verdicts[n] = starts[n], verdict
        if verdict == GOOD:
            starts[n + 1], verdicts[n] = _append_counts(counts[:used], sizes[n], runs, starts[n])
    return runs[: starts[count]], starts, verdicts


@njit(cache=True)
def run_counts(runs, size):  # type: ignore[no-untyped-def]
    """Return the uncompressed counts (int64) of one mask's runs; `size` its pixels."""
    out = np.empty(2 * len(runs) + 1, dtype=np.int64)
    end = 0
    for r in range(len(runs)):
        out[2 * r], out[2 * r + 1] = runs[r, 0] - end, runs[r, 1] - runs[r, 0]
        end = runs[r, 1]
    out[-1] = size - end
    return out[:-1] if end == size and len(runs) else out


@njit(cache=True)
def count_string(counts):  # type: ignore[no-untyped-def]
    """Return COCO's compressed string of `counts` as uint8."""
    out = np.empty(7 * len(counts), dtype=np.uint8)
    used = 0
    for i in range(len(counts)):
        value = counts[i] - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            out[used] = (group | 32 if more else group) + 48
            used += 1
    return out[:used].copy()


@njit(cache=True)
def measure(runs, starts, heights):  # type: ignore[no-untyped-def]
    """Return (areas (N,) int64, tight boxes (N, 4) float64 x, y, width, height; zeros for an empty mask)."""
    areas, boxes = np.zeros(len(heights), dtype=np.int64), np.zeros((len(heights), 4))
    for n in range(len(heights)):
        h = heights[n]
        top, bottom = h, 0
        if starts[n] == starts[n + 1]:
            continue
        for r in range(starts[n], starts[n + 1]):
            first, last = np.int64(runs[r, 0]), np.int64(runs[r, 1]) - 1
            areas[n] += last + 1 - first
            top_of_column = first // h * h
            if last < top_of_column + h:
                top, bottom = min(top, first - top_of_column), max(bottom, last - top_of_column)
            else:
                top, bottom = 0, h - 1
        left, right = runs[starts[n], 0] // h, (runs[starts[n + 1] - 1, 1] - 1) // h
        boxes[n] = left, top, right - left + 1, bottom - top + 1
    return areas, boxes


@njit(cache=True)
def _shared(runs, begin, end, other_runs, other_begin, other_end):  # type: ignore[no-untyped-def]
    """Pixels that two masks share."""
    i, j, total = begin, other_begin, np.int64(0)
    # Both lists ascend: skip what ends before the other begins.
    i += np.searchsorted(runs[begin:end, 1], other_runs[j, 0], side="right")
    if i < end:
        j += np.searchsorted(other_runs[other_begin:other_end, 1], runs[i, 0], side="right")
    while i < end and j < other_end:
        a, b = runs[i, 1], other_runs[j, 1]
        low, high = max(runs[i, 0], other_runs[j, 0]), min(a, b)
        if high > low:
            total += np.int64(high) - np.int64(low)
        i += a <= b
        j += b <= a
    return total


@njit(cache=True)
def mask_overlaps(  # type: ignore[no-untyped-def]
    runs, run_starts, sizes, areas, boxes,
    object_runs, object_run_starts, object_sizes, object_areas, object_boxes, crowd, floor,
    rows, object_rows, starts, ends, object_starts, object_ends, out,
):  # fmt: skip
    """Write the overlap of every pair (see `pairs.Pairs`), 0 for masks of unequal size and, perhaps, below `floor`."""
    p = 0
    for g in range(len(starts)):
        for a in range(starts[g], ends[g]):
            d = rows[a]
            x, y, w, h = boxes[d]
            for b in range(object_starts[g], object_ends[g]):
                o = object_rows[b]
                ox, oy, ow, oh = object_boxes[o]
                out[p] = 0.0
                iw, ih = min(x + w, ox + ow) - max(x, ox), min(y + h, oy + oh) - max(y, oy)
                alike = sizes[d, 0] == object_sizes[o, 0] and sizes[d, 1] == object_sizes[o, 1]
                if iw > 0 and ih > 0 and alike:
                    # What the boxes share, and the smaller mask, bound what the masks can share.
                    most = min(iw * ih, float(areas[d]), float(object_areas[o]))
                    whole = areas[d] if crowd[o] else areas[d] + object_areas[o]
                    if most >= floor * (whole if crowd[o] else whole - most):
                        shared = _shared(
                            runs, run_starts[d], run_starts[d + 1],
                            object_runs, object_run_starts[o], object_run_starts[o + 1],
                        )  # fmt: skip
                        if shared:
                            out[p] = shared / (whole if crowd[o] else whole - shared)
                p += 1
