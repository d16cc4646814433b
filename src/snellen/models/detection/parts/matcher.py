"""Which anchor answers for which object, by overlap (Ren 2015, Faster R-CNN, sec. 3.1.2; Liu 2016, SSD, sec. 2.2).

Shapes: M objects, A anchors.
"""

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


def match(iou_MA: Tensor, high: float, low: float, keep_best: bool = True) -> Tensor:
    """Give every anchor an object's row, BACKGROUND (-1) or IGNORED (-2).

    An anchor takes the object it overlaps most if that IoU >= `high`; it is background when < `low` and ignored in
    between. With `keep_best`, an object's best anchors (ties included) take their own best object whatever the IoU:
    without this an object between the anchor sizes would never be learned.

    Equal to torchvision's `Matcher` but where an object overlaps no anchor at all: there every anchor is that
    object's best, at IoU 0, and torchvision makes all of them positive.

    Args:
        iou_MA: IoU of objects (rows) with anchors (columns); M may be 0.
        high: In 0..1; equal to `low` for a second stage, which ignores nothing.
        low: In 0..high.
        keep_best: Torchvision's `allow_low_quality_matches`.

    Returns:
        (A,) int64.
    """
    if not len(iou_MA):
        return torch.full((iou_MA.shape[1],), BACKGROUND, dtype=torch.int64, device=iou_MA.device)
    best_iou_A, best_object_A = iou_MA.max(dim=0)
    matched = best_object_A.clone()
    matched[best_iou_A < low] = BACKGROUND
    matched[(best_iou_A >= low) & (best_iou_A < high)] = IGNORED
    if keep_best and iou_MA.shape[1]:
        best_of_object_M1 = iou_MA.max(dim=1, keepdim=True).values
        kept = ((iou_MA == best_of_object_M1) & (iou_MA > 0)).any(dim=0)
        matched[kept] = best_object_A[kept]
    return matched


def match_ssd(iou_MA: Tensor, threshold: float = 0.5) -> Tensor:
    """Give every anchor an object's row or BACKGROUND (-1), as SSD does (Liu 2016, sec. 2.2, "Matching strategy").

    An anchor takes the object it overlaps most if that IoU >= `threshold`; then each object takes its one best anchor
    whatever the IoU, also from another object. Of two objects with the same best anchor the later has it.

    Returns:
        (A,) int64.
    """
    matched = match(iou_MA, threshold, threshold, keep_best=False)
    if iou_MA.numel():
        best_anchor_M = iou_MA.argmax(dim=1)
        rows_M = torch.arange(len(iou_MA), device=iou_MA.device)
        # Through a maximum, and not by assignment, whose order of writing is undefined on a GPU.
        matched[best_anchor_M] = BACKGROUND
        matched.scatter_reduce_(0, best_anchor_M, rows_M, "amax")
    return matched
