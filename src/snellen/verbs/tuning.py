"""Fields of a recipe that are asked for as "auto": found by trying, and written down as the numbers they turned out."""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from snellen.errors import UseError
from snellen.progress import Progress, silent
from snellen.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from snellen.data.facts import DataFacts
    from snellen.training.tasks.base import LossFunction

FIELDS = ("batch_size", "lr")
"""What may be "auto"."""


def without_auto(overrides: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The overrides that are values, and the fields that are to be found."""
    auto = [name for name in FIELDS if overrides.get(name) == "auto"]
    return {name: value for name, value in overrides.items() if name not in auto}, auto


def tuned(
    data: "DataFacts",
    recipe: Recipe,
    auto: Collection[str],
    named: Collection[str] = (),
    *,
    model: "nn.Module | None" = None,
    loss: "LossFunction | None" = None,
    progress: Progress = silent,
) -> Recipe:
    """`recipe` with the fields of `auto` found: the largest batch that fits, the rate at which the loss falls fastest.

    A batch m times as large has an lr m times as large with sgd, sqrt(m) times with the others, unless lr is one of
    `named`, which the caller has set. Raises UseError when nothing can be found.
    """
    if "batch_size" in auto:
        from snellen.training.batch_size import largest_batch_size

        progress("find batch size", 0, 1)
        size = largest_batch_size(data, recipe)
        factor = size / recipe.batch_size
        # Goyal 2017 (arXiv:1706.02677), section 2.1, and Krizhevsky 2014 (arXiv:1404.5997), section 5.
        scaled = recipe.lr * (factor if recipe.optimizer == "sgd" else math.sqrt(factor))
        recipe = recipe.vary(batch_size=size, lr=recipe.lr if "lr" in named else float(f"{scaled:.4g}"))
        progress("find batch size", 1, 1, f"{size} images, lr {recipe.lr:g}")
    if "lr" in auto:
        from snellen.training.lr_finder import find_rate

        progress("find lr", 0, 1)
        found = find_rate(data, recipe, model=model, loss=loss)
        if found.rate is None:
            raise UseError(f"lr: no rate found ({found.detail}); name one with --set lr=0.001")
        recipe = recipe.vary(lr=float(f"{found.rate:.3g}"))
        progress("find lr", 1, 1, f"lr {recipe.lr:g}")
    return recipe
