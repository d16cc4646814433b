"""How much a detection overlaps an object: what the matching asks of every kind of detection, and boxes' answer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK = 1 << 22
"""Overlaps held at once (32 MiB of float64); a single group may exceed it."""


@dataclass(frozen=True)
class Pairs:
    """Every detection with every object of its group (say of its image and class), for G groups."""

    detections: Ints
    """(n,) input rows, group after group."""
    objects: Ints
    """(m,) input rows, sorted so that those of a group lie together."""
    starts: Ints
    """(G,) first position of a group in `detections`."""
    ends: Ints
    """(G,)."""
    object_starts: Ints
    """(G,) first position of a group in `objects`."""
    object_ends: Ints
    """(G,)."""
    offsets: Ints
    """(G + 1,) where each group's overlaps begin: D x O values, row by row."""

    def chunks(self) -> Iterator["Pairs"]:
        """The same pairs in parts of at most about CHUNK overlaps."""
        cuts = np.searchsorted(self.offsets, np.arange(CHUNK, self.offsets[-1], CHUNK), side="right") - 1
        cuts = np.unique(np.concatenate([[0], cuts, [len(self.starts)]]))
        for a, b in pairwise(cuts):
            yield replace(
                self,
                starts=self.starts[a:b],
                ends=self.ends[a:b],
                object_starts=self.object_starts[a:b],
                object_ends=self.object_ends[a:b],
                offsets=self.offsets[a : b + 1] - self.offsets[a],
            )


class Overlap(Protocol):
    """Measures pairs."""

    def __call__(self, pairs: Pairs) -> Floats:
        """Return (pairs.offsets[-1],) overlaps, 0..1; NaN matches nothing."""


def pairs_of(detections: Ints, keys: Ints, objects: Ints, object_keys: Ints) -> Pairs:
    """Pair detections with the objects of equal key, leaving out groups without objects.

    `detections` and `objects` are input rows in ascending order of `keys` and `object_keys` (both sorted likewise).
    """
    starts = run_starts(keys)
    ends = np.append(starts[1:], len(keys))
    low = run_starts(object_keys)
    high = np.append(low[1:], len(object_keys))
    _, mine, theirs = np.intersect1d(keys[starts], object_keys[low], assume_unique=True, return_indices=True)
    starts, ends, low, high = starts[mine], ends[mine], low[theirs], high[theirs]
    offsets = np.append(0, np.cumsum((ends - starts) * (high - low)))
    return Pairs(detections, objects, starts, ends, low, high, offsets)


def run_starts(sorted_keys: Ints) -> Ints:
    """Where each run of equal keys begins."""
    if not len(sorted_keys):
        return np.zeros(0, dtype=np.int64)
    return np.append(0, np.flatnonzero(np.diff(sorted_keys)) + 1)


@dataclass(frozen=True)
class BoxOverlap:
    """Intersection over union of boxes; with a crowd, intersection over the detection's own area."""

    boxes_xywh: Floats
    """(N, 4) detections: x, y, width, height, finite."""
    object_boxes_xywh: Floats
    """(M, 4)."""
    crowd: Bools
    """(M,)."""

    def __call__(self, pairs: Pairs) -> Floats:
        """Measure `pairs` as pycocotools' `bbIou` does, to the last bit."""
        out = np.empty(pairs.offsets[-1])
        _box_overlaps(
            self.boxes_xywh, self.object_boxes_xywh, self.crowd, pairs.detections, pairs.objects,
            pairs.starts, pairs.ends, pairs.object_starts, pairs.object_ends, out,
        )  # fmt: skip
        return out


@njit(cache=True)
def _box_overlaps(  # type: ignore[no-untyped-def]
    boxes, object_boxes, crowd, rows, object_rows, starts, ends, object_starts, object_ends, out
):
    i = 0
    for g in range(len(starts)):
        for d in range(starts[g], ends[g]):
            x, y, w, h = boxes[rows[d]]
            for o in range(object_starts[g], object_ends[g]):
                ox, oy, ow, oh = object_boxes[object_rows[o]]
                iw = min(w + x, ow + ox) - max(x, ox)
                ih = min(h + y, oh + oy) - max(y, oy)
                out[i] = 0.0
                if iw > 0 and ih > 0:
                    inter = iw * ih
                    out[i] = inter / (w * h if crowd[object_rows[o]] else w * h + ow * oh - inter)
                i += 1
