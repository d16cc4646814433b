"""Training: a recipe, a loop that can be killed and resumed, and predictions of what it learned.

Importing this imports no torch; `train`, `predict` and `load_run` live in `training.trainer` and `training.predict`.
"""

from snellen.training.recipe import Recipe, RecipeError
from snellen.training.recipe_defaults import default_recipe

__all__ = ["Recipe", "RecipeError", "default_recipe"]
