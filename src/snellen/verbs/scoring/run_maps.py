"""Scores a run's segmenter: its class maps, at each image's own size, against the dataset's masks."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.mask_classes import IGNORED
from snellen.errors import UseError
from snellen.evaluation.facts import PROBLEMS, ScoreFacts
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table
from snellen.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.class_maps import ClassMap
    from snellen.training.recipe import Recipe

Labels = NDArray[np.uint8]
MOST_REPLICATES = 200
"""Draws of images for the intervals; the interval of an IoU moves in its third digit only from here on."""


def score_run_maps(
    model: "nn.Module",
    recipe: "Recipe",
    class_names: Sequence[str],
    data: DataFacts,
    images: Sequence[str],
    unreadable: dict[str, str],
    *,
    split: str,
    train_scores: Mapping[str, float],
    bootstrap: int,
    progress: Progress,
) -> ScoreFacts:
    """Predict and score `images`. Those that cannot be read are added to `unreadable`, and scored nowhere.

    An image without a mask that can be used is a row of `problems`, object-unreadable-mask. Raises UseError when none
    has one.
    """
    from snellen.evaluation.semantic import evaluate_semantic
    from snellen.training.predict_maps import predict_maps

    root = Path(data.root)
    truth = _truth(data, recipe, class_names)
    there = [image for image in images if image in truth]
    if not there:
        raise UseError(f"{data.root}: no mask of {len(images)} images to score against")
    problems: list[dict[str, Any]] = [
        {"kind": "object-unreadable-mask", "image": image, "value": "no mask that can be used"}
        for image in images
        if image not in truth
    ]
    spent = 0.0

    def pairs() -> Iterator[tuple[str, Labels, Labels]]:
        nonlocal spent
        began = time.perf_counter()
        files = {image: root / image for image in there}
        for found in predict_maps(model, recipe, files, unreadable, progress=progress):
            spent += time.perf_counter() - began
            height, width = found.labels.shape
            try:
                yield found.image, truth[found.image].drawn(root, (width, height), (width, height)), found.labels
            except UseError as error:
                told = {"kind": "object-unreadable-mask", "image": found.image, "value": str(error)[:MAX_VALUE]}
                problems.append(told)
            began = time.perf_counter()

    scores = evaluate_semantic(
        pairs(), class_names, ignore_index=IGNORED, split=split, input_size=recipe.image_size,
        train_scores=train_scores, bootstrap=min(bootstrap, MOST_REPLICATES), boundaries=bootstrap > 0,
    )  # fmt: skip
    return replace(
        scores,
        images=len(images) - len(unreadable.keys() & set(images)),
        problems=pl.concat([table(PROBLEMS, problems), scores.problems]),
        seconds_per_image=spent / max(1, len(there)),
    )


def _truth(data: DataFacts, recipe: "Recipe", class_names: Sequence[str]) -> "Mapping[str, ClassMap]":
    """Image -> its class map: a mask, or painted of the objects' outlines where the dataset has no masks."""
    from snellen.training.class_maps import maps_by_image
    from snellen.training.folds import split_of

    maps = maps_by_image(data, class_names)
    if maps:
        return maps
    parts = split_of(data, recipe)
    if parts.class_names != list(class_names):
        raise UseError(f"{data.root}: its classes are not those that the run was trained for")
    return {e.image: e.class_map for e in [*parts.train, *parts.val] if e.class_map is not None}
