"""The network a recipe stands for, built for a dataset: classes, anchors, initial weights."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from snellen.data.facts import DataFacts
from snellen.models import create
from snellen.models.detection.parts.anchors import fit_sides
from snellen.models.detection.ssdlite import STRIDES
from snellen.training.recipe import Recipe
from snellen.training.splits import Example, Split, split_examples


def build_model(data: DataFacts, recipe: Recipe, split: Split | None = None) -> nn.Module:
    """The recipe's network with one output per class, anchors fitted to the training objects, seeded by the recipe.

    Seeds torch's global generator. Raises UseError when the data holds nothing to train on or the name is unknown.
    """
    split = split or split_examples(data, recipe.seed)
    anchors = None
    if recipe.task == "detection":
        sizes = object_sizes(data, split.train, recipe.image_size)
        anchors = fit_sides(sizes, STRIDES) if len(sizes) else None
    torch.manual_seed(recipe.seed)
    return create(
        recipe.model,
        task=recipe.task,
        num_classes=len(split.class_names),
        image_size=recipe.image_size,
        pretrained=recipe.pretrained,
        anchors=anchors,
    )


def object_sizes(data: DataFacts, examples: Sequence[Example], image_size: int) -> NDArray[np.float64]:
    """Width and height (M, 2) in input pixels of objects after the letterbox; sides under 1 px left out."""
    side = dict(data.sizes().select("image", pl.max_horizontal("width", "height")).drop_nulls().iter_rows())
    found = [
        (e.boxes[:, 2:] - e.boxes[:, :2]).astype(np.float64) * (image_size / side[e.image])
        for e in examples
        if side.get(e.image) and len(e.boxes)
    ]
    sizes = np.concatenate(found) if found else np.zeros((0, 2))
    return sizes[(sizes >= 1.0).all(axis=1)]
