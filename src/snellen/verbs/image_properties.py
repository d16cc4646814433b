"""What the images of an evaluation are like: the properties by which its lost points are told apart."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from snellen.data.facts import DataFacts
from snellen.data.images import measure
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent

MEASURED = ("mean_r", "mean_g", "mean_b", "contrast", "sharpness", "entropy")


def image_properties(data: DataFacts, images: Sequence[str], progress: Progress = silent) -> pl.DataFrame:
    """image, width, height (pixels as shown), brightness (0..1, ITU-R BT.601), contrast, sharpness, entropy.

    Of `images`, in their order. Pixels that the examination of the dataset did not look at are looked at now.
    """
    known = data.images.select("image", "decoded", *MEASURED).filter(pl.col("image").is_in(list(images)))
    unseen = known.filter(pl.col("decoded").is_null())["image"].to_list()
    rows = {row["image"]: row for row in known.filter(pl.col("decoded")).to_dicts()}
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # Metadata of damaged files: what is wrong with the images is said elsewhere.
        warnings.simplefilter("ignore")
        found = pool.map(lambda name: measure(Path(data.root) / name, Tier.PIXELS), unseen)
        for done, (name, row) in enumerate(zip(unseen, found, strict=True), 1):
            rows[name] = row
            progress("look at images", done, len(unseen))
    schema = {"image": pl.String(), **{name: pl.Float64() for name in MEASURED}}
    measured = pl.DataFrame(
        [{"image": name, **{c: rows.get(name, {}).get(c) for c in MEASURED}} for name in images], schema=schema
    )
    brightness = 0.299 * pl.col("mean_r") + 0.587 * pl.col("mean_g") + 0.114 * pl.col("mean_b")
    return (
        measured.join(data.sizes(), on="image", how="left", maintain_order="left")
        .with_columns(brightness.alias("brightness"))
        .select("image", "width", "height", "brightness", "contrast", "sharpness", "entropy")
    )
