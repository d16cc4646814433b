"""Training images made of several: mixup, cutmix, mosaic and copy-paste.

Nothing is drawn here but by the generator that is given; which images meet is decided by the caller.
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from snellen.training.augmentation.follow import LEAST_VISIBLE, hulls_of, moved_boxes, moved_masks
from snellen.training.batches import Sample
from snellen.training.pixels import PAD

CHOSEN = 0.5
"""Share of another image's objects that are pasted."""


def shares_of(sample: Sample, classes: int) -> Tensor:
    """(1, K) float32: the label of a classification sample as shares of the classes."""
    if sample.labels.is_floating_point():
        return sample.labels
    return torch.nn.functional.one_hot(sample.labels, classes).float()


def mixup(one: Sample, other: Sample, share: float, classes: int) -> Sample:
    """`share` of the first image blended with the rest of the other, and their labels with them.

    The cross-entropy of the mixed label is the same mixture of those of the two labels. Zhang et al. 2018, eq. 1.
    """
    blended = one.image.float().mul_(share).add_(other.image.float(), alpha=1 - share)
    labels = share * shares_of(one, classes) + (1 - share) * shares_of(other, classes)
    return Sample(blended.round_().to(torch.uint8), one.boxes, labels)


def cutmix(one: Sample, other: Sample, share: float, centre: tuple[float, float], classes: int) -> Sample:
    """The first image with a rectangle of the other at the same place; labels by the areas that are seen.

    The rectangle has the image's shape and 1 - `share` of its area, less what of it lies outside; `centre` is its
    middle, x and y in 0..1. Yun et al. 2019, eq. 1 and 2.
    """
    size = one.image.shape[-1]
    half = size * (1 - share) ** 0.5 / 2
    left, right = (round(float(np.clip(centre[0] * size + side, 0, size))) for side in (-half, half))
    top, bottom = (round(float(np.clip(centre[1] * size + side, 0, size))) for side in (-half, half))
    image = one.image.clone()
    image[:, top:bottom, left:right] = other.image[:, top:bottom, left:right]
    seen = 1 - (right - left) * (bottom - top) / size**2
    labels = seen * shares_of(one, classes) + (1 - seen) * shares_of(other, classes)
    return Sample(image, one.boxes, labels)


def mosaic(four: list[Sample], scale: float, centre: tuple[float, float]) -> Sample:
    """Four samples that meet at `centre` (x and y in 0..1 of the frame), each shrunk by `scale` and cut at the frame.

    Objects of which less than `LEAST_VISIBLE` is left are dropped; grey is where no image reaches. Bochkovskiy et al.
    2020, section 3.3.
    """
    size = four[0].image.shape[-1]
    side = max(1, round(scale * size))
    x, y = round(centre[0] * size), round(centre[1] * size)
    frame = torch.full((size, size, 3), PAD, dtype=torch.uint8).permute(2, 0, 1)
    boxes, labels, masks = [], [], []
    for place, sample in enumerate(four):
        left, top = (x - side if place % 2 == 0 else x), (y - side if place < 2 else y)
        to = (max(left, 0), max(top, 0), min(left + side, size), min(top + side, size))
        tile = resize(sample.image, [side, side], antialias=True) if side != size else sample.image
        frame[:, to[1] : to[3], to[0] : to[2]] = tile[:, to[1] - top : to[3] - top, to[0] - left : to[2] - left]
        motion = np.array([[side / size, 0, left], [0, side / size, top], [0, 0, 1]])
        own, share = moved_boxes(sample.boxes, motion, size)
        seen = share >= LEAST_VISIBLE
        if sample.masks is not None:
            drawn = moved_masks(sample.masks, motion)
            hulls = hulls_of(drawn)
            seen &= (hulls[:, 2:] > hulls[:, :2]).all(dim=1)
            own = hulls
            masks.append(drawn[seen])
        boxes.append(own[seen])
        labels.append(sample.labels[seen])
    return Sample(frame, torch.cat(boxes), torch.cat(labels), torch.cat(masks) if len(masks) == len(four) else None)


def copy_paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """The sample with about half of the other's objects pasted in at their places, cut out by mask, else as boxes.

    What they cover is taken from the masks of the sample's own objects, and their boxes shrink to what is left; own
    objects of which less than `LEAST_VISIBLE` is left are dropped. Ghiasi et al. 2021, section 3, without blending.
    """
    chosen = torch.from_numpy(rng.uniform(size=len(other.boxes)) < CHOSEN)
    if not chosen.any():
        return sample
    cut = _areas(other, chosen)
    covers = cut.any(dim=0)
    image = torch.where(covers, other.image, sample.image)
    mine = _areas(sample, torch.ones(len(sample.boxes), dtype=torch.bool))
    left = mine & ~covers
    before, after = mine.sum(dim=(1, 2)), left.sum(dim=(1, 2))
    seen = after >= LEAST_VISIBLE * before.clamp(min=1)
    boxes, masks = sample.boxes, None
    if sample.masks is not None and other.masks is not None:
        boxes = torch.where((after < before)[:, None], hulls_of(left), boxes)
        masks = torch.cat([left[seen], other.masks[chosen]])
    labels = torch.cat([sample.labels[seen], other.labels[chosen]])
    return Sample(image, torch.cat([boxes[seen], other.boxes[chosen]]), labels, masks)


def _areas(sample: Sample, chosen: Tensor) -> Tensor:
    """(m, S, S) bool: the masks of the chosen objects, or their boxes filled."""
    if sample.masks is not None:
        return sample.masks[chosen]
    size = sample.image.shape[-1]
    filled = torch.zeros(int(chosen.sum()), size, size, dtype=torch.bool)
    for area, box in zip(filled, sample.boxes[chosen].round().long().tolist(), strict=True):
        area[box[1] : max(box[3], box[1] + 1), box[0] : max(box[2], box[0] + 1)] = True
    return filled
