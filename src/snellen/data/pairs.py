"""Images that show the same in files that differ: found by hash, confirmed by pixels, remembered for the next run."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.data.candidates import Candidates, candidates
from snellen.data.decoding import UNREADABLE, eight_bit, open_image, too_large
from snellen.data.facts import PAIRS
from snellen.data.hashes import ORIENTATIONS, WINDOWS
from snellen.data.likeness import Thumbnail, cropped_likeness, likeness, thumbnail
from snellen.data.pair_cache import PairCache, Verdict
from snellen.facts import table
from snellen.progress import Progress

THUMBNAILS = 4096
"""So many are held at once, 29 kB each."""
VAIN = 4
"""Comparisons an image may take part in that find two things: pictures of few looks share their hashes with many."""
EQUAL = 0.9999
"""Likeness from which two images of one size and mode are decoded in full, to see whether all pixels are equal."""
_TURNS = {"turned by 90": "turned by 270", "turned by 270": "turned by 90"}


def find_pairs(
    images: pl.DataFrame, root: Path, cache: Path | None, progress: Progress
) -> tuple[pl.DataFrame, list[str]]:
    """The table PAIRS of `images` (columns of IMAGES, tier PIXELS) below `root`, and notes of what was left out.

    Images of equal bytes are compared once, by the first of them; blank ones have no hash and are not compared. Within
    a split, images that pairs of kind pixels or near join already are not compared again, so that a thousand copies of
    one picture make a thousand pairs. Verdicts are kept in the folder `cache`: whatever ends this, they are not sought
    again.
    """
    sought = images.filter(pl.col("decoded").fill_null(False) & pl.all_horizontal(pl.col(*WINDOWS).is_not_null()))
    sought = sought.unique("hash", keep="first", maintain_order=True)
    found = candidates(sought, lambda done, total: progress("search near-duplicates", done, total))
    verdicts = PairCache(cache, root)
    try:
        rows = list(_confirmed(sought, found, root, verdicts, progress))
    finally:
        verdicts.flush()
    verdicts.merge()
    return table(PAIRS, rows), found.notes


def _confirmed(
    images: pl.DataFrame, found: Candidates, root: Path, verdicts: PairCache, progress: Progress
) -> Iterator[dict[str, Any]]:
    columns = ("image", "split", "hash", "width", "height", "mode")
    names, splits, hashes, *shape = (images[column].to_list() for column in columns)
    shapes = list(zip(*shape, strict=True))
    thumbnails = _Thumbnails(root, names)
    joined = _Joined(len(names))
    vain = [0] * len(names)
    total = len(found.whole)
    for done, tries in _tries(found):
        progress("compare near-duplicates", done, total)
        first, second = sorted(tries[0][:2])
        if splits[first] == splits[second] and joined.already(first, second):
            continue
        if max(vain[first], vain[second]) >= VAIN:
            continue
        verdict = verdicts.get(hashes[first], hashes[second])
        if verdict is None:
            verdict = _judged(tries, thumbnails)
            if verdict is None:
                continue  # a file went away meanwhile
            if (verdict[2] or 0.0) >= EQUAL and verdict[0] == "near" and shapes[first] == shapes[second]:
                equal = _equal_pixels(root / names[first], root / names[second])
                verdict = ("pixels" if equal else "near", *verdict[1:])
            verdicts.put(hashes[first], hashes[second], verdict)
        kind, orientation, similarity = verdict
        if kind is None:
            vain[first] += 1
            vain[second] += 1
            continue
        if splits[first] == splits[second] and kind in ("pixels", "near"):
            joined.join(first, second)
        yield {
            "image": names[first], "other": names[second], "kind": kind, "orientation": orientation,
            "similarity": similarity, "distance": tries[0][4],
        }  # fmt: skip
    progress("compare near-duplicates", total, total)


Try = tuple[int, int, int, int, int]
"""A row of Candidates: whole, other, orientation, window, distance."""


def _tries(found: Candidates) -> Iterator[tuple[int, list[Try]]]:
    """The ways in which each pair was found, nearest first, and the number of rows until then.

    Pairs come by their first image, so that few thumbnails need holding, and of each the nearest first.
    """
    low, high = np.minimum(found.whole, found.other), np.maximum(found.whole, found.other)
    order = np.lexsort((found.window, found.distance, high, low))
    low, high, distance = low[order], high[order], found.distance[order]
    starts = np.flatnonzero(np.diff(low, prepend=-1) | np.diff(high, prepend=-1))
    ends = np.append(starts[1:], len(order))
    columns = (found.whole, found.other, found.orientation, found.window, found.distance)
    done = 0
    for pair in np.lexsort((high[starts], distance[starts], low[starts])).tolist():
        rows = order[starts[pair] : ends[pair]]
        done += len(rows)
        yield done, list(zip(*(column[rows].tolist() for column in columns), strict=True))


def _judged(tries: list[Try], thumbnails: "_Thumbnails") -> Verdict | None:
    """The first way that the pixels confirm; None when a file can no longer be read."""
    shares = list(WINDOWS.values())
    for whole, other, lay, window, _ in tries:
        one, two = thumbnails.of(whole), thumbnails.of(other)
        if one is None or two is None:
            return None
        orientation = ORIENTATIONS[lay]
        seen = orientation if whole < other else _TURNS.get(orientation, orientation)
        if window == 0:
            similarity = likeness(two, one, orientation)
            if similarity is not None:
                return _kind(orientation), seen, similarity
        if orientation in ("as it is", "mirrored"):
            similarity = cropped_likeness(one, two, orientation, shares[window])
            if similarity is not None:
                return "cropped", seen, similarity
    return None, None, None


def _kind(orientation: str) -> str:
    if orientation == "as it is":
        return "near"
    return "turned" if orientation.startswith("turned") else "flipped"


def _equal_pixels(first: Path, second: Path) -> bool:
    """Whether two files of one size and mode decode to the same pixels."""
    try:
        arrays = []
        for path in (first, second):
            with open_image(path) as image:
                if too_large(*image.size):
                    return False
                image.load()
                # A palette's entries may stand in any order.
                arrays.append(np.asarray(eight_bit(image) if image.mode == "P" else image))
        return np.array_equal(arrays[0], arrays[1])
    except UNREADABLE:
        return False


class _Thumbnails:
    """Decoded when first asked for; the least recently used are let go."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self._root, self._names = root, names
        self._held: OrderedDict[int, Thumbnail | None] = OrderedDict()

    def of(self, image: int) -> Thumbnail | None:
        """None when it can no longer be read."""
        if image not in self._held:
            self._held[image] = thumbnail(self._root / self._names[image])
            if len(self._held) > THUMBNAILS:
                self._held.popitem(last=False)
        self._held.move_to_end(image)
        return self._held[image]


class _Joined:
    """Which images are joined by pairs: union-find with halved paths."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, image: int) -> int:
        parent = self._parent
        while parent[image] != image:
            parent[image] = parent[parent[image]]
            image = parent[image]
        return image

    def already(self, first: int, second: int) -> bool:
        """Whether the two are joined."""
        return self._root(first) == self._root(second)

    def join(self, first: int, second: int) -> None:
        """Join them, and all that either is joined to."""
        self._parent[self._root(first)] = self._root(second)
