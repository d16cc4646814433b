"""Which predictions and objects can be scored: the others become rows of `problems`, never silent nonsense."""

from collections.abc import Sequence

import polars as pl

from snellen.boxes import CORNERS

MAX_VALUE = 200
SHAPES = ("rings", "rle", "rle_height", "rle_width", "xyv")
"""Columns that pass as they are where a table has them: see `geometry`."""
_ROUNDING = 1e-6
"""A score may exceed 0..1 by a float32 rounding; it is clipped without a word."""


def sift_boxes(
    records: pl.DataFrame, images: Sequence[str], class_names: Sequence[str], *, scored: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split box records into (usable, problems).

    `records` has image, class_name, x1..y2 (xyxy pixels), with `scored` also score, else optionally crowd. The first
    problem of a record names it, and it is left out of scoring: unknown-image, unknown-class, nan-box, infinite-box,
    inverted-box (x2 < x1 or y2 < y1), empty-box (no width or no height), nan-score, infinite-score,
    score-out-of-range (not within 0..1). Objects get the same kinds with `object-` in front. Problems count rows
    from 1. Usable rows keep their order, and the columns of SHAPES, and gain `row`, `image_index` and `class_index`;
    an object's `area` (px^2, as stated) becomes `stated_area`. Raises KeyError for a missing column.
    """
    wanted = ["image", "class_name", *CORNERS, *(["score"] if scored else [])]
    absent = [name for name in wanted if name not in records.columns]
    if absent:
        raise KeyError(f"{'predictions' if scored else 'objects'} lack the columns {', '.join(absent)}")
    numbers = [*CORNERS, *(["score"] if scored else [])]
    crowd = pl.col("crowd").cast(pl.Boolean).fill_null(False) if "crowd" in records.columns else pl.lit(False)
    table = records.with_row_index("row", offset=1).select(
        pl.col("row").cast(pl.Int64),
        pl.col("image", "class_name").cast(pl.String),
        pl.col(numbers).cast(pl.Float64, strict=False),
        *([] if scored else [crowd.alias("crowd")]),
        *(pl.col(name) for name in SHAPES if name in records.columns),
        *(
            [pl.col("area").cast(pl.Float64, strict=False).alias("stated_area")]
            if "area" in records.columns and not scored
            else []
        ),
    )
    table = table.with_columns(
        pl.col("image").replace_strict(_positions(images), default=None, return_dtype=pl.Int64).alias("image_index"),
        pl.col("class_name")
        .replace_strict(_positions(class_names), default=None, return_dtype=pl.Int64)
        .alias("class_index"),
    )
    no_box = pl.any_horizontal([pl.col(c).is_null() | pl.col(c).is_nan() for c in CORNERS])
    width, height = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
    box_text = pl.concat_str([pl.col(c).cast(pl.String).fill_null("null") for c in CORNERS], separator=" ")
    kinds = [
        ("unknown-image", pl.col("image_index").is_null(), pl.col("image")),
        ("unknown-class", pl.col("class_index").is_null(), pl.col("class_name")),
        ("nan-box", no_box, box_text),
        ("infinite-box", pl.any_horizontal([pl.col(c).is_infinite() for c in CORNERS]), box_text),
        ("inverted-box", (width < 0) | (height < 0), box_text),
        ("empty-box", (width == 0) | (height == 0), box_text),
    ]
    if scored:
        score = pl.col("score")
        text = score.cast(pl.String)
        kinds += [
            ("nan-score", score.is_null() | score.is_nan(), text),
            ("infinite-score", score.is_infinite(), text),
            ("score-out-of-range", (score < -_ROUNDING) | (score > 1 + _ROUNDING), text),
        ]
    kind, value = pl.lit(None, dtype=pl.String), pl.lit(None, dtype=pl.String)
    for name, bad, text in reversed(kinds):
        bad = bad.fill_null(False)
        kind = pl.when(bad).then(pl.lit(name if scored else f"object-{name}")).otherwise(kind)
        value = pl.when(bad).then(text).otherwise(value)
    table = table.with_columns(kind.alias("kind"), value.str.slice(0, MAX_VALUE).alias("value"))
    problems = table.filter(pl.col("kind").is_not_null()).select("kind", "row", "image", "value")
    usable = table.filter(pl.col("kind").is_null()).drop("kind", "value")
    if scored:
        usable = usable.with_columns(pl.col("score").clip(0.0, 1.0))
    return usable, problems


def _positions(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}
