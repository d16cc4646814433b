"""What differs between tasks: the loss, its evidence, and the validation metric."""

from torch import nn

from snellen.errors import UseError
from snellen.training.recipe import Recipe
from snellen.training.splits import Split
from snellen.training.tasks.base import Task
from snellen.training.tasks.classification import ClassificationTask
from snellen.training.tasks.detection import DetectionTask

__all__ = ["Task", "task_of"]


def task_of(recipe: Recipe, split: Split, model: nn.Module) -> Task:
    """The task a recipe names; `model` is the bare network, which a detector's loss and decoding belong to."""
    if recipe.task == "classification":
        return ClassificationTask(recipe, split.class_names, split.val)
    if recipe.task == "detection":
        return DetectionTask(recipe, split.class_names, model)
    raise UseError(f"no training for task {recipe.task!r}")
