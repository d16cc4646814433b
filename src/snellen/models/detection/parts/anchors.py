"""Anchors: the boxes a detector starts from, set by hand or fitted to a dataset.

Shapes: A anchors of all cells and levels, M objects, K cluster centres.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELLS_PER_ANCHOR = 3.0
"""An anchor side should span this many cells: an object midway between two centres then still overlaps its nearest
anchor of the same size with IoU >= (2.5/3)^2 / (2 - (2.5/3)^2) = 0.53, above the matching threshold."""


def grid_anchors(
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int | tuple[int, int]],
    sides: Sequence[Tensor],
    offset: float = 0.5,
) -> Tensor:
    """Anchors as xyxy pixels, (A, 4): level by level, cell by cell in row order, side by side.

    Args:
        shapes: (height, width) of each level's map.
        strides: Pixels per cell, or (down, across) where they differ.
        sides: Per level a (K_level, 2) tensor of (width, height) in pixels.
        offset: Where in its cell an anchor's centre is: 0.5 the middle; 0 the corner, as in torchvision.
    """
    levels = []
    for (height, width), stride, wh in zip(shapes, strides, sides, strict=True):
        down, across = (stride, stride) if isinstance(stride, int) else stride
        ys = (torch.arange(height, device=wh.device) + offset) * down
        xs = (torch.arange(width, device=wh.device) + offset) * across
        y_HW, x_HW = torch.meshgrid(ys, xs, indexing="ij")
        centre = torch.stack([x_HW, y_HW], dim=-1)[:, :, None, :]  # (H, W, 1, 2)
        boxes = torch.cat([centre - wh / 2, centre + wh / 2], dim=-1)  # (H, W, K_level, 4)
        levels.append(boxes.reshape(-1, 4))
    return torch.cat(levels)


def shaped_sides(scales: Sequence[float], ratios: Sequence[float]) -> list[list[float]]:
    """(width, height) of hand-set anchors: each ratio h / w with each scale sqrt(w h) (Ren 2015, sec. 3.1.1).

    Half sides are rounded to whole pixels as in torchvision, whose weights were trained so; its anchors are
    `grid_anchors(..., offset=0)` of these.
    """
    scale_S, root_R1 = (
        torch.tensor(scales, dtype=torch.float32),
        torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None],
    )
    # float32 and this order, so that a half is rounded the way torchvision rounds it
    wh = torch.stack([((1 / root_R1) * scale_S).flatten(), (root_R1 * scale_S).flatten()], dim=1)
    return ((wh / 2).round() * 2).tolist()


def default_scales(levels: int, low: float = 0.15, high: float = 0.9) -> list[float]:
    """Scales of SSD's default boxes as shares of the image: evenly from `low` to `high`, and 1 (Liu 2016, eq. 4)."""
    return [low + (high - low) * k / (levels - 1.0) for k in range(levels)] + [1.0]


def default_sides(scales: Sequence[float], ratios: Sequence[Sequence[float]]) -> list[list[list[float]]]:
    """(width, height) of SSD's default boxes of each level, as shares of the image (Liu 2016, sec. 2.2).

    A square of the level's scale, a square between it and the next, and each ratio lying and standing.

    Args:
        scales: Of each level and of the one after the last.
        ratios: Of each level, above 1; w / h and h / w are both made.
    """
    levels = []
    for k, own in enumerate(ratios):
        between = math.sqrt(scales[k] * scales[k + 1])
        sides = [[scales[k], scales[k]], [between, between]]
        for ratio in own:
            w, h = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            sides += [[w, h], [h, w]]
        levels.append(sides)
    return levels


def default_boxes(
    shapes: Sequence[tuple[int, int]],
    sides: Sequence[Tensor],
    image_size: tuple[int, int],
    strides: Sequence[int] | None = None,
) -> Tensor:
    """SSD's default boxes as xyxy pixels, (A, 4), in the order of `grid_anchors`; sides longer than the image are cut.

    Args:
        shapes: (height, width) of each level's map.
        sides: Per level a (K_level, 2) tensor of (width, height) as shares of the image.
        image_size: (height, width) in pixels.
        strides: Pixels per cell; None: the image's size over the map's, so that the cells fill the image.
    """
    pixels = torch.tensor([image_size[1], image_size[0]], device=sides[0].device)
    levels = []
    for k, ((height, width), wh) in enumerate(zip(shapes, sides, strict=True)):
        down, across = (height, width) if strides is None else (image_size[0] / strides[k], image_size[1] / strides[k])
        ys = (torch.arange(height, device=wh.device) + 0.5) / down
        xs = (torch.arange(width, device=wh.device) + 0.5) / across
        y_HW, x_HW = torch.meshgrid(ys, xs, indexing="ij")
        centre = torch.stack([x_HW, y_HW], dim=-1)[:, :, None, :]
        half = 0.5 * wh.clamp(0, 1)
        boxes = torch.cat([(centre - half) * pixels, (centre + half) * pixels], dim=-1)
        levels.append(boxes.reshape(-1, 4))
    return torch.cat(levels)


def general_sides(image_size: int, strides: Sequence[int]) -> list[list[list[float]]]:
    """Anchors for unmeasured data: squares of 3 cells x (1, 2^(1/3), 2^(2/3)) on each level (Lin 2017, sec. 4)."""
    sides = []
    for stride in strides:
        scales = [min(CELLS_PER_ANCHOR * stride * 2 ** (i / 3), float(image_size)) for i in range(3)]
        sides.append([[s, s] for s in scales])
    return sides


def fit_sides(
    wh_M2: NDArray[np.float64], strides: Sequence[int], count: int = 9, fields: Sequence[float] | None = None
) -> list[list[list[float]]]:
    """Fit anchors to object sizes by k-means with the distance 1 - IoU (Redmon 2017, YOLO9000, sec. 2, eq. in text).

    Each centre goes to the coarsest level on which it spans `CELLS_PER_ANCHOR` cells, so a level may get none. With
    `fields`, only to a level whose cells see all of it: what a cell does not see it cannot box (Zhang 2017, S3FD,
    arXiv:1708.05237, sec. 3.1). Where none of those is left it goes to the finest level that sees it, and where no
    level does to the one that sees most.

    Args:
        wh_M2: Object widths and heights in input pixels, (M, 2), positive.
        strides: Pixels per cell, finest first.
        count: Anchors in all; fewer when there are fewer distinct sizes.
        fields: Side of each level's effective receptive field in input pixels, as `level_fields` measures it.
    """
    levels: list[list[list[float]]] = [[] for _ in strides]
    for w, h in kmeans_iou(wh_M2, count):
        side = float(np.sqrt(w * h))
        seeing = [i for i in range(len(strides)) if fields is None or fields[i] >= max(w, h)]
        fitting = [i for i in seeing if side >= CELLS_PER_ANCHOR * strides[i]]
        level = fitting[-1] if fitting else seeing[0] if seeing else int(np.argmax(fields or [0.0]))
        levels[level].append([round(float(w), 2), round(float(h), 2)])
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
