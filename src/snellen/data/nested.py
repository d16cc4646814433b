"""Lists in columns, from and to flat arrays: a list of lists of numbers a cell costs Polars thirty times as much."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


def nested(cells: Sequence[Sequence[Sequence[float]]]) -> pl.Series:
    """List(List(Float64)) of `cells`, none of them empty, nor any list in them."""
    rings = list(chain.from_iterable(cells))
    lengths = np.fromiter(map(len, rings), np.int64, len(rings))
    flat = np.fromiter(chain.from_iterable(rings), np.float64, int(lengths.sum()))
    return gathered(gathered(pl.Series(flat), lengths), np.fromiter(map(len, cells), np.int64, len(cells)))


def gathered(values: pl.Series, lengths: NDArray[np.int64]) -> pl.Series:
    """List column whose cells take `lengths`, each above 0, of `values` in turn."""
    if not len(lengths):
        return pl.Series([], dtype=pl.List(values.dtype))
    key = pl.Series(np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)).set_sorted()
    return pl.DataFrame({"key": key, "values": values}).group_by("key", maintain_order=True).agg("values")["values"]


def flattened(rings: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """(N,) numbers of a List(List(Float64)), (R + 1,) where each list starts, (n + 1,) first list of each cell.

    An empty or null cell has no lists, a null number is NaN.
    """
    counts = rings.list.len().fill_null(0).to_numpy().astype(np.int64)
    lists = rings.filter(pl.Series(counts > 0)).explode()
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    flat: Any = lists.filter(pl.Series(lengths > 0)).explode()
    numbers = flat.cast(pl.Float64()).fill_null(np.nan).to_numpy()
    return numbers, _starts(lengths), _starts(counts)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
