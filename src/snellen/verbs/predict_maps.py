"""`predict` with a run that segments: class maps as PNG files, and how much of each image each class has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from snellen.files import write_text
from snellen.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from snellen.models.segmentation.dense_crf import CrfSettings
    from snellen.training.recipe import Recipe

SHARES = {"image": pl.String, "class_name": pl.String, "share": pl.Float64, "mask": pl.String, "error": pl.String}
CLASSES = "classes.csv"


def predict_class_maps(
    model: "nn.Module",
    recipe: "Recipe",
    class_names: Sequence[str],
    images: Mapping[str, Path],
    *,
    masks: Path | None = None,
    crf: "CrfSettings | None" = None,
    progress: Progress = silent,
) -> pl.DataFrame:
    """One row an image and class that it holds: image, class_name, share of its pixels, mask, error.

    `masks` is the folder that PNG files are written to, of each image's own size and with its name; their values are
    positions among the classes, which `classes.csv` beside them names. An image that cannot be read has a row with
    the reason. `crf` refines the maps (`snellen.models.segmentation.dense_crf`).
    """
    from snellen.training.predict_maps import map_names, predict_maps, write_map

    unreadable: dict[str, str] = {}
    names = map_names(list(images))
    rows: list[dict[str, object]] = []
    for found in predict_maps(model, recipe, images, unreadable, crf=crf, progress=progress):
        file = masks / names[found.image] if masks is not None else None
        if file is not None:
            write_map(file, found.labels)
        shares = np.bincount(found.labels.ravel(), minlength=len(class_names)) / found.labels.size
        rows += [
            {"image": found.image, "class_name": name, "share": float(share), "mask": str(file) if file else None}
            for name, share in zip(class_names, shares, strict=True)
            if share
        ]
    if masks is not None:
        masks.mkdir(parents=True, exist_ok=True)
        said = pl.DataFrame({"value": range(len(class_names)), "class_name": list(class_names)})
        write_text(masks / CLASSES, said.write_csv())
    rows += [{"image": image, "error": reason} for image, reason in unreadable.items()]
    return pl.DataFrame(rows, schema=SHARES)
