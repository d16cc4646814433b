"""Anchors: the boxes a detector starts from, and how they are fitted to a dataset.

Shapes: A anchors of all cells and levels, M objects, K cluster centres.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELLS_PER_ANCHOR = 3.0
"""An anchor side should span this many cells: an object midway between two centres then still overlaps its nearest
anchor of the same size with IoU >= (2.5/3)^2 / (2 - (2.5/3)^2) = 0.53, above the matching threshold."""


def grid_anchors(shapes: Sequence[tuple[int, int]], strides: Sequence[int], sides: Sequence[Tensor]) -> Tensor:
    """Anchors as xyxy pixels, (A, 4): level by level, cell by cell in row order, side by side.

    Args:
        shapes: (height, width) of each level's map.
        strides: Pixels per cell.
        sides: Per level a (K_level, 2) tensor of (width, height) in pixels.
    """
    levels = []
    for (height, width), stride, wh in zip(shapes, strides, sides, strict=True):
        ys = (torch.arange(height, device=wh.device) + 0.5) * stride
        xs = (torch.arange(width, device=wh.device) + 0.5) * stride
        y_HW, x_HW = torch.meshgrid(ys, xs, indexing="ij")
        centre = torch.stack([x_HW, y_HW], dim=-1)[:, :, None, :]  # (H, W, 1, 2)
        boxes = torch.cat([centre - wh / 2, centre + wh / 2], dim=-1)  # (H, W, K_level, 4)
        levels.append(boxes.reshape(-1, 4))
    return torch.cat(levels)


def general_sides(image_size: int, strides: Sequence[int]) -> list[list[list[float]]]:
    """Anchors for unmeasured data: squares of 3 cells x (1, 2^(1/3), 2^(2/3)) on each level (Lin 2017, sec. 4)."""
    sides = []
    for stride in strides:
        scales = [min(CELLS_PER_ANCHOR * stride * 2 ** (i / 3), float(image_size)) for i in range(3)]
        sides.append([[s, s] for s in scales])
    return sides


def fit_sides(wh_M2: NDArray[np.float64], strides: Sequence[int], count: int = 9) -> list[list[list[float]]]:
    """Fit anchors to object sizes by k-means with the distance 1 - IoU (Redmon 2017, YOLO9000, sec. 2, eq. in text).

    Each centre goes to the coarsest level on which it spans `CELLS_PER_ANCHOR` cells, so a level may get none.

    Args:
        wh_M2: Object widths and heights in input pixels, (M, 2), positive.
        strides: Pixels per cell, finest first.
        count: Anchors in all; fewer when there are fewer distinct sizes.
    """
    levels: list[list[list[float]]] = [[] for _ in strides]
    for w, h in kmeans_iou(wh_M2, count):
        side = float(np.sqrt(w * h))
        fitting = [i for i, stride in enumerate(strides) if side >= CELLS_PER_ANCHOR * stride]
        levels[fitting[-1] if fitting else 0].append([round(float(w), 2), round(float(h), 2)])
    return levels


def kmeans_iou(wh_M2: NDArray[np.float64], count: int, rounds: int = 50) -> NDArray[np.float64]:
    """Cluster centres (K, 2) of box sizes under 1 - IoU of boxes with a common centre; smallest area first.

    Starts at the quantiles of the area, so that the result depends on the data alone.
    """
    wh = wh_M2[np.argsort(wh_M2.prod(axis=1), kind="stable")]
    centres = np.unique(wh[np.linspace(0, len(wh) - 1, count + 2).round().astype(int)[1:-1]], axis=0)
    for _ in range(rounds):
        owner = size_iou(wh, centres).argmax(axis=1)
        moved = np.array([np.median(wh[owner == k], axis=0) for k in range(len(centres)) if (owner == k).any()])
        if moved.shape == centres.shape and np.allclose(moved, centres):
            break
        centres = moved
    return centres[np.argsort(centres.prod(axis=1))]


def size_iou(a_M2: NDArray[np.float64], b_K2: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (M, K) of boxes that share a centre."""
    inter = np.minimum(a_M2[:, None], b_K2[None]).prod(axis=2)
    union: NDArray[np.float64] = a_M2.prod(axis=1)[:, None] + b_K2.prod(axis=1)[None] - inter
    return inter / union
