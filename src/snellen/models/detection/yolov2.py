"""YOLOv2: anchors clustered from the data, centres held in their cell, a finer map passed through.

Redmon & Farhadi 2017, "YOLO9000: Better, Faster, Stronger" (arXiv:1612.08242), sec. 2. What the paper leaves open is as
in Darknet's region layer: an object's prior is the one of most similar shape; each term is half a squared error, and an
object's confidence weighs five times; the first 12,800 images' pull towards the priors is left out.

`yolov2-darknet19` is yolov2.cfg layer for layer. On our own small backbone cells are half as large (stride 16).

Shapes: N images, S their side, A priors of all cells, K classes, M objects of one image, P positives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.ops import box_iou

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.darknet import LAYOUTS, ConvBlock, body_of
from snellen.models.detection.parts.box_coder import LARGEST_LOG_SCALE
from snellen.models.detection.parts.dense import best_of_levels, suppressed
from snellen.models.detection.parts.matcher import BACKGROUND, IGNORED
from snellen.models.loss import LossTerm

IGNORE_IOU = 0.6
"""A prediction that overlaps some object more than this costs no confidence (thresh of the region layer)."""
OBJECT_SCALE = 5.0
"""Weight of the confidence of responsible priors; object_scale of the cfg."""
PUBLISHED_CELLS = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
"""Priors (width, height) of the published COCO network, in cells of 32 px."""
PUBLISHED_SIZE = 416
"""Input side to which published priors belong, pixels: 13 cells, so that one is in the middle (sec. 2)."""
CANDIDATES = 1000
"""Boxes of one image that suppression looks at."""


@dataclass(frozen=True)
class Cells:
    """Raw output of YOLOv2 and YOLOv3: level by level, finest first; cell by cell in row order; prior by prior."""

    raw: Tensor
    """(N, A, 5 + K): t_x, t_y, t_w, t_h, t_o, then the classes; before any activation."""
    corners: Tensor
    """(A, 2): left and top of the cell, input pixels."""
    strides: Tensor
    """(A, 1): side of the cell, input pixels."""
    priors: Tensor
    """(A, 2): width and height of the prior, input pixels."""
    levels: tuple[tuple[int, int, int], ...]
    """Height, width and priors a cell of each level."""

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Priors of all cells of each level."""
        return tuple(h * w * k for h, w, k in self.levels)

    def boxes(self) -> Tensor:
        """(N, A, 4), xyxy input pixels: b_x = sigmoid(t_x) + c_x, b_w = p_w e^(t_w) (sec. 2, "Direct location")."""
        centre = self.corners + self.raw[..., :2].sigmoid() * self.strides
        half = self.priors * self.raw[..., 2:4].clamp(max=LARGEST_LOG_SCALE).exp() / 2
        return torch.cat([centre - half, centre + half], dim=-1)


