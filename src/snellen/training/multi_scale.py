"""Training at several input sizes: a side drawn for each step, and the batch resized to it with its targets.

Redmon 2017, "YOLO9000" (arXiv:1612.08242), section 2: multi-scale training, sides multiples of 32.
"""

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.training.recipe import Recipe
from snellen.training.samples import Batch

STRIDE = 32


def side_of_step(recipe: Recipe, epoch: int, batch: int) -> int:
    """The input side of a batch: a function of (seed, epoch, number of the batch) alone."""
    if not recipe.multi_scale:
        return recipe.image_size
    low, high = (recipe.image_size * (1 + sign * recipe.multi_scale) / STRIDE for sign in (-1, 1))
    sides = range(max(1, round(low)), max(1, round(high)) + 1)
    drawn = np.random.default_rng((recipe.seed, epoch, batch, 2)).integers(len(sides))
    return sides[int(drawn)] * STRIDE


def resized(batch: Batch, side: int) -> Batch:
    """The batch at `side` x `side` pixels: images bilinear, masks by the nearest pixel, boxes scaled."""
    size = batch.images.shape[-1]
    if size == side:
        return batch
    images = interpolate(batch.images.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return batch._replace(
        images=images.round().clamp(0, 255).to(batch.images.dtype),
        boxes=[b * (side / size) for b in batch.boxes],
        masks=[m if m is None else _nearest(m, side) for m in batch.masks],
    )


def _nearest(mask: Tensor, side: int) -> Tensor:
    """(M, S, S) or (S, S) -> the same at another side; "nearest-exact" takes pixel centres, as images do."""
    if not mask.numel():
        return mask.new_zeros((*mask.shape[:-2], side, side))
    flat = mask.reshape(1, -1, *mask.shape[-2:])
    out = interpolate(flat.float(), (side, side), mode="nearest-exact")
    return out.to(mask.dtype).reshape(*mask.shape[:-2], side, side)
