"""Boxes at the size at which a network sees them."""

import polars as pl

from snellen.data.facts import DataFacts
from snellen.network.facts import NetworkFacts


def image_sides(data: DataFacts) -> pl.DataFrame:
    """Columns image, long: the longer side of every image whose size is known, pixels."""
    return data.sizes().select("image", long=pl.max_horizontal("width", "height")).filter(pl.col("long") > 0)


def boxes_at_input(data: DataFacts, network: NetworkFacts) -> pl.DataFrame:
    """Columns image, class_name, w, h, short, long: usable boxes scaled as a letterbox scales them.

    The image's longer side becomes the longer side of the network's input.
    """
    side = max(network.input_shape[-2:])
    boxes = data.boxes.filter(pl.col("usable") & pl.col("crowd").fill_null(False).not_())
    scaled = boxes.join(image_sides(data), on="image").select(
        "image",
        "class_name",
        w=(pl.col("x2") - pl.col("x1")) * side / pl.col("long"),
        h=(pl.col("y2") - pl.col("y1")) * side / pl.col("long"),
    )
    return scaled.with_columns(short=pl.min_horizontal("w", "h"), long=pl.max_horizontal("w", "h"))
