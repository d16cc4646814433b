"""Features of regions: what a second stage reads from the map under each box.

Girshick 2015, "Fast R-CNN" (arXiv:1504.08083), sec. 2.1: RoI pooling, the maximum of each cell of a grid on the box.
He et al. 2017, "Mask R-CNN" (arXiv:1703.06870), sec. 3: RoI align, bilinear samples and no rounding.
He et al. 2014, "Spatial Pyramid Pooling" (arXiv:1406.4729), sec. 2.2: grids of several sizes, one after another.
Lin et al. 2017, "Feature Pyramid Networks" (arXiv:1612.03144), eq. 1: which level a box is read from.

Boxes are a list with the (R_i, 4) xyxy input pixels of each image, or a tensor (N, P, 4) where each has as many; R is
the sum of all, image by image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

CANONICAL_SIDE = 224.0
CANONICAL_STRIDE = 16
"""A box of 224 px, the side of ImageNet's images, is read at stride 16 as in a network without levels (eq. 1)."""


Boxes = Sequence[Tensor] | Tensor


def flat(boxes: Boxes) -> Tensor:
    """(R, 4): the boxes of all images."""
    return boxes.flatten(0, 1) if isinstance(boxes, Tensor) else torch.cat(list(boxes))


def as_before(boxes_R4: Tensor, boxes: Boxes) -> Boxes:
    """The boxes of all images in the form of `boxes`, in which there are as many of each."""
    if isinstance(boxes, Tensor):
        return boxes_R4.view_as(boxes)
    return list(boxes_R4.split([len(b) for b in boxes]))


def with_image(boxes: Boxes) -> Tensor:
    """(R, 5): the number of its image before each box."""
    if isinstance(boxes, Tensor):
        images_N = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)
        images_NP1 = images_N[:, None, None].expand(-1, boxes.shape[1], 1)
        return torch.cat([images_NP1, boxes], dim=2).flatten(0, 1)
    rows = [torch.cat([b.new_full((len(b), 1), i), b], dim=1) for i, b in enumerate(boxes)]
    return torch.cat(rows)


def pool_rois(x: Tensor, boxes: Boxes, size: int, stride: float) -> Tensor:
    """Maximum of each cell of a grid of `size` x `size` laid on each box, whose edges are rounded to whole cells.

    Args:
        x: Map NCHW.
        boxes: Of each image.
        size: Cells along a side of the result.
        stride: Input pixels per cell of the map.

    Returns:
        (R, C, size, size).
    """
    out: Tensor = roi_pool(x, with_image(boxes).to(x.dtype), size, 1.0 / stride)
    return out


def align_rois(x: Tensor, boxes: Boxes, size: int, stride: float, samples: int = 2) -> Tensor:
    """Mean of `samples` x `samples` bilinear samples of each cell of a grid of `size` x `size` on each box.

    Args:
        x: Map NCHW.
        boxes: Of each image.
        size: Cells along a side of the result.
        stride: Input pixels per cell of the map.
        samples: Along a side of a cell.

    Returns:
        (R, C, size, size). A map's value is taken to stand at its cell's corner, as in torchvision's detectors.
    """
    out: Tensor = roi_align(x, with_image(boxes).to(x.dtype), size, 1.0 / stride, samples)
    return out


def pyramid_pool(x: Tensor, boxes: Boxes, stride: float, sizes: Sequence[int] = (6, 3, 2, 1)) -> Tensor:
    """Spatial pyramid pooling of each box: (R, C * sum(size^2)), coarsest grid last (He 2014, sec. 2.2 and 4.1)."""
    return torch.cat([pool_rois(x, boxes, size, stride).flatten(1) for size in sizes], dim=1)


def level_of(boxes_xyxy: Tensor, strides: Sequence[int]) -> Tensor:
    """Index (R,) int64 into `strides` of the level each box (R, 4) is read from (FPN, eq. 1).

    k = floor(4 + log2(sqrt(area) / 224)), limited to the levels there are; level k has stride 2^k.

    Args:
        boxes_xyxy: Input pixels.
        strides: Doubling from level to level, finest first.
    """
    side = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1).sqrt()
    finest, coarsest = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    middle = CANONICAL_STRIDE.bit_length() - 1
    # The small addition keeps a box of exactly 224 px on its level in spite of rounding, as in torchvision.
    k = torch.floor(middle + torch.log2(side / CANONICAL_SIDE) + torch.tensor(1e-6, dtype=side.dtype))
    return k.clamp(finest, coarsest).to(torch.int64) - finest


def align_over_levels(
    maps: Sequence[Tensor], strides: Sequence[int], boxes: Boxes, size: int, samples: int = 2
) -> Tensor:
    """RoI align of each box from the level that fits its size, (R, C, size, size).

    Args:
        maps: One NCHW map per stride, the same C.
        strides: Input pixels per cell, doubling, finest first.
        boxes: Of each image.
        size: Cells along a side of the result.
        samples: Along a side of a cell.
    """
    if len(maps) == 1:
        return align_rois(maps[0], boxes, size, strides[0], samples)
    rois = with_image(boxes)
    level = level_of(rois[:, 1:], strides)
    out = maps[0].new_zeros((rois.shape[0], maps[0].shape[1], size, size))
    for i, (x, stride) in enumerate(zip(maps, strides, strict=True)):
        # Also where no box is read from it: each level keeps its place in the graph, as distributed training needs.
        rows = (level == i).nonzero().squeeze(1)
        part = roi_align(x, rois[rows].to(x.dtype), size, 1.0 / stride, samples)
        out = out.index_copy(0, rows, part.to(out.dtype))
    return out
