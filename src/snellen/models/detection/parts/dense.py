"""What one-stage detectors share: one prediction for every anchor, and what is made of it.

Shapes: N images, A anchors of all levels, K classes, P positive anchors and D detections, M objects of one image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image

from snellen.models.detection.base import Assignment, Found, Target
from snellen.models.detection.parts.nms import batched_nms


@dataclass(frozen=True)
class DenseOutputs:
    """Raw output of a batch."""

    logits: Tensor
    """(N, A, K), before the sigmoid or the softmax."""
    offsets: Tensor
    """(N, A, 4), as the detector's coder has them."""
    anchors: Tensor
    """(A, 4), xyxy input pixels."""
    level_sizes: tuple[int, ...]
    """Anchors of each level, finest first; they add up to A."""


def by_anchor(x: Tensor, values: int) -> Tensor:
    """(N, anchors * values, H, W) -> (N, H * W * anchors, values), the order of `grid_anchors`.

    No copy where `x` is channels_last.
    """
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def assign_by_iou(outputs: DenseOutputs, targets: Sequence[Target], matcher: Callable[[Tensor], Tensor]) -> Assignment:
    """Every image's anchors given to its objects by `matcher`: IoU (M, A) -> row of the object (A,), or below 0."""
    matched, overlaps, without = [], [], 0
    for target in targets:
        iou_MA = box_iou(target.boxes, outputs.anchors)
        rows_A = matcher(iou_MA)
        positive = (rows_A >= 0).nonzero().squeeze(1)
        overlaps.append(iou_MA[rows_A[positive], positive])
        without += len(target.labels) - len(rows_A[positive].unique())
        matched.append(rows_A)
    return Assignment(
        rows=torch.stack(matched),
        level_sizes=outputs.level_sizes,
        matched_iou=torch.cat(overlaps),
        objects=sum(len(target.labels) for target in targets),
        objects_without_positive=without,
    )


@dataclass(frozen=True)
class Positives:
    """The positive anchors of a batch, image by image, and the objects they answer for."""

    images: Tensor
    """(P,) int64."""
    anchors: Tensor
    """(P,) int64, row of the anchor."""
    objects: Tensor
    """(P,) int64, row of the object among those of the whole batch."""
    boxes: Tensor
    """(P, 4) xyxy of the object."""
    labels: Tensor
    """(P,) int64, class of the object."""


def positives(rows_NA: Tensor, targets: Sequence[Target]) -> Positives:
    """Where `rows_NA`, an assignment's, names an object, and what that object is."""
    images, anchors = (rows_NA >= 0).nonzero(as_tuple=True)
    # Rows count from the first object of their own image; in the whole batch's list those of image i come later.
    first = rows_NA.new_tensor([0, *(len(t.labels) for t in targets)]).cumsum(0)
    chosen = rows_NA[images, anchors] + first[images]
    boxes, labels = torch.cat([t.boxes for t in targets]), torch.cat([t.labels for t in targets])
    return Positives(images, anchors, chosen, boxes[chosen], labels[chosen])


def best_of_levels(
    scores_AK: Tensor, level_sizes: Sequence[int], min_score: float, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of at least `min_score`, at most `count` of each level, with their anchors' rows and their classes.

    Lin et al. 2017, "Focal Loss", sec. 4.1: only the thousand best of a level are worth decoding.
    """
    scores, anchors, labels = [], [], []
    first = 0
    for part_AK in scores_AK.split(list(level_sizes)):
        rows, classes = (part_AK >= min_score).nonzero(as_tuple=True)
        kept = part_AK[rows, classes]
        if len(kept) > count:
            kept, best = kept.topk(count)
            rows, classes = rows[best], classes[best]
        scores.append(kept)
        anchors.append(rows + first)
        labels.append(classes)
        first += len(part_AK)
    return torch.cat(scores), torch.cat(anchors), torch.cat(labels)


def suppressed(
    boxes_C4: Tensor, scores_C: Tensor, labels_C: Tensor, image_size: int, nms_iou: float, limit: int
) -> Found:
    """Candidates cut at the frame, suppressed within each class, the best `limit` of them, best first."""
    boxes_C4 = clip_boxes_to_image(boxes_C4, (image_size, image_size))
    keep = batched_nms(boxes_C4, scores_C, labels_C, nms_iou)[:limit]
    return Found(boxes_C4[keep], scores_C[keep], labels_C[keep])
