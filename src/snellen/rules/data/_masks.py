"""What the rules about masks share."""

import polars as pl

from snellen.data.facts import DataFacts

IGNORED = (0, 255)
"""Values that need no class: nothing labelled, and what trainers ignore."""
NO_CLASS = ("void", "unlabeled", "unlabelled", "ignore", "ignored", "unknown")
"""Names of classes that stand for nothing, in small letters."""
LOSSY = ("JPEG", "MPO")
"""Formats, as Pillow names them, that change values."""


def drawn(data: DataFacts, *kinds: str) -> pl.DataFrame:
    """The values of masks of `kinds` that could be read, with `mask_pixels`, the size of each mask."""
    masks = data.masks.filter(pl.col("kind").is_in(kinds)).select(
        "file", "kind", "format", mask_pixels=pl.col("width") * pl.col("height")
    )
    return data.mask_values.join(masks.unique("file"), on="file", how="inner", maintain_order="left")


def left_by_blending() -> pl.Expr:
    """Whether a row of `drawn` is a value that is solid nowhere in its mask and lies between others where it occurs."""
    return ~pl.col("solid").fill_null(True) & (2 * pl.col("between").fill_null(0) > pl.col("pixels"))
