"""The recipe that is chosen by looking at the data. Imports no torch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.training.recipe import Recipe, RecipeError, check_overrides

SMALLEST_OBJECT = 16.0
"""Pixels that the small objects (5th percentile of sqrt(area)) shall span at the input size: two cells of stride 8."""
LARGEST_INPUT = {"detection": 320, "segmentation": 256}
"""Pixels; beyond it a processor needs minutes per epoch. Name `image_size` to go higher."""
PIXEL_BUDGET = {"classification": 12e6, "detection": 140e6, "segmentation": 64e6}
"""Training pixels of a whole default run: a minute of `ssdlite`, ten seconds of `small-resnet`, five minutes of `unet`
on two cores."""
DEFAULT_BATCH = {"classification": 32, "detection": 8, "segmentation": 4}
"""Images; of class maps few, each of whose pixels is learned from."""
LEAST_STEPS = {"classification": 200, "detection": 400, "segmentation": 200}
"""Optimizer steps below which the default networks have not learned, however small the dataset."""


def default_recipe(data: DataFacts, **overrides: Any) -> Recipe:
    """A recipe chosen by looking at the data: input size, epochs, batch size, normalisation.

    * input: the images' size up to 320 px, smaller if small objects keep 16 px (detection), up to 256 px
      (segmentation) or up to 128 px (classification);
    * epochs: as many as fit a budget of training pixels, 4 to 40, and as many as it takes for 200 or 400 steps;
    * batch: 32 images in classification, 8 in detection, 4 in segmentation, fewer where there are fewer than four
      batches;
    * mean and std: the dataset's own where its pixels have been measured and no published weights are used.

    Raises RecipeError for unknown or impossible overrides, and for a task that nothing is trained for.
    """
    check_overrides(overrides)
    task = str(overrides.get("task") or data.task)
    if task not in PIXEL_BUDGET:
        raise RecipeError(f"{data.root}: no network is trained for {task}; `snellen check` examines the data")
    classification = task == "classification"
    size = int(overrides.get("image_size") or _input_size(data, task))
    images = max(1, data.images.filter(pl.col("split").is_null() | (pl.col("split") == "train")).height)
    batch = max(2, min(int(overrides.get("batch_size") or DEFAULT_BATCH[task]), images // 4))
    affordable = round(PIXEL_BUDGET[task] / (images * size * size))
    epochs = min(40, max(4, affordable, math.ceil(LEAST_STEPS[task] * batch / images)))
    chosen: dict[str, Any] = {
        "task": task,
        "model": _default_model(task, size),
        "image_size": size,
        "epochs": epochs,
        "batch_size": batch,
        "loss": "ce+dice" if task == "segmentation" else "ce",
        "jitter_scale": 0.1 if classification else 0.2,
        "jitter_colour": 0.2,
        "label_smoothing": 0.05 if classification else 0.0,
        "warmup_steps": max(5, min(40, epochs * images // batch // 10)),
    }
    if not overrides.get("pretrained"):
        chosen.update(_measured_normalisation(data))
    return Recipe.build({**chosen, **overrides}, "overrides")


def _default_model(task: str, size: int) -> str:
    if task == "classification":
        return "small-resnet" if size <= 64 else "resnet18"
    return "ssdlite" if task == "detection" else "unet"


def _input_size(data: DataFacts, task: str) -> int:
    sides = data.images.select(
        pl.max_horizontal(pl.coalesce("width", "declared_width"), pl.coalesce("height", "declared_height")).alias(
            "side"
        )
    )["side"].drop_nulls()
    native = float(sides.median() or 224) if len(sides) else 224.0  # type: ignore[arg-type]
    if task == "classification":
        return max(32, round(min(native, 128.0) / 32) * 32)
    if task == "segmentation":
        return _round_up(min(native, LARGEST_INPUT[task]), 32)
    wanted = native
    usable = data.boxes.filter("usable")
    if len(usable):
        areas = ((usable["x2"] - usable["x1"]) * (usable["y2"] - usable["y1"])).to_numpy()
        small = float(np.sqrt(np.quantile(areas, 0.05)))
        wanted = native * SMALLEST_OBJECT / max(small, 1.0)
    # A photograph shrunk below 160 px shows little of anything.
    floor = min(native, 160.0)
    return _round_up(min(max(wanted, floor), native, LARGEST_INPUT[task]), 32)


def _round_up(value: float, multiple: int) -> int:
    return max(multiple, math.ceil(value / multiple) * multiple)


def _measured_normalisation(data: DataFacts) -> dict[str, Sequence[float]]:
    columns = [f"{kind}_{channel}" for kind in ("mean", "std") for channel in "rgb"]
    measured = data.images.select(columns).drop_nulls()
    if not len(measured):
        return {}
    mean = [round(float(v), 4) for v in measured[:, :3].mean().row(0)]
    # Total variance = mean of the variances within images + variance of the images' means.
    within = (measured[:, 3:].to_numpy() ** 2).mean(axis=0)
    between = measured[:, :3].to_numpy().var(axis=0)
    std = [round(max(float(v), 0.02), 4) for v in np.sqrt(within + between)]
    return {"mean": tuple(mean), "std": tuple(std)}
