"""What may happen to a training image: one file each for how it moves, its colours, its quality and what hides it.

Everything is off, or as it always was, by default; the recipe's fields say how far each goes.
"""

import numpy as np
import torch

from snellen.training.augmentation.colour import recoloured
from snellen.training.augmentation.draws import Draws
from snellen.training.augmentation.erasing import erased
from snellen.training.augmentation.follow import LEAST_VISIBLE
from snellen.training.augmentation.geometry import moved
from snellen.training.augmentation.noise import worsened
from snellen.training.batches import Sample
from snellen.training.recipe import Recipe

__all__ = ["LEAST_VISIBLE", "augmented"]


def augmented(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """`sample` moved, recoloured, blurred, made noisy and partly hidden, by `rng` alone; boxes and masks follow."""
    draws = Draws.by(rng)
    sample = moved(sample, recipe, draws)
    pixels = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
    changed = worsened(recoloured(pixels, recipe, draws), recipe, draws, rng)
    return erased(sample._replace(image=torch.from_numpy(changed).permute(2, 0, 1)), recipe, draws)
