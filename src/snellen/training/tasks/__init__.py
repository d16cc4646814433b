"""What differs between tasks: the loss, its evidence, and the validation metric."""

from torch import nn

from snellen.errors import UseError
from snellen.training.recipe import Recipe
from snellen.training.samples import Samples
from snellen.training.splits import Split
from snellen.training.tasks.base import Task
from snellen.training.tasks.classification import ClassificationTask
from snellen.training.tasks.detection import DetectionTask
from snellen.training.tasks.segmentation import SegmentationTask, class_pixels

__all__ = ["Task", "task_of"]


def task_of(
    recipe: Recipe, split: Split, model: nn.Module, learned: Samples | None = None, checked: Samples | None = None
) -> Task:
    """The task a recipe names; `model` is the bare network, which a detector's loss and decoding belong to.

    Of the images `learned` from and `checked` with, segmentation counts the pixels of each class.
    """
    if recipe.task == "classification":
        return ClassificationTask(recipe, split.class_names, split.val, split.train)
    if recipe.task == "detection":
        return DetectionTask(recipe, split.class_names, model)
    if recipe.task == "segmentation":
        counts = [class_pixels(s, len(split.class_names)) if s is not None else None for s in (learned, checked)]
        return SegmentationTask(recipe, split.class_names, *counts)
    raise UseError(f"no training for task {recipe.task!r}")
