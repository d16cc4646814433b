"""Non-maximum suppression: of boxes on the same object, the best."""

from torch import Tensor
from torchvision import ops


def nms(boxes_xyxy: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Rows (K,) int64 of the boxes that no better kept one overlaps by more than `iou`, best first.

    Args:
        boxes_xyxy: (N, 4).
        scores: (N,).
        iou: In 0..1.
    """
    kept: Tensor = ops.nms(boxes_xyxy, scores, iou)
    return kept
