"""Pairs of images that their hashes say are worth a look: alike, laid another way, or one a crop of the other."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data import hamming
from snellen.data.hashes import ORIENTATIONS, WINDOWS, oriented

RADIUS = 8
"""Bits in which the hashes of a pair may differ. A JPEG of a photograph, of quality 40 at half the size, differs in up
to 6; a crop of 2 to 10 % off every side in up to 8 from one of WINDOWS."""
CROPPED = ("as it is", "mirrored")
"""Orientations in which crops are looked for."""
NEAREST = 8
"""Candidates an image may bring in; of those with more, the nearest are looked at."""
MEMBERS = 4
"""Of the images that share one hash, so many stand for all of them against others."""
Ints = NDArray[np.int32]
"""Of a million images that all look alike there are many millions."""


@dataclass(frozen=True)
class Candidates:
    """Pairs (P,) of positions, each pair up to once for each way that it was found, in the order of `whole`."""

    whole: Ints
    """Where `share` is below 1, the one that is looked at in part; else the earlier one."""
    other: Ints
    orientation: Ints
    """How the other lies: position in ORIENTATIONS."""
    window: Ints
    """Position in WINDOWS."""
    distance: Ints
    notes: list[str]
    """What was left out, and why."""


def candidates(images: pl.DataFrame, progress: Callable[[int, int], None]) -> Candidates:
    """Candidates among `images`, which have the columns of WINDOWS; positions are those of its rows.

    `progress` is told the searches done and to do.
    """
    hashes = [images[name].to_numpy().astype(np.uint64) for name in WINDOWS]
    groups = _Groups(hashes[0])
    searches = [(o, 0) for o in range(len(ORIENTATIONS)) if ORIENTATIONS[o] != "turned by 270"]
    searches += [(ORIENTATIONS.index(o), w) for w in range(1, len(WINDOWS)) for o in CROPPED]
    found, narrowed, crowded = groups.alike(), RADIUS, 0
    for done, (lay, window) in enumerate(searches):
        progress(done, len(searches))
        name = ORIENTATIONS[lay]
        # Who shares the whole's hash may differ in a window: there the first member stands for all.
        targets = hashes[0][groups.first]
        queries = oriented(hashes[window][groups.first], name)
        near = hamming.within(RADIUS, targets, queries, symmetric=window == 0 and name != "turned by 90")
        narrowed, crowded = min(narrowed, near.radius), max(crowded, near.crowded)
        rows = np.stack([near.first, near.second, np.zeros_like(near.first), near.distance], axis=1)
        rows[:, 2] = lay * len(WINDOWS) + window
        found = _nearest(np.concatenate([found, groups.expanded(rows)]))
    progress(len(searches), len(searches))
    notes = []
    if narrowed < RADIUS:
        notes.append(f"near-duplicates were sought within {narrowed} bits of hash, not {RADIUS}: too many are alike")
    if crowded:
        notes.append(
            f"{crowded:,} pictures have {hamming.MOST} or more others of nearly their hash: the nearest were compared"
        )
    found = found[np.lexsort((found[:, 3], found[:, 1], found[:, 0]))]
    orientation, windows = np.divmod(found[:, 2], len(WINDOWS))
    return Candidates(found[:, 0], found[:, 1], orientation, windows, found[:, 3], notes)


class _Groups:
    """Images by hash: those that share one are searched for once."""

    def __init__(self, hashes_N: NDArray[np.uint64]) -> None:
        self._order = np.argsort(hashes_N, kind="stable").astype(np.int32)
        ordered = hashes_N[self._order]
        self._start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else _NONE
        self._size = np.diff(np.append(self._start, len(ordered)))
        self.first = self._order[self._start]
        """(G,) the first image of each group."""

    def alike(self) -> Ints:
        """Rows (whole, other, 0, 0) of images that share a hash, each with the MEMBERS before all."""
        rows = []
        for member in range(MEMBERS):
            groups = np.flatnonzero(self._size > member + 1)
            later = self._size[groups] - member - 1
            first = np.repeat(self._order[self._start[groups] + member], later)
            step = np.arange(later.sum()) - np.repeat(np.cumsum(later) - later, later)
            second = self._order[np.repeat(self._start[groups] + member + 1, later) + step]
            rows.append(np.stack([first, second, np.zeros_like(first), np.zeros_like(first)], axis=1).astype(np.int32))
        return np.concatenate(rows)

    def expanded(self, rows: Ints) -> Ints:
        """Rows of groups as rows of images: each with the first MEMBERS of both groups."""
        parts = []
        for one in range(MEMBERS):
            for two in range(MEMBERS):
                kept = rows[(self._size[rows[:, 0]] > one) & (self._size[rows[:, 1]] > two)].copy()
                kept[:, 0] = self._order[self._start[kept[:, 0]] + one]
                kept[:, 1] = self._order[self._start[kept[:, 1]] + two]
                parts.append(kept)
        return np.concatenate(parts)


_NONE = np.empty(0, np.int64)


def _nearest(rows: Ints) -> Ints:
    """The rows that are among the NEAREST of either of their images, by distance."""
    keep = np.zeros(len(rows), np.bool_)
    for side in (0, 1):
        # In one number: image, distance (below 65), way of being found (below 24). Three keys take three sorts.
        order = np.argsort(rows[:, side].astype(np.int64) << 16 | rows[:, 3] << 8 | rows[:, 2])
        image = rows[order, side]
        start = np.flatnonzero(np.concatenate([[True], image[1:] != image[:-1]])) if len(image) else _NONE
        rank = np.arange(len(image)) - np.repeat(start, np.diff(np.append(start, len(image))))
        keep[order[rank < NEAREST]] = True
    return rows[keep]
