"""RoI align whose backward pass is quick on a processor.

He et al. 2017, "Mask R-CNN" (arXiv:1703.06870), sec. 3. A bilinear sample is a sum of four cells, so a cell of the
result is a weighted sum of 4 x samples^2 cells of the map: an embedding bag over the map's cells, whose gradient adds
whole rows of channels at once. Torchvision's kernel adds them one number at a time, which takes up to half of a
training step of a small detector.

Shapes: N images, C channels, H W cells of the map; R boxes.
"""

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import embedding_bag


def roi_align(x: Tensor, rois_R5: Tensor, size: int, scale: float, samples: int) -> Tensor:
    """The mean of `samples` x `samples` bilinear samples in each cell of a grid of `size` x `size` on each box.

    Equal to `torchvision.ops.roi_align(..., aligned=False)`, which is called where no gradient is wanted, and on a GPU.

    Args:
        x: Map (N, C, H, W).
        rois_R5: Number of the image, then xyxy in input pixels.
        size: Cells along a side of the result.
        scale: Cells of the map per input pixel.
        samples: Along a side of a cell of the result.

    Returns:
        (R, C, size, size) of the dtype of `x`; its memory is laid out channels last.
    """
    if not (x.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu"):
        out: Tensor = torchvision.ops.roi_align(x, rois_R5.to(x.dtype), size, scale, samples)
        return out
    _, channels, height, width = x.shape
    rois = rois_R5.float()
    y_RGT, wy_RGT = _taps(rois[:, 2], rois[:, 4], size, scale, samples, height)
    x_RGT, wx_RGT = _taps(rois[:, 1], rois[:, 3], size, scale, samples, width)
    row_RGT = rois[:, 0].to(torch.int64)[:, None, None] * height + y_RGT
    cells = row_RGT[:, :, None, :, None] * width + x_RGT[:, None, :, None, :]  # (R, G, G, T, T)
    weights = wy_RGT[:, :, None, :, None] * wx_RGT[:, None, :, None, :]
    bags = cells.shape[0] * size * size
    table = x.float().permute(0, 2, 3, 1).reshape(-1, channels)
    taps = (2 * samples) ** 2
    pooled = embedding_bag(cells.view(bags, taps), table, mode="sum", per_sample_weights=weights.view(bags, taps))
    return pooled.view(-1, size, size, channels).permute(0, 3, 1, 2).to(x.dtype)


@torch.no_grad()
def _taps(low_R: Tensor, high_R: Tensor, size: int, scale: float, samples: int, cells: int) -> tuple[Tensor, Tensor]:
    """Along one axis: the cells (R, size, 2 samples) int64 each cell of the result reads, and their weights.

    The weight of a cell at the distance d of a sample is 1 - d, over the number of samples. A sample up to one cell
    outside the map is one of its edge; one further out is 0. A box of less than a cell is taken for one of a cell.
    """
    start, end = low_R * scale, high_R * scale
    bin_R1 = ((end - start).clamp(min=1.0) / size)[:, None]
    index = torch.arange(size * samples, device=low_R.device)
    # In torchvision's order of operations, so that a sample falls on the same side of an edge.
    at = start[:, None] + (index // samples) * bin_R1 + (index % samples + 0.5) * bin_R1 / samples
    inside = (at >= -1) & (at <= cells)
    at = at.clamp(0, cells - 1)
    below = at.floor()
    share = at - below
    near = below.to(torch.int64)
    pair = torch.stack([near, (near + 1).clamp(max=cells - 1)], dim=2)
    weight = torch.stack([1 - share, share], dim=2) * inside[..., None] / samples
    return pair.view(-1, size, samples * 2), weight.view(-1, size, samples * 2)
