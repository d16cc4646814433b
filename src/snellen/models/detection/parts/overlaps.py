"""Boxes laid out so that all that overlap a given one are found without looking at the rest.

Boxes of like size (the longer side between two powers of two) share a level, a grid over the image with about as many
cells as boxes. They stand in the order of their centres' cells, line after line, so that the cells of one line which
can matter to a box are one stretch of places. What overlaps a box on a level has its centre no further from the box
than half the level's longest side.

What is compiled stands in one file: numba's cache on disk knows of changes in a function's own file only.
"""

import math

import numpy as np
from numba import njit

LARGEST, LINEAR, GAUSSIAN = range(3)
"""What the worse box of each pair gathers: the largest IoU, or the least decay."""
LEVELS = 64
MARGIN = 1e-6
"""Bounds are drawn wider by this share, because differences of large numbers are rounded."""


@njit(cache=True, error_model="numpy")
def _in_cells(boxes):  # type: ignore[no-untyped-def]
    """Lay out boxes (N, 4); those without area or with a coordinate that is not finite overlap nothing and stay out.

    Returns, for the S boxes that are in and the G levels that hold any:
        rows (S,): the box at each place; corners (4, S): its x1, y1, x2, y2; levels (S,): 0..G-1;
        sizes (G, 2): longest side, cells per pixel; grids (G, 3): columns, lines, number of the first cell;
        starts: first place of each cell, and S; origin (2,): where the grids begin.
    """
    n = len(boxes)
    number = np.full(n, -1, np.int64)
    counts, longest = np.zeros(LEVELS, np.int64), np.zeros(LEVELS)
    least, most = np.full(2, np.inf), np.full(2, -np.inf)
    for i in range(n):
        width, height = np.float64(boxes[i, 2]) - boxes[i, 0], np.float64(boxes[i, 3]) - boxes[i, 1]
        if not (0 < width < 1e100 and 0 < height < 1e100):
            continue
        side = max(width, height)
        level = min(max(math.frexp(side)[1] + LEVELS // 2, 0), LEVELS - 1)
        number[i] = level
        counts[level] += 1
        longest[level] = max(longest[level], side)
        for axis in range(2):
            centre = (np.float64(boxes[i, axis]) + boxes[i, axis + 2]) / 2
            least[axis], most[axis] = min(least[axis], centre), max(most[axis], centre)
    used = np.flatnonzero(counts)
    sizes, grids = np.empty((len(used), 2)), np.empty((len(used), 3), np.int64)
    compact, cells = np.empty(LEVELS, np.int64), 0
    for g in range(len(used)):
        compact[used[g]] = g
        extent = max(most[0] - least[0], most[1] - least[1])
        cell = max(longest[used[g]] / 2, extent / math.sqrt(counts[used[g]]))
        sizes[g, 0], sizes[g, 1] = longest[used[g]], 1 / cell
        for axis in range(2):
            grids[g, axis] = 1 + math.floor((most[axis] - least[axis]) * sizes[g, 1])
        grids[g, 2] = cells
        cells += grids[g, 0] * grids[g, 1]
    starts = np.zeros(cells + 1, np.int64)
    for i in range(n):
        if number[i] >= 0:
            g = compact[number[i]]
            column = math.floor(((np.float64(boxes[i, 0]) + boxes[i, 2]) / 2 - least[0]) * sizes[g, 1])
            line = math.floor(((np.float64(boxes[i, 1]) + boxes[i, 3]) / 2 - least[1]) * sizes[g, 1])
            number[i] = grids[g, 2] + line * grids[g, 0] + column
            starts[number[i] + 1] += 1
    for cell in range(cells):
        starts[cell + 1] += starts[cell]
    size = starts[cells]
    rows, corners, level_of = np.empty(size, np.int64), np.empty((4, size), boxes.dtype), np.empty(size, np.int64)
    filled = starts[:-1].copy()
    for i in range(n):
        if number[i] >= 0:
            place = filled[number[i]]
            filled[number[i]] += 1
            rows[place] = i
            for c in range(4):
                corners[c, place] = boxes[i, c]
    for g in range(len(used)):
        end = grids[g + 1, 2] if g + 1 < len(used) else cells
        level_of[starts[grids[g, 2]] : starts[end]] = g
    return rows, corners, level_of, sizes, grids, starts, least


@njit(cache=True, error_model="numpy")
def _window(corners, sizes, grids, origin, level, place):  # type: ignore[no-untyped-def]
    """First and last column and first and last line of a level that can hold what overlaps the box at `place`."""
    per_pixel, columns, lines = sizes[level, 1], grids[level, 0], grids[level, 1]
    x1, y1 = np.float64(corners[0, place]), np.float64(corners[1, place])
    x2, y2 = np.float64(corners[2, place]), np.float64(corners[3, place])
    reach = sizes[level, 0] / 2 + MARGIN * (sizes[level, 0] + abs(x1) + abs(y1) + abs(x2) + abs(y2))
    left, right = math.floor((x1 - reach - origin[0]) * per_pixel), math.floor((x2 + reach - origin[0]) * per_pixel)
    top, bottom = math.floor((y1 - reach - origin[1]) * per_pixel), math.floor((y2 + reach - origin[1]) * per_pixel)
    return max(left, 0), min(right, columns - 1), max(top, 0), min(bottom, lines - 1)


@njit(cache=True, error_model="numpy")
def _overlap(corners, a, b):  # type: ignore[no-untyped-def]
    """IoU of the boxes at two places in the boxes' own type and torchvision's order; 0 if apart."""
    x1a, y1a, x2a, y2a = corners[0, a], corners[1, a], corners[2, a], corners[3, a]
    x1b, y1b, x2b, y2b = corners[0, b], corners[1, b], corners[2, b], corners[3, b]
    if not (y1a < y2b and y1b < y2a and x1a < x2b and x1b < x2a):
        return 0.0
    inter = (min(x2a, x2b) - max(x1a, x1b)) * (min(y2a, y2b) - max(y1a, y1b))
    return np.float64(inter / ((x2a - x1a) * (y2a - y1a) + (x2b - x1b) * (y2b - y1b) - inter))


@njit(cache=True, error_model="numpy")
def _before(key, a, b):  # type: ignore[no-untyped-def]
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@njit(cache=True, error_model="numpy")
def _sift(heap, size, key, at):  # type: ignore[no-untyped-def]
    """Move what stands at `at` down to its place; `heap` holds rows, the best on top."""
    row = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(key, heap[child + 1], heap[child]):
            child += 1
        if not _before(key, heap[child], row):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = row


@njit(cache=True, error_model="numpy")
def soften(boxes, score, labels, gaussian, sigma, limit, min_score):  # type: ignore[no-untyped-def]
    """Rows in the order that soft suppression takes them, and their scores then; `score` (N,) float64 is changed."""
    n, by_label = len(score), len(labels) > 0
    box_rows, corners, _, sizes, grids, starts, origin = _in_cells(boxes)
    place_of = np.full(n, -1, np.int64)
    for place in range(len(box_rows)):
        place_of[box_rows[place]] = place
    heap, size = np.empty(n, np.int64), 0
    for row in range(n):
        if score[row] >= min_score:
            heap[size] = row
            size += 1
    queued = score.copy()  # the score each row is queued by, at least its score
    for at in range(size // 2 - 1, -1, -1):
        _sift(heap, size, queued, at)
    taken = np.zeros(n, np.bool_)
    rows, count = np.empty(n, np.int64), 0
    while size:
        row = heap[0]
        if score[row] >= min_score and queued[row] != score[row]:
            queued[row] = score[row]
            _sift(heap, size, queued, 0)
            continue
        size -= 1
        heap[0] = heap[size]
        if size:
            _sift(heap, size, queued, 0)
        if score[row] < min_score:
            continue
        taken[row] = True
        rows[count] = row
        count += 1
        own = place_of[row]
        for level in range(len(grids) if own >= 0 else 0):
            left, right, top, bottom = _window(corners, sizes, grids, origin, level, own)
            for line in range(top, bottom + 1):
                cell = grids[level, 2] + line * grids[level, 0]
                for place in range(starts[cell + left], starts[cell + right + 1]):
                    iou = _overlap(corners, own, place)
                    if not iou > 0:
                        continue
                    other = box_rows[place]
                    if taken[other] or (by_label and labels[other] != labels[row]):
                        continue
                    if gaussian:
                        score[other] *= math.exp(-iou * iou / sigma)
                    elif iou > limit:
                        score[other] *= 1 - iou
    return rows[:count], score[rows[:count]]


@njit(cache=True, error_model="numpy")
def soften_few(boxes, score, labels, gaussian, sigma, limit, min_score):  # type: ignore[no-untyped-def]
    """As `soften`, each box taken against all that are left: sooner done than a grid laid out, up to some hundreds."""
    n, by_label = len(score), len(labels) > 0
    sides = np.empty((4, n), boxes.dtype)
    x1, y1, x2, y2 = sides[0], sides[1], sides[2], sides[3]
    now, row = np.empty(n), np.empty(n, np.int64)
    left, best = 0, -1
    for i in range(n):
        if score[i] >= min_score:
            x1[left], y1[left], x2[left], y2[left] = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            now[left], row[left] = score[i], i
            if best < 0 or now[left] > now[best]:
                best = left
            left += 1
    rows, scores, count = np.empty(n, np.int64), np.empty(n), 0
    while left:
        a, b, c, d, own = x1[best], y1[best], x2[best], y2[best], row[best]
        area = (c - a) * (d - b)
        rows[count], scores[count] = own, now[best]
        count += 1
        kept, next_best = 0, -1
        for j in range(left):
            if j == best:
                continue
            value = now[j]
            width, height = min(c, x2[j]) - max(a, x1[j]), min(d, y2[j]) - max(b, y1[j])
            if width > 0 and height > 0 and (not by_label or labels[row[j]] == labels[own]):
                shared = width * height
                iou = np.float64(shared / (area + (x2[j] - x1[j]) * (y2[j] - y1[j]) - shared))
                if gaussian and iou > 0:  # no number where sides are not finite
                    value *= math.exp(-iou * iou / sigma)
                elif iou > limit:
                    value *= 1 - iou
                if value < min_score:
                    continue
            x1[kept], y1[kept], x2[kept], y2[kept] = x1[j], y1[j], x2[j], y2[j]
            now[kept], row[kept] = value, row[j]
            if next_best < 0 or value > now[next_best]:
                next_best = kept
            kept += 1
        left, best = kept, next_best
    return rows[:count], scores[:count]


@njit(cache=True, error_model="numpy")
def gather(boxes, rank, labels, kind, sigma, largest):  # type: ignore[no-untyped-def]
    """(N,) of each box over all better ones (of lower `rank`): the largest IoU, or the least decay given `largest`."""
    by_label = len(labels) > 0
    rows, corners, levels, sizes, grids, starts, origin = _in_cells(boxes)
    out = np.zeros(len(rank)) if kind == LARGEST else np.ones(len(rank))
    for own in range(len(rows)):
        for level in range(levels[own], len(grids)):  # each pair once, from the smaller or earlier one
            left, right, top, bottom = _window(corners, sizes, grids, origin, level, own)
            for line in range(top, bottom + 1):
                cell = grids[level, 2] + line * grids[level, 0]
                first = starts[cell + left]
                for place in range(max(first, own + 1), starts[cell + right + 1]):
                    iou = _overlap(corners, own, place)
                    if not iou > 0:
                        continue
                    better, worse = rows[own], rows[place]
                    if by_label and labels[better] != labels[worse]:
                        continue
                    if rank[better] > rank[worse]:
                        better, worse = worse, better
                    if kind == LARGEST:
                        out[worse] = max(out[worse], iou)
                    elif kind == GAUSSIAN:
                        out[worse] = min(out[worse], math.exp((largest[better] ** 2 - iou**2) / sigma))
                    elif largest[better] < 1:
                        out[worse] = min(out[worse], (1 - iou) / (1 - largest[better]))
    return out
