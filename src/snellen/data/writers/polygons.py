"""Outlines of any kind as polygons, for formats that know nothing else."""

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.writers.bitmaps import bitmap
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import at

Ring = list[float]
"""x0 y0 x1 y1 ... in pixels."""


def rings(data: DataFacts, row: Mapping[str, Any], losses: Losses) -> list[Ring]:
    """The outer rings of an object's outline; empty when it has none. Masks are traced along their pixels' edges."""
    if row["rings"] is not None:
        return [ring for ring in row["rings"] if len(ring) >= 6 and all(map(math.isfinite, ring))]
    mask = bitmap(data, row, losses)
    if mask is None:
        return []
    found, holes = traced(mask)
    if found:
        losses.add("masks-to-polygons", "masks became polygons along their pixels' edges", at(row))
    if holes:
        losses.add("holes", "holes in masks are filled: the format's polygons have none", at(row), holes)
    return found


def traced(mask: NDArray[np.uint8]) -> tuple[list[Ring], int]:
    """The outer edges of a mask's 8-connected parts, on pixel corners, and the number of holes left out.

    Each pixel is drawn as a 3 x 3 block first, so that the line through the centres of a part's outermost small pixels,
    which is what OpenCV follows, can be moved out to the edge without two edges becoming one.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [], 0
    left, top = int(columns[0]), int(rows[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1] > 0
    fine = np.repeat(np.repeat(part.astype(np.uint8), 3, axis=0), 3, axis=1)
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    found: list[Ring] = []
    holes = 0
    for contour, (_, _, _, parent) in zip(contours, tree[0], strict=True):
        if parent >= 0:
            holes += 1
            continue
        points = contour[:, 0, :].astype(np.int64)
        # Small pixels 3x and 3x + 2 of a block touch the pixel's left and right edge.
        corners = (points + 1) // 3 + (left, top)
        keep = np.any(corners != np.roll(corners, 1, axis=0), axis=1)
        found.append([float(v) for v in corners[keep].ravel()])
    return found, holes


def joined(parts: list[Ring]) -> Ring:
    """One ring out of several, by bridges there and back between nearest corners: no width, so no area."""
    whole = np.asarray(parts[0], np.float64).reshape(-1, 2)
    for part in parts[1:]:
        other = np.asarray(part, np.float64).reshape(-1, 2)
        gaps = ((whole[:, None] - other[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(gaps.argmin()), gaps.shape)
        loop = np.concatenate([other[there:], other[: there + 1]])
        whole = np.concatenate([whole[: here + 1], loop, whole[here:]])
    return [float(v) for v in whole.ravel()]


def rectangle(row: Mapping[str, Any]) -> Ring:
    """The four corners of a box, clockwise from the upper left."""
    return [row["x1"], row["y1"], row["x2"], row["y1"], row["x2"], row["y2"], row["x1"], row["y2"]]


def smallest_rectangle(parts: list[Ring]) -> Ring:
    """The rotated rectangle of least area around all rings (rotating calipers); float32 precision."""
    points = np.concatenate([np.asarray(p, np.float32).reshape(-1, 2) for p in parts])
    return [float(v) for v in cv2.boxPoints(cv2.minAreaRect(points)).ravel()]
