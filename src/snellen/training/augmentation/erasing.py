"""Random erasing (Zhong et al. 2020, algorithm 1): a rectangle of one colour hides part of the image."""

import math

import torch

from snellen.data.mask_classes import IGNORED
from snellen.training.augmentation.draws import Draws
from snellen.training.augmentation.follow import LEAST_VISIBLE, hulls_of
from snellen.training.batches import Sample
from snellen.training.recipe import Recipe

AREA = (0.02, 0.33)
"""Smallest and largest share of the image that is hidden."""
RATIO = 3.3
"""Largest ratio of its sides."""


def erased(sample: Sample, recipe: Recipe, draws: Draws) -> Sample:
    """The sample with a rectangle hidden, or as it is.

    Masks lose what is hidden, and boxes shrink with them; boxes without masks stay, as of something partly covered.
    Objects of which less than `LEAST_VISIBLE` is in sight are dropped; hidden pixels of a class map are ignored.
    """
    if draws.erase >= recipe.erase:
        return sample
    size = sample.image.shape[-1]
    area = size * size * (AREA[0] + (AREA[1] - AREA[0]) * draws.erased_area)
    stretch = math.exp(draws.erased_ratio * math.log(RATIO) / 2)
    width = min(size, max(1, round(math.sqrt(area) * stretch)))
    height = min(size, max(1, round(math.sqrt(area) / stretch)))
    left, top = round((size - width) * draws.erased_x), round((size - height) * draws.erased_y)
    hidden = (slice(top, top + height), slice(left, left + width))
    image = sample.image.clone()
    colour = torch.tensor([round(255 * c) for c in draws.erased_colour], dtype=torch.uint8)
    image[:, hidden[0], hidden[1]] = colour[:, None, None]
    if sample.masks is not None and sample.masks.ndim == 2:
        masks = sample.masks.clone()
        masks[hidden] = IGNORED
        return sample._replace(image=image, masks=masks)
    if not len(sample.boxes):
        return sample._replace(image=image)
    return covered(sample._replace(image=image), hidden)


def covered(sample: Sample, hidden: tuple[slice, slice]) -> Sample:
    """The objects of `sample` after the rows and columns `hidden` are covered by something else."""
    boxes, masks = sample.boxes, sample.masks
    if masks is None:
        low = boxes[:, :2].maximum(torch.tensor([hidden[1].start, hidden[0].start], dtype=torch.float32))
        high = boxes[:, 2:].minimum(torch.tensor([hidden[1].stop, hidden[0].stop], dtype=torch.float32))
        share = 1 - (high - low).clamp(min=0).prod(dim=1) / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=1e-9)
    else:
        before = masks.sum(dim=(1, 2))
        masks = masks.clone()
        masks[:, hidden[0], hidden[1]] = False
        share = masks.sum(dim=(1, 2)) / before.clamp(min=1)
        touched = masks.sum(dim=(1, 2)) < before
        boxes = torch.where(touched[:, None], hulls_of(masks), boxes)
    seen = share >= LEAST_VISIBLE
    return Sample(sample.image, boxes[seen], sample.labels[seen], None if masks is None else masks[seen])
