"""Zoom, shift, mirror, rotation, shear and perspective, put together to one motion, so that pixels are blended once."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from snellen.training.augmentation.draws import Draws
from snellen.training.augmentation.follow import (
    LEAST_VISIBLE,
    Motion,
    growth,
    hulls_of,
    moved_boxes,
    moved_masks,
    warped,
)
from snellen.training.batches import Sample
from snellen.training.pixels import PAD
from snellen.training.recipe import Recipe


def moved(sample: Sample, recipe: Recipe, draws: Draws) -> Sample:
    """The sample moved within its frame; what less than `LEAST_VISIBLE` of is left is dropped.

    Boxes are those of the moved masks where there are masks, else hulls of what is seen of the moved boxes.
    """
    size = sample.image.shape[-1]
    window = _window(recipe, draws, size)
    mirror, upside_down = recipe.flip and draws.mirror < 0.5, recipe.flip_vertical and draws.upside_down < 0.5
    tilt = _tilt(recipe, draws, size)
    if window is None and tilt is None and not mirror and not upside_down:
        return sample
    motion = _zoom(window, size) if tilt is None else tilt @ _zoom(window, size)
    if mirror or upside_down:
        motion = _flips(mirror, upside_down, size) @ motion
    if tilt is not None:
        pixels = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        image = torch.from_numpy(warped(pixels, motion, PAD, smooth=True)).permute(2, 0, 1)
    else:
        image = sample.image if window is None else _zoomed(sample.image, window)
        image = _flipped(image, mirror, upside_down) if mirror or upside_down else image
    masks = None if sample.masks is None else moved_masks(sample.masks, motion)
    if not len(sample.boxes):
        return sample._replace(image=image, masks=masks)
    boxes, share = moved_boxes(sample.boxes, motion, size)
    if masks is not None and sample.masks is not None:
        boxes, share = hulls_of(masks), _kept_share(sample.masks, masks, motion)
    seen = share >= LEAST_VISIBLE
    return Sample(image, boxes[seen], sample.labels[seen], None if masks is None else masks[seen])


def _kept_share(before: Tensor, after: Tensor, motion: Motion) -> Tensor:
    """(M,) pixels of each mask after the motion, against those expected had the frame no end."""
    count = before.sum(dim=(1, 2)).double().numpy()
    places = np.arange(before.shape[-1]) + 0.5
    x = before.sum(dim=1).double().numpy() @ places / np.maximum(count, 1)
    y = before.sum(dim=2).double().numpy() @ places / np.maximum(count, 1)
    expected = np.maximum(count * growth(motion, np.stack([x, y], axis=1)), 1.0)
    return torch.from_numpy(after.sum(dim=(1, 2)).numpy() / expected)


def _window(recipe: Recipe, draws: Draws, size: int) -> tuple[int, int, int] | None:
    """Side, left and top of the part of the frame that is to fill it, whole pixels."""
    if recipe.jitter_scale == 0:
        return None
    side = round(size / (1 + recipe.jitter_scale * draws.zoom))
    return side, round(draws.shift_x * (size - side)), round(draws.shift_y * (size - side))


def _zoom(window: tuple[int, int, int] | None, size: int) -> Motion:
    if window is None:
        return np.eye(3)
    side, left, top = window
    factor = size / side
    return np.array([[factor, 0, -left * factor], [0, factor, -top * factor], [0, 0, 1]])


def _zoomed(image: Tensor, window: tuple[int, int, int]) -> Tensor:
    side, left, top = window
    size = image.shape[-1]
    # A window larger than the frame reaches outside it on the grey side; `crop` fills with black otherwise.
    if side > size:
        part = torch.full((side, side, 3), PAD, dtype=torch.uint8).permute(2, 0, 1)
        part[:, -top : size - top, -left : size - left] = image
    else:
        part = image[:, top : top + side, left : left + side]
    return resize(part, [size, size], antialias=True)


def _flipped(image: Tensor, mirror: bool, upside_down: bool) -> Tensor:
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    # OpenCV's code: 1 left-right, 0 upside down, -1 both.
    return torch.from_numpy(cv2.flip(pixels, (-1 if upside_down else 1) if mirror else 0)).permute(2, 0, 1)


def _flips(mirror: bool, upside_down: bool, size: int) -> Motion:
    x, y = -1 if mirror else 1, -1 if upside_down else 1
    return np.array([[x, 0, size if mirror else 0], [0, y, size if upside_down else 0], [0, 0, 1]], dtype=np.float64)


def _tilt(recipe: Recipe, draws: Draws, size: int) -> Motion | None:
    """Perspective, shear, rotation about the centre, then translation; None when all are off."""
    if not (recipe.rotate or recipe.translate or recipe.shear or recipe.perspective):
        return None
    angle = math.radians(recipe.rotate * draws.rotate)
    shear_x, shear_y = (math.tan(math.radians(recipe.shear * s)) for s in (draws.shear_x, draws.shear_y))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    slant = np.array([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]])
    to_centre, back = np.eye(3), np.eye(3)
    to_centre[:2, 2], back[:2, 2] = -size / 2, size / 2
    back[:2, 2] += recipe.translate * size * np.array([draws.translate_x, draws.translate_y])
    return back @ turn @ slant @ to_centre @ _perspective(recipe.perspective, draws.corners, size)


def _perspective(strength: float, inward: tuple[float, ...], size: int) -> Motion:
    """The homography that draws each corner in by up to half of `strength` of the sides."""
    if not strength:
        return np.eye(3)
    old = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=np.float64)
    towards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=np.float64)
    new = old + towards * np.reshape(inward, (4, 2)) * strength * size / 2
    # Eight linear equations for the homography's eight numbers, two a corner.
    rows = []
    for (x, y), (u, v) in zip(old, new, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(np.array(rows), new.ravel()), 1.0).reshape(3, 3)