def to_cells(maps: Sequence[Tensor], strides: Sequence[int], sides: Sequence[Sequence[Sequence[float]]]) -> Cells:
    """Cells of head maps (N, priors * (5 + K), H, W), finest first, in Darknet's order of channels."""
    raw, corners, pixels, priors, levels = [], [], [], [], []
    for x, stride, level in zip(maps, strides, sides, strict=True):
        n, channels, h, w = x.shape
        k = len(level)
        raw.append(x.view(n, k, channels // k, h, w).permute(0, 3, 4, 1, 2).reshape(n, h * w * k, channels // k))
        y_HW, x_HW = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        corner = torch.stack([x_HW, y_HW], dim=-1).reshape(-1, 1, 2).expand(-1, k, -1).reshape(-1, 2) * float(stride)
        corners.append(corner.to(x.device))
        pixels.append(torch.full((h * w * k, 1), float(stride), device=x.device))
        priors.append(torch.tensor(level, dtype=torch.float32, device=x.device).repeat(h * w, 1))
        levels.append((h, w, k))
    return Cells(torch.cat(raw, 1).float(), torch.cat(corners), torch.cat(pixels), torch.cat(priors), tuple(levels))


def responsible(cells: Cells, target: Target) -> tuple[Tensor, Tensor]:
    """Which of the A priors answers for each object, and the IoU of the two shapes: (M,) int64 and (M,).

    The cell that holds the object's centre, and there, of all levels, the prior of the most similar shape.
    """
    firsts = [sum(cells.level_sizes[:i]) for i in range(len(cells.levels))]
    table = [(first, i, j) for i, first in enumerate(firsts) for j in range(cells.levels[i][2])]  # one row a shape
    device = cells.raw.device
    shape_of = torch.tensor([first + j for first, _, j in table], device=device)
    wh_M2 = target.boxes[:, 2:] - target.boxes[:, :2]
    priors_Q2 = cells.priors[shape_of]
    inter_MQ = torch.minimum(wh_M2[:, None], priors_Q2).prod(-1)
    iou_MQ = inter_MQ / (wh_M2.prod(-1)[:, None] + priors_Q2.prod(-1) - inter_MQ)
    iou_M, best_M = iou_MQ.max(dim=1)
    grid = torch.tensor([[first, *cells.levels[i], j] for first, i, j in table], device=device)[best_M]
    first_M, height_M, width_M, count_M, prior_M = grid.unbind(1)
    centre_M2 = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    column_M, row_M = (centre_M2 / cells.strides[first_M]).long().unbind(1)
    column_M, row_M = column_M.clamp(min=0).minimum(width_M - 1), row_M.clamp(min=0).minimum(height_M - 1)
    return first_M + (row_M * width_M + column_M) * count_M + prior_M, iou_M


@torch.no_grad()
def assign(cells: Cells, targets: Sequence[Target], ignore_iou: float = IGNORE_IOU) -> Assignment:
    """One prior an object; a prediction that overlaps any object more than `ignore_iou` is ignored.

    Of two objects with the same cell and prior the later one has it, and the other has none. `matched_iou` is of the
    shapes alone, as both would share a centre: it says how well the priors fit.
    """
    rows, overlaps, without = [], [], 0
    for boxes_A4, target in zip(cells.boxes(), targets, strict=True):
        rows_A = torch.full((len(boxes_A4),), BACKGROUND, dtype=torch.int64, device=boxes_A4.device)
        if len(target.labels):
            rows_A[box_iou(target.boxes, boxes_A4).amax(dim=0) > ignore_iou] = IGNORED
            slot_M, iou_M = responsible(cells, target)
            # Through a maximum, and not by assignment, whose order of writing is undefined on a GPU.
            rows_A.scatter_reduce_(0, slot_M, torch.arange(len(slot_M), device=slot_M.device), "amax")
            kept = rows_A[rows_A >= 0]
            overlaps.append(iou_M[kept])
            without += len(slot_M) - len(kept)
        rows.append(rows_A)
    return Assignment(
        rows=torch.stack(rows),
        level_sizes=cells.level_sizes,
        matched_iou=torch.cat(overlaps) if overlaps else cells.raw.new_zeros(0),
        objects=sum(len(target.labels) for target in targets),
        objects_without_positive=without,
    )


@dataclass(frozen=True)
class Matched:
    """The responsible priors of a batch, side by side with their objects."""

    raw: Tensor
    """(P, 5 + K)."""
    centres: Tensor
    """(P, 2): where in its cell the object's centre is, 0..1: what sigmoid(t_x), sigmoid(t_y) should be."""
    scales: Tensor
    """(P, 2): ln(object's side / prior's side): what t_w, t_h should be."""
    boxes: Tensor
    """(P, 4), the objects, xyxy input pixels."""
    labels: Tensor
    """(P,), int64."""
    iou: Tensor
    """(P,): of the predicted box with the object; no gradient."""


def matched(cells: Cells, targets: Sequence[Target], rows_NA: Tensor) -> Matched:
    """Take together what the losses of the responsible priors are computed from."""
    positive_NA = rows_NA >= 0
    pairs = [(t.boxes[rows[p]], t.labels[rows[p]]) for t, rows, p in zip(targets, rows_NA, positive_NA, strict=True)]
    boxes_P4, labels_P = torch.cat([b for b, _ in pairs]), torch.cat([k for _, k in pairs])
    at_P = positive_NA.nonzero()[:, 1]
    centre_P2, side_P2 = (boxes_P4[:, :2] + boxes_P4[:, 2:]) / 2, boxes_P4[:, 2:] - boxes_P4[:, :2]
    said_P4 = cells.boxes().detach()[positive_NA]
    return Matched(
        raw=cells.raw[positive_NA],
        centres=((centre_P2 - cells.corners[at_P]) / cells.strides[at_P]).clamp(0, 1),
        scales=(side_P2.clamp(min=1e-3) / cells.priors[at_P]).log(),
        boxes=boxes_P4,
        labels=labels_P,
        iou=_paired_iou(said_P4, boxes_P4),
    )


def _paired_iou(a_P4: Tensor, b_P4: Tensor) -> Tensor:
    side = (torch.minimum(a_P4[:, 2:], b_P4[:, 2:]) - torch.maximum(a_P4[:, :2], b_P4[:, :2])).clamp(min=0)
    areas = (a_P4[:, 2:] - a_P4[:, :2]).prod(1) + (b_P4[:, 2:] - b_P4[:, :2]).prod(1)
    inter = side.prod(1)
    return inter / (areas - inter).clamp(min=1e-9)


def yolov2_loss(outputs: Cells, targets: Sequence[Target], assignment: Assignment | None = None) -> dict[str, LossTerm]:
    """Half squared errors of place, shape and confidence, cross-entropy of classes; each per image of the batch.

    The confidence of a responsible prior is to be its box's IoU with the object, Pr(object) * IoU(b, object).
    """
    rows_NA = (assignment or assign(outputs, targets)).rows
    found = matched(outputs, targets, rows_NA)
    place = (found.raw[:, :2].sigmoid() - found.centres).square() + (found.raw[:, 2:4] - found.scales).square()
    confidence = (found.raw[:, 4].sigmoid() - found.iou).square()
    background = outputs.raw[..., 4][rows_NA == BACKGROUND].sigmoid().square()
    images = outputs.raw.new_tensor(float(len(targets)))
    return {
        "boxes": LossTerm(place.sum() / 2, images),
        "objects": LossTerm(OBJECT_SCALE * confidence.sum() / 2, images),
        "background": LossTerm(background.sum() / 2, images),
        "classes": LossTerm(cross_entropy(found.raw[:, 5:], found.labels, reduction="sum"), images),
    }


def select(
    boxes_NA4: Tensor, scores_NAK: Tensor, image_size: int, min_score: float, nms_iou: float, limit: int
) -> list[Found]:
    """Boxes with a class of at least `min_score`, clipped, suppressed within each class; best first."""
    found = []
    for boxes_A4, scores_AK in zip(boxes_NA4, scores_NAK, strict=True):
        scores, rows, labels = best_of_levels(scores_AK, (len(scores_AK),), min_score, CANDIDATES)
        found.append(suppressed(boxes_A4[rows], scores, labels, image_size, nms_iou, limit))
    return found


def reorg(x: Tensor, stride: int = 2) -> Tensor:
    """Darknet's `[reorg]`: (N, C, H, W) -> (N, C * stride^2, H / stride, W / stride), in its own odd order.

    It reads the map as (C / stride^2, H * stride, W * stride), takes that apart, and reads the result as the output:
    not a pixel unshuffle, but what the published weights were trained with. C is a multiple of stride^2.
    """
    n, c, h, w = x.shape
    apart = x.reshape(n, c // stride**2, h, stride, w, stride).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, c * stride**2, h // stride, w // stride)


class YoloV2(Detector):
    """Backbone, two convolutions, the finer map passed through, one more convolution, 1x1 outputs."""

    def __init__(
        self, num_classes: int, image_size: int, body: Any, sides: Sequence[Sequence[float]], width: int
    ) -> None:
        super().__init__()
        self.num_classes, self.image_size = num_classes, image_size
        self.anchor_sides = [[[float(w), float(h)] for w, h in sides]]  # one level
        self.backbone = body
        self.stride: int = body.strides[1]
        fine, coarse = body.channels
        self.deep = nn.Sequential(ConvBlock(coarse, width, 3), ConvBlock(width, width, 3))
        passed = max(16, width // 16)
        self.passed = ConvBlock(fine, passed, 1)
        self.merge = ConvBlock(passed * 4 + width, width, 3)
        self.out = output(width, len(sides), num_classes)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> Cells:
        """x_NCHW, a multiple of the stride wide and high -> raw cells."""
        fine, coarse = self.backbone(x)
        merged = self.merge(torch.cat([reorg(self.passed(fine)), self.deep(coarse)], dim=1))
        return to_cells([self.out(merged)], [self.stride], self.anchor_sides)

    def assign(self, outputs: Cells, targets: Sequence[Target]) -> Assignment:
        """See the function beside."""
        return assign(outputs, targets)

    def loss(
        self, outputs: Cells, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `yolov2_loss`."""
        return yolov2_loss(outputs, targets, assignment)

    def decoded(self, outputs: Cells) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), Pr(class | object) * confidence; softmax classes."""
        return outputs.boxes(), outputs.raw[..., 5:].softmax(-1) * outputs.raw[..., 4:5].sigmoid()

    @torch.no_grad()
    def detect(self, outputs: Cells, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100) -> list[Found]:
        """Detections of each image, best first."""
        return select(*self.decoded(outputs), self.image_size, min_score, nms_iou, limit)

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """The one map that feeds the head, and its priors."""
        return [("merge", [side for wh in self.anchor_sides[0] for side in wh])]


def output(inputs: int, priors: int, num_classes: int, class_bias: float = 0.0) -> nn.Conv2d:
    """The 1x1 convolution of t_x, t_y, t_w, t_h, t_o and classes for each prior.

    Its confidence starts at 1 % (Lin 2017, arXiv:1708.02002, sec. 4.1), so that background does not drown the start.
    """
    layer = nn.Conv2d(inputs, priors * (5 + num_classes), 1)
    nn.init.normal_(layer.weight, std=0.01)
    start = torch.tensor([0.0] * 4 + [-math.log(99)] + [class_bias] * num_classes)
    layer.bias = nn.Parameter(start.repeat(priors))
    return layer


def fitting(
    anchors: Sequence[Sequence[Sequence[float]]] | None, published: Sequence[Sequence[float]], scale: float
) -> list[list[float]]:
    """All given (width, height), whatever level they were fitted to, or the published times `scale`; smallest first."""
    given = [list(map(float, wh)) for level in anchors or () for wh in level]
    return sorted(given or [[w * scale, h * scale] for w, h in published], key=lambda wh: wh[0] * wh[1])


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> YoloV2:
    """YOLOv2 on a backbone of `darknet.LAYOUTS`, timm or torchvision; None: a small network with cells of 16 px.

    Published priors keep their size on a Darknet backbone, so that its weights fit, and follow the input elsewhere.
    """
    scale = 1.0 if backbone in LAYOUTS else image_size / PUBLISHED_SIZE
    sides = fitting(anchors, [(32 * w, 32 * h) for w, h in PUBLISHED_CELLS], scale)
    strides = (8, 16) if backbone is None else (16, 32)
    return YoloV2(
        num_classes, image_size, body_of(backbone, strides, pretrained), sides, 128 if backbone is None else 1024
    )
