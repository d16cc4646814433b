"""Boxes that all but coincide, found over columns: a set of a million boxes takes a second."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.rules.data._records import solid_boxes

Ints = NDArray[np.int64]
MOST_PAIRS = 200_000
"""Pairs looked for in one dataset; a set with more says nothing new in the next, and they grow with the square."""
MOST_COMPARISONS = 1_000_000_000
"""Boxes compared in one dataset, some seconds: only thousands of boxes an image, all in one column, come near."""


def overlapping_pairs(data: DataFacts, least: float) -> Iterator[tuple[dict[str, Any], dict[str, Any], float]]:
    """Pairs of solid, non-crowd boxes of one image with IoU of at least `least`, and that IoU.

    Boxes that overlap so much start close together, so each is compared only with those whose left edges are near.
    """
    solid = solid_boxes(data).filter(~pl.col("crowd").fill_null(False) & pl.col("image").is_not_null())
    order = solid.select("image").unique(maintain_order=True).with_row_index("group")
    rows = solid.join(order, on="image", maintain_order="left").sort("group", "x1", maintain_order=True)
    first, second, iou = _pairs(rows.select("group", *CORNERS), least)
    if len(first):
        one, other = (rows[at.tolist()].drop("group").to_dicts() for at in (first, second))
        for a, b, overlap in zip(one, other, iou.tolist(), strict=True):
            yield (a, b, overlap) if a["row"] <= b["row"] else (b, a, overlap)


def _pairs(rows: pl.DataFrame, least: float) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Positions of both boxes of each pair, in order, and their IoU; `rows` sorted by group and left edge."""
    group = rows["group"].to_numpy()
    x1, y1, x2, y2 = (rows[c].to_numpy() for c in CORNERS)
    area = (x2 - x1) * (y2 - y1)
    reach = x2 - least * (x2 - x1)
    found: list[tuple[Ints, Ints, NDArray[np.float64]]] = []
    at, step, pairs, left = np.arange(len(group)), 0, 0, MOST_COMPARISONS
    while len(at) and pairs < MOST_PAIRS and left > 0:
        step += 1
        at = at[at + step < len(group)]
        near = at + step
        at = at[(group[near] == group[at]) & (x1[near] <= reach[at])]
        near = at + step
        left -= len(at)
        width = np.minimum(x2[at], x2[near]) - np.maximum(x1[at], x1[near])
        height = np.minimum(y2[at], y2[near]) - np.maximum(y1[at], y1[near])
        meet = (width > 0) & (height > 0)
        a, b, both = at[meet], near[meet], width[meet] * height[meet]
        iou = both / (area[a] + area[b] - both)
        close = iou >= least
        found.append((a[close], b[close], iou[close]))
        pairs += int(close.sum())
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    first, second, overlap = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], overlap[order]
