"""What the rules about single images share: one that is beyond a limit while its dataset is not."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Place

MIN_IMAGES = 20
"""Images below which a dataset has no usual look to depart from; then the limit alone decides."""


def unusual(data: DataFacts, column: str, limit: float, usual: float) -> pl.DataFrame:
    """Images whose `column` lies beyond `limit`, unless the dataset's median does not even reach `usual`.

    `usual` lies on the healthy side of `limit` and so says which side is beyond. A dataset of night pictures has
    dark images; they are no defect of it.
    """
    known = data.images.filter(pl.col(column).is_not_null())
    if known.is_empty():
        return known
    above = limit > usual
    median = known.select(pl.col(column).median()).item()
    if known.height >= MIN_IMAGES and (median > usual if above else median < usual):
        return known.clear()
    return known.filter(pl.col(column) > limit if above else pl.col(column) < limit).sort(column, descending=above)


def image_place(row: Mapping[str, Any]) -> Place:
    """The place of a row of the images table."""
    return Place(file=row["image"], image=row["image"])
