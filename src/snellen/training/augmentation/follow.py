"""Boxes and masks that follow their image.

A `motion` (3, 3) takes points of the old image to the new, in pixels whose corners are whole numbers: the centre of the
first is (0.5, 0.5).
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.mask_classes import IGNORED

LEAST_VISIBLE = 0.3
"""An object of which less than this share stays in sight is dropped from the augmented image."""
Motion = NDArray[np.float64]
_CENTRED = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
"""From pixels counted from the centre of the first, as OpenCV counts them."""


def warped(picture: NDArray[np.uint8], motion: Motion, fill: int, smooth: bool) -> NDArray[np.uint8]:
    """(S, S) or (S, S, 3) uint8 moved within its frame, bilinear if `smooth`, else nearest; outside lies `fill`."""
    m = np.linalg.inv(_CENTRED) @ motion @ _CENTRED
    flags = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    side = (picture.shape[1], picture.shape[0])
    border = (fill,) * 3
    if np.allclose(m[2], [0, 0, 1], rtol=0, atol=1e-12):
        moved = cv2.warpAffine(picture, m[:2], side, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    else:
        moved = cv2.warpPerspective(picture, m, side, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(moved, np.uint8)


def moved_masks(masks: Tensor, motion: Motion) -> Tensor:
    """(M, S, S) bool instance masks or an (S, S) uint8 class map, moved; outside nothing is, and is ignored."""
    if masks.ndim == 2:
        return torch.from_numpy(warped(masks.numpy(), motion, IGNORED, smooth=False))
    moved = [warped(m, motion, 0, smooth=False) for m in masks.numpy().view(np.uint8)]
    return torch.from_numpy(np.stack(moved).view(np.bool_)) if moved else masks


def moved_boxes(boxes: Tensor, motion: Motion, size: int) -> tuple[Tensor, Tensor]:
    """((M, 4) hulls of what is seen of the moved boxes, (M,) share of each that is inside the frame of side `size`)."""
    if not (motion[0, 1] or motion[1, 0] or motion[2, 0] or motion[2, 1]):
        return _stretched(boxes, motion, size)
    x1, y1, x2, y2 = boxes.double().numpy().T
    corners = np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2)
    flat = np.concatenate([corners, np.ones((*corners.shape[:2], 1))], axis=2) @ motion.T
    corners = flat[..., :2] / flat[..., 2:]
    hulls, shares = np.zeros((len(boxes), 4)), np.zeros(len(boxes))
    for i, quad in enumerate(corners):
        seen = _inside(quad, size)
        whole = _area(quad)
        if len(seen) > 2 and whole > 0:
            # A cut may miss the edge by a rounding.
            hulls[i] = np.clip(np.concatenate([seen.min(axis=0), seen.max(axis=0)]), 0, size)
            shares[i] = _area(seen) / whole
    return torch.from_numpy(hulls.astype(np.float32)), torch.from_numpy(shares.astype(np.float32))


def hulls_of(masks: Tensor) -> Tensor:
    """(M, 4) xyxy pixels of the (M, S, S) masks' extents, right and bottom exclusive; zeros where a mask is empty."""
    rows, columns = masks.any(dim=2).numpy(), masks.any(dim=1).numpy()
    hulls = np.zeros((len(masks), 4), np.float32)
    for i in np.flatnonzero(rows.any(axis=1)):
        y, x = np.flatnonzero(rows[i]), np.flatnonzero(columns[i])
        hulls[i] = x[0], y[0], x[-1] + 1, y[-1] + 1
    return torch.from_numpy(hulls)


def growth(motion: Motion, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) by what factor areas at the (M, 2) `points` grow: the determinant of the motion's Jacobian there."""
    depth = points @ motion[2, :2] + motion[2, 2]
    return np.asarray(abs(np.linalg.det(motion)) / np.abs(depth) ** 3)


def _stretched(boxes: Tensor, motion: Motion, size: int) -> tuple[Tensor, Tensor]:
    """`moved_boxes` by scale, mirror and shift alone."""
    moved = boxes.numpy() * np.tile(motion.diagonal()[:2], 2) + np.tile(motion[:2, 2], 2)
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    inside = np.concatenate([low, high], axis=1).clip(0, size).astype(np.float32)
    seen = (inside[:, 2:] - inside[:, :2]).prod(axis=1) / (high - low).prod(axis=1).clip(1e-9)
    return torch.from_numpy(inside), torch.from_numpy(seen)


def _inside(polygon: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The part of a convex polygon (P, 2) inside the frame; Sutherland and Hodgman 1974."""
    for axis, limit, sign in ((0, 0.0, 1.0), (0, size, -1.0), (1, 0.0, 1.0), (1, size, -1.0)):
        kept = []
        for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            at, to = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if at >= 0:
                kept.append(a)
            if (at >= 0) != (to >= 0):
                kept.append(a + (b - a) * at / (at - to))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
