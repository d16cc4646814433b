"""What differs between tasks: the loss, its evidence, and the validation metric."""

from snellen.errors import UseError
from snellen.training.recipe import Recipe
from snellen.training.splits import Split
from snellen.training.tasks.base import Task
from snellen.training.tasks.classification import ClassificationTask
from snellen.training.tasks.detection import DetectionTask

__all__ = ["Task", "task_of"]


def task_of(recipe: Recipe, split: Split) -> Task:
    """The task a recipe names."""
    if recipe.task == "classification":
        return ClassificationTask(recipe, split.class_names, split.val)
    if recipe.task == "detection":
        return DetectionTask(recipe, split.class_names)
    raise UseError(f"no training for task {recipe.task!r}")
