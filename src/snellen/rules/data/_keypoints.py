"""The keypoints of all objects, one row a point."""

import polars as pl

from snellen.data.facts import DataFacts


def points(data: DataFacts) -> pl.DataFrame:
    """Columns object, image, file, row, class_name, index, name, x, y, v; pixels, and visibility 0, 1 or 2."""
    names = dict(enumerate(data.keypoint_names))
    flat = data.keypoints.filter(pl.col("xyv").list.len() >= 3).with_columns(
        *(pl.col("xyv").list.gather_every(3, offset).alias(name) for offset, name in enumerate("xyv"))
    )
    even = flat.filter(pl.col("x").list.len() == pl.col("v").list.len())
    exploded = (
        even.drop("xyv").explode("x", "y", "v") if even.height else even.drop("xyv").clear().explode("x", "y", "v")
    )
    indexed = exploded.with_columns(index=pl.int_range(pl.len()).over("object"))
    name = pl.col("index").replace_strict(names, default=None, return_dtype=pl.String) if names else pl.lit(None)
    return indexed.with_columns(name=pl.coalesce(name, pl.format("point {}", "index")))
