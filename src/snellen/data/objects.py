"""The tables of annotated objects, from what a reader gathered: outlines measured, hulls in place of missing boxes."""

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.records import Records


def objects(records: Records) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`boxes` and `outlines` of DataFacts."""
    boxes = records.boxes.frame().with_columns(object=pl.int_range(pl.len(), dtype=pl.Int64))
    outlines = records.outlines.frame()
    if outlines.is_empty():
        return boxes, outlines
    from snellen.data.outlines import measured  # brings numba, which a dataset of plain boxes does without

    outlines = measured(outlines)
    return _with_hulls(boxes, outlines), outlines


def _with_hulls(boxes: pl.DataFrame, outlines: pl.DataFrame) -> pl.DataFrame:
    """Boxes that the format does not state take the hull of their outline, where the reader did not say it."""
    drawn = outlines.filter(pl.col("kind") == "bitmap")["object"]  # `measuring_masks` says these, at tier PIXELS
    bare = ~pl.col("box_stated").fill_null(True) & pl.col("x1").is_null() & ~pl.col("object").is_in(drawn.implode())
    if boxes.filter(bare).is_empty():
        return boxes
    ends = {f"hull_{c}": pl.col(c).min() if c in ("x1", "y1") else pl.col(c).max() for c in CORNERS}
    hulls = outlines.group_by("object").agg(**ends)
    solid = (pl.col("hull_x2") > pl.col("hull_x1")) & (pl.col("hull_y2") > pl.col("hull_y1"))
    usable = solid.fill_null(False) & pl.col("image").is_not_null() & pl.col("class_name").is_not_null()
    return (
        boxes.join(hulls, on="object", how="left", maintain_order="left")
        .with_columns(
            *(pl.when(bare).then(f"hull_{c}").otherwise(c).alias(c) for c in CORNERS),
            usable=pl.when(bare).then(usable).otherwise("usable"),
        )
        .drop(ends)
    )
