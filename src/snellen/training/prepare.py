"""The network a recipe stands for, built for a dataset: classes, anchors, initial weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from snellen.data.facts import DataFacts
from snellen.models import create
from snellen.models.detection.base import Detector
from snellen.models.detection.parts.anchors import fit_sides
from snellen.models.detection.parts.level_fields import level_fields
from snellen.models.detection.ssdlite import STRIDES
from snellen.training.distributed import gather_objects
from snellen.training.folds import split_of
from snellen.training.recipe import Recipe, RecipeError
from snellen.training.run_folder import RunFolder, read_model
from snellen.training.samples import Samples
from snellen.training.splits import Example, Split
from snellen.training.start_weights import start_from

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Material:
    """What a run is trained on and validated with."""

    split: Split
    train: Samples
    val: Samples
    unreadable: Mapping[str, str]
    """Image -> why it could not be read; it is in neither part."""


def read_material(data: DataFacts, recipe: Recipe, tell: Tell) -> Material:
    """Read the images of `recipe`'s split; `tell` hears the stage, how many are read, and of how many.

    Raises SamplesError when nothing is left of a part.
    """
    split, root = split_of(data, recipe), Path(data.root)
    train = Samples(root, split.train, recipe, augment=True, tell=lambda *n: tell("read training images", *n))
    val = Samples(root, split.val, recipe, augment=False, tell=lambda *n: tell("read validation images", *n))
    mine = {**train.unreadable, **val.unreadable}
    # What one process cannot read none may use, or they would cut different batches.
    unreadable = {image: why for part in gather_objects(mine) for image, why in part.items()}
    train.leave_out(unreadable)
    val.leave_out(unreadable)
    return Material(split.without(unreadable), train, val, unreadable)


def built_again(folder: RunFolder, recipe: Recipe, classes: int) -> tuple[nn.Module, Any]:
    """The network of a run that was begun, with whatever weights, and its anchors. Raises UseError."""
    anchors = read_model(folder)[2]
    return built_from(recipe, classes, anchors), anchors


def build_model(
    data: DataFacts, recipe: Recipe, split: Split | None = None, remark: Callable[[str], None] | None = None
) -> nn.Module:
    """The recipe's network with one output per class, anchors fitted to the training objects, seeded by the recipe.

    Seeds torch's global generator; `remark` hears what became of `recipe.weights`. Raises UseError when the data holds
    nothing to train on, the name is unknown, or those weights do not fit.
    """
    split = split or split_of(data, recipe)
    classes, anchors = len(split.class_names), None
    if recipe.task == "detection" and recipe.anchors != "general":
        sizes = object_sizes(data, split.train, recipe.image_size)
        fields = _fields(recipe, classes) if recipe.anchors == "seen" else None
        anchors = fit_sides(sizes, STRIDES, fields=fields) if len(sizes) else None
    torch.manual_seed(recipe.seed)
    model = built_from(recipe, classes, anchors, pretrained=recipe.pretrained)
    if recipe.weights:
        told = start_from(model, Path(recipe.weights))
        if remark is not None:
            remark(f"weights: {told}")
    if anchors is not None and not hasattr(model, "anchor_sides"):
        # What the run is to be built with again, where the network does not keep it itself.
        model.anchor_sides = anchors  # type: ignore[assignment]
    return model


def built_from(recipe: Recipe, classes: int, anchors: Any, *, pretrained: bool = False) -> nn.Module:
    """The network that `recipe` names. Raises ModelError."""
    return create(
        recipe.model,
        task=recipe.task,
        num_classes=classes,
        image_size=recipe.image_size,
        pretrained=pretrained,
        anchors=anchors,
        options=recipe.model_options,
    )


def _fields(recipe: Recipe, classes: int) -> list[float]:
    """Effective receptive fields of the levels of strides `STRIDES`, with the weights that training starts from."""
    torch.manual_seed(recipe.seed)
    model = built_from(recipe, classes, None, pretrained=recipe.pretrained)
    assert isinstance(model, Detector)
    if len(model.feature_levels()) != len(STRIDES):
        raise RecipeError(
            f"anchors: {recipe.model} has no anchors on just the levels of {', '.join(map(str, STRIDES))} px, which "
            "'seen' is for: leave it 'clustered'"
        )
    return level_fields(model, recipe.image_size)


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
