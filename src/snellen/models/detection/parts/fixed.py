"""Suppression with as many results as asked for, however many there are: what a program of fixed shapes can do.

A program that is written to a file (`snellen export`) has one shape for every image. So of each image the same number
of rows is kept, best first, and those that stand for nothing have the score 0. Suppression itself is torchvision's
operator, which `torch.export` and ONNX both know, in one call for all images and labels.

Shapes: N images, C candidates of each, D rows kept of each.
"""

import math

import torch
from torch import Tensor
from torchvision import ops


def best_kept(
    boxes_NC4: Tensor, scores_NC: Tensor, labels_NC: Tensor, labels: int, image_size: int, nms_iou: float, count: int
) -> tuple[Tensor, Tensor]:
    """Rows (N, D) int64 of the best boxes of each image that suppression keeps, and their scores (N, D), 0 for none.

    D is `count`, or C where that is less. Equal to `nms.batched_nms` of each image, but for overlaps within about
    1e-4 of the limit: boxes of different images and labels are laid side by side on one large plane, where float32
    has fewer digits left.

    Args:
        boxes_NC4: xyxy pixels, within the image.
        scores_NC: 0 where a row is no candidate.
        labels_NC: int64 in 0..labels-1; only boxes of one label suppress each other.
        labels: How many there are.
        image_size: Side of the images in pixels.
        nms_iou: In 0..1.
        count: Rows to keep of an image.
    """
    columns = math.ceil(math.sqrt(labels))
    rows = math.ceil(labels / columns)
    images_N1 = torch.arange(boxes_NC4.shape[0], device=boxes_NC4.device)[:, None]
    x_NC, y_NC = labels_NC % columns, labels_NC // columns + rows * images_N1
    places_NC4 = torch.stack([x_NC, y_NC, x_NC, y_NC], dim=-1) * (image_size + 1)
    real_NC = scores_NC > 0
    # A box without area suppresses nothing.
    apart_NC4 = torch.where(real_NC[..., None], boxes_NC4 + places_NC4.to(boxes_NC4.dtype), 0.0)
    keep = ops.nms(apart_NC4.flatten(0, 1), scores_NC.flatten(), nms_iou)
    kept = torch.zeros_like(scores_NC).flatten().index_fill(0, keep, 1.0).view_as(scores_NC)
    best = (scores_NC * kept).topk(min(count, scores_NC.shape[1]), dim=1)
    return best.indices, best.values


def rows_of(values_NCx: Tensor, rows_ND: Tensor) -> Tensor:
    """(N, C, X) and rows (N, D) of each image -> (N, D, X)."""
    return values_NCx.gather(1, rows_ND[..., None].expand(-1, -1, values_NCx.shape[2]))
