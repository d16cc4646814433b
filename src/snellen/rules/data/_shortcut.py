"""How well a property of the file tells the class."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

PROPERTIES = {
    "the width": pl.col("width"),
    "the height": pl.col("height"),
    "the shape": pl.col("width") / pl.col("height"),
    "the file format": pl.col("format").rank("dense"),
    "the channel mode": pl.col("mode").rank("dense"),
    "the JPEG quality": pl.col("jpeg_quality"),
    "the camera": pl.col("camera").rank("dense"),
    "the EXIF orientation": pl.col("exif_orientation"),
}
"""Properties of the file that the object in the picture does not cause."""


BINS = 16
"""Quantile bins of a property; one with fewer distinct values has a bin for each."""


def told_by(values: NDArray[np.float64], classes: NDArray[np.int64]) -> tuple[float, int]:
    """How well `values` (n,) tell one class from the others, and which of the classes 0..K-1 they tell best.

    Each bin of values names the class that it holds the largest share of. The score of a class is Youden's J: the
    share of its images that get its name less the share of the others' that do; 0 chance, 1 perfect. The bins are
    named by the even and scored on the odd images of each class, and the other way round.
    """
    distinct = np.unique(values)
    if len(distinct) < 2:
        return 0.0, 0
    edges = distinct[1:] if len(distinct) <= BINS else np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right")
    count = int(classes.max()) + 1
    order = np.argsort(classes, kind="stable")
    position = np.empty(len(classes), np.int64)
    position[order] = np.arange(len(classes)) - np.searchsorted(classes[order], classes[order])
    half = position % 2 == 0
    told = np.empty_like(classes)
    for fit, score in ((half, ~half), (~half, half)):
        table = np.zeros((len(edges) + 1, count))
        np.add.at(table, (bins[fit], classes[fit]), 1)
        told[score] = np.argmax(table / np.maximum(table.sum(axis=0), 1), axis=1)[bins[score]]
    scores = [(told[classes == k] == k).mean() - (told[classes != k] == k).mean() for k in range(count)]
    best = int(np.argmax(scores))
    return float(scores[best]), best
