"""RoI align over levels whose backward pass is quick on a processor.

He et al. 2017, "Mask R-CNN" (arXiv:1703.06870), sec. 3. A bilinear sample is a sum of four cells, so a cell of the
result is a weighted sum of 4 x samples^2 cells of the map: an embedding bag over the map's cells, whose gradient adds
whole rows of channels at once. Torchvision's kernel adds them one number at a time, which takes up to half of a
training step of a small detector. All levels are one table, so the boxes need not be sorted by level and put back.

Shapes: N images, C channels, H W cells of a map; R boxes, G cells along a side of the result, T taps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


def bag_align(
    maps: Sequence[Tensor], strides: Sequence[int], rois_R5: Tensor, level_R: Tensor, size: int, samples: int = 2
) -> Tensor:
    """The mean of `samples` x `samples` bilinear samples in each cell of a grid of `size` x `size` on each box.

    Equal to `torchvision.ops.roi_align(..., aligned=False)` of each box and its level's map.

    Args:
        maps: One (N, C, H, W) per level, the same C.
        strides: Input pixels per cell of each map.
        rois_R5: Number of the image, then xyxy in input pixels.
        level_R: Index of the map each box is read from, int64.
        size: Cells along a side of the result.
        samples: Along a side of a cell of the result.

    Returns:
        (R, C, size, size) of the dtype of the maps; its memory is laid out channels last.
    """
    device = rois_R5.device
    channels = maps[0].shape[1]
    cells = [x.shape[2] * x.shape[3] for x in maps]
    # Rows of the table: image by image, in it level by level, in it cell by cell. A view where a map is channels_last.
    table = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1).float().reshape(-1, channels)
    first = torch.tensor([sum(cells[:i]) for i in range(len(maps))], device=device)[level_R]
    height, width = (torch.tensor([x.shape[axis] for x in maps], device=device)[level_R] for axis in (2, 3))
    scale = torch.tensor([1.0 / s for s in strides], device=device)[level_R]
    rois = rois_R5.float()
    y_RGT, wy_RGT = _taps(rois[:, 2] * scale, rois[:, 4] * scale, size, samples, height)
    x_RGT, wx_RGT = _taps(rois[:, 1] * scale, rois[:, 3] * scale, size, samples, width)
    start = rois[:, 0].to(torch.int64) * sum(cells) + first
    row_RGT = start[:, None, None] + y_RGT * width[:, None, None]
    rows = row_RGT[:, :, None, :, None] + x_RGT[:, None, :, None, :]  # (R, G, G, T, T)
    weights = wy_RGT[:, :, None, :, None] * wx_RGT[:, None, :, None, :]
    taps = (2 * samples) ** 2
    pooled = embedding_bag(rows.view(-1, taps), table, mode="sum", per_sample_weights=weights.view(-1, taps))
    return pooled.view(-1, size, size, channels).permute(0, 3, 1, 2).to(maps[0].dtype)


@torch.no_grad()
def _taps(start_R: Tensor, end_R: Tensor, size: int, samples: int, cells_R: Tensor) -> tuple[Tensor, Tensor]:
    """Along one axis: the cells (R, G, T = 2 samples) int64 each cell of the result reads, and their weights.

    The weight of a cell at the distance d of a sample is 1 - d, over the number of samples. A sample up to one cell
    outside the map is one of its edge; one further out is 0. A box of less than a cell is taken for one of a cell.
    """
    bin_R1 = ((end_R - start_R).clamp(min=1.0) / size)[:, None]
    index = torch.arange(size * samples, device=start_R.device)
    # In torchvision's order of operations, so that a sample falls on the same side of an edge.
    at = start_R[:, None] + (index // samples) * bin_R1 + (index % samples + 0.5) * bin_R1 / samples
    inside = (at >= -1) & (at <= cells_R[:, None])
    last_R1 = cells_R[:, None] - 1
    at = at.clamp(min=0).minimum(last_R1)
    below = at.floor()
    share = at - below
    near = below.to(torch.int64)
    pair = torch.stack([near, (near + 1).minimum(last_R1)], dim=2)
    weight = torch.stack([1 - share, share], dim=2) * inside[..., None] / samples
    return pair.view(-1, size, samples * 2), weight.view(-1, size, samples * 2)
