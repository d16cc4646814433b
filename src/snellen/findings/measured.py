"""The quantity that a rule compares with a threshold, so that a dataset's own distribution can be looked at."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Measured:
    """What a rule measured of every record it looks at; `check` fires where a value lies beyond its option.

    A rule may ask for more than that (that the dataset's median is healthy, that enough records are beyond).
    """

    values: pl.Series
    """One number a record; null and NaN where it was not measured."""
    option: str
    """The field of the rule's Options that cuts the values."""
    quantity: str
    """What the values are, with unit: "pixels beyond the image"."""
    records: str
    """What the records are: boxes, images, classes."""
    above: bool = True
    """The rule fires above the threshold; false: below."""
