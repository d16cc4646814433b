"""SSDLite: a one-stage detector light enough to train from scratch on a processor.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325): anchors on several maps, one pass.
Sandler et al. 2018, "MobileNetV2" (arXiv:1801.04381), sec. 6.2: separable convolutions in the head ("SSDLite").
Lin et al. 2017, "Feature Pyramid Networks" (arXiv:1612.03144), fig. 3: the top-down way (here 64 channels wide).
Lin et al. 2017, "Focal Loss" (arXiv:1708.02002), eq. 5 for classes and sec. 4.1 for the starting bias.
Rezatofighi et al. 2019, "GIoU" (arXiv:1902.09630), algorithm 1 for boxes.

Shapes: N images, C channels, H W input pixels, A anchors of all levels, K classes, M objects of one image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from snellen.models.backbones import SmallResNet, conv_norm
from snellen.models.detection.parts.anchors import general_sides, grid_anchors
from snellen.models.detection.parts.box_coder import decode
from snellen.models.detection.parts.losses import giou_loss, sigmoid_focal
from snellen.models.detection.parts.matcher import BACKGROUND, match
from snellen.models.loss import LossTerm

PRIOR = 0.01
"""Each class starts with this probability everywhere (Lin 2017, sec. 4.1), so background does not drown the start."""
MATCH_HIGH = 0.5
MATCH_LOW = 0.4
"""IoU from which an anchor is an object, below which it is background (Lin 2017, sec. 4)."""
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Detections:
    """Raw output of a batch."""

    logits: Tensor
    """(N, A, K), before the sigmoid."""
    offsets: Tensor
    """(N, A, 4), as `box_coder` has them."""
    anchors: Tensor
    """(A, 4), xyxy input pixels."""
    level_sizes: tuple[int, ...]
    """Anchors of each level, finest first; they add up to A."""


@dataclass(frozen=True)
class Target:
    """The objects of one image; M may be 0."""

    boxes: Tensor
    """(M, 4), xyxy input pixels."""
    labels: Tensor
    """(M,), int64 in 0..K-1."""


@dataclass(frozen=True)
class Assignment:
    """Which anchor answers for which object of its image, and how well they fit."""

    rows: Tensor
    """(N, A): row of the object, -1 background, -2 ignored; int64."""
    level_sizes: tuple[int, ...]
    matched_iou: Tensor
    """IoU of each positive anchor with its object, image by image."""
    objects: int
    objects_without_positive: int

    @property
    def positives(self) -> int:
        """Positive anchors of all levels."""
        return len(self.matched_iou)

    @property
    def positives_per_level(self) -> list[int]:
        """Positive anchors, finest level first."""
        return [int((part >= 0).sum()) for part in self.rows.split(list(self.level_sizes), dim=1)]


class SeparableHead(nn.Module):
    """Depthwise 3x3, norm, ReLU, pointwise 1x1 (Sandler 2018, sec. 6.2)."""

    def __init__(self, width: int, outputs: int, bias: float = 0.0) -> None:
        super().__init__()
        self.depthwise = conv_norm(width, width, 3, groups=width)
        self.act = nn.ReLU(inplace=True)
        self.pointwise = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.pointwise.weight, std=0.01)
        nn.init.constant_(self.pointwise.bias, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> (N, outputs, H, W)."""
        out: Tensor = self.pointwise(self.act(self.depthwise(x)))
        return out


class TopDown(nn.Module):
    """Lateral 1x1, coarse maps upsampled and added to finer ones, a 3x3 on each wanted level (FPN, fig. 3)."""

    def __init__(self, channels: Sequence[int], width: int, wanted: Sequence[int]) -> None:
        super().__init__()
        # A level finer than all wanted ones has no part in the result, and no layer here.
        self.finest = min(wanted)
        self.lateral = nn.ModuleDict(
            {str(i): conv_norm(channels[i], width, 1) for i in range(self.finest, len(channels))}
        )
        self.smooth = nn.ModuleDict(
            {str(i): nn.Sequential(conv_norm(width, width, 3), nn.ReLU(inplace=True)) for i in wanted}
        )

    def forward(self, features: Sequence[Tensor]) -> dict[int, Tensor]:
        """Maps of all levels, finest first -> level: map of `width` channels, for the wanted levels."""
        maps: dict[int, Tensor] = {}
        coarser: Tensor | None = None
        for i in range(len(features) - 1, self.finest - 1, -1):
            merged = self.lateral[str(i)](features[i])
            if coarser is not None:
                merged = merged + interpolate(coarser, size=merged.shape[-2:], mode="nearest")
            coarser = merged
            if str(i) in self.smooth:
                maps[i] = self.smooth[str(i)](merged)
        return maps


class SsdLite(nn.Module):
    """Backbone, top-down way, and a head of classes and of offsets on each level that has anchors."""

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int,
        backbone: str | None = None,
        pretrained: bool = False,
        anchors: Sequence[Sequence[Sequence[float]]] | None = None,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.task = "detection"
        self.num_classes = num_classes
        self.image_size = image_size
        if backbone is None:
            own = SmallResNet()
            self.backbone: Any = own
            self.taken = [own.strides.index(s) for s in STRIDES]
            channels = [own.channels[i] for i in self.taken]
        else:
            net: Any = timm.create_model(backbone, pretrained=pretrained, features_only=True)
            self.backbone = net
            reductions = list(net.feature_info.reduction())
            missing = [s for s in STRIDES if s not in reductions]
            if missing:
                raise ValueError(f"backbone {backbone} has maps at strides {reductions}, needed are {list(STRIDES)}")
            # The last map of a stride is the deepest one.
            self.taken = [len(reductions) - 1 - reductions[::-1].index(s) for s in STRIDES]
            channels = [net.feature_info.channels()[i] for i in self.taken]
        self.anchor_sides = [
            [list(map(float, wh)) for wh in level] for level in anchors or general_sides(image_size, STRIDES)
        ]
        self.levels = [i for i, sides in enumerate(self.anchor_sides) if sides]
        self.neck = TopDown(channels, width, self.levels)
        prior_bias = -math.log((1 - PRIOR) / PRIOR)
        self.class_heads = nn.ModuleList(
            SeparableHead(width, len(self.anchor_sides[i]) * num_classes, prior_bias) for i in self.levels
        )
        self.box_heads = nn.ModuleList(SeparableHead(width, len(self.anchor_sides[i]) * 4) for i in self.levels)

    def forward(self, x: Tensor) -> Detections:
        """x_NCHW, normalised -> raw scores and offsets of every anchor."""
        features = self.backbone(x)
        maps = self.neck([features[i] for i in self.taken])
        logits, offsets, shapes = [], [], []
        for head, level in enumerate(self.levels):
            feature = maps[level]
            shapes.append((feature.shape[2], feature.shape[3]))
            logits.append(_by_anchor(self.class_heads[head](feature), self.num_classes))
            offsets.append(_by_anchor(self.box_heads[head](feature), 4))
        sides = [torch.tensor(self.anchor_sides[i], device=x.device) for i in self.levels]
        anchors = grid_anchors(shapes, [STRIDES[i] for i in self.levels], sides)
        sizes = tuple(part.shape[1] for part in logits)
        return Detections(torch.cat(logits, 1).float(), torch.cat(offsets, 1).float(), anchors, sizes)

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the head, anchor sides w1, h1, w2, h2 ... in input pixels), finest first."""
        return [(f"neck.smooth.{i}", [side for wh in self.anchor_sides[i] for side in wh]) for i in self.levels]


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> "SsdLite":
    """The detector as the registry asks for it."""
    return SsdLite(num_classes, image_size=image_size, backbone=backbone, pretrained=pretrained, anchors=anchors)


def _by_anchor(x: Tensor, values: int) -> Tensor:
    """(N, anchors * values, H, W) -> (N, H * W * anchors, values), the order of `grid_anchors`."""
    n, _, h, w = x.shape
    return x.view(n, -1, values, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, values)


def assign(outputs: Detections, targets: Sequence[Target]) -> Assignment:
    """Match every image's anchors with its objects (SSD sec. 2.2, thresholds of RetinaNet sec. 4)."""
    matched, overlaps, without = [], [], 0
    for target in targets:
        iou_MA = box_iou(target.boxes, outputs.anchors)
        rows_A = match(iou_MA, MATCH_HIGH, MATCH_LOW)
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


def detection_loss(
    outputs: Detections, targets: Sequence[Target], assignment: Assignment | None = None
) -> dict[str, LossTerm]:
    """Focal loss over all anchors that are not ignored, GIoU loss over the positives.

    Background is counted per positive anchor, as in RetinaNet (Lin 2017, sec. 4.1). An object's positives share one
    vote: a large object has dozens of them and a small one a single one, and counted alike the small would never be
    learned.
    """
    assignment = assignment or assign(outputs, targets)
    rows_NA = assignment.rows
    positive_NA = rows_NA >= 0
    wanted_NAK = torch.zeros_like(outputs.logits)
    boxes, votes = [], []
    for i, target in enumerate(targets):
        chosen = rows_NA[i][positive_NA[i]]
        wanted_NAK[i, positive_NA[i].nonzero().squeeze(1), target.labels[chosen]] = 1.0
        boxes.append(target.boxes[chosen])
        votes.append(1.0 / chosen.bincount(minlength=1).float()[chosen])
    vote_P = torch.cat(votes)
    objects = vote_P.sum()
    focal_NA = sigmoid_focal(outputs.logits, wanted_NAK).sum(-1)
    anchors_NA4 = outputs.anchors.expand(len(targets), -1, -1)
    predicted_P4 = decode(outputs.offsets[positive_NA], anchors_NA4[positive_NA])
    return {
        "background": LossTerm(focal_NA[rows_NA == BACKGROUND].sum(), positive_NA.sum().to(torch.float32)),
        "classes": LossTerm((focal_NA[positive_NA] * vote_P).sum(), objects),
        "boxes": LossTerm((giou_loss(predicted_P4, torch.cat(boxes)) * vote_P).sum(), objects),
    }


@torch.no_grad()
def detect(
    outputs: Detections, image_size: int, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes, scores and labels of each image, best first: (D, 4) xyxy input pixels, (D,) 0..1, (D,) int64.

    Non-maximum suppression within each class; at most `limit` boxes an image, the number COCO scores.
    """
    found = []
    boxes_NA4 = decode(outputs.offsets, outputs.anchors)
    for boxes_A4, logits_AK in zip(boxes_NA4, outputs.logits, strict=True):
        scores_AK = logits_AK.sigmoid()
        rows, labels = (scores_AK >= min_score).nonzero(as_tuple=True)
        scores = scores_AK[rows, labels]
        if len(scores) > 1000:  # the suppression is quadratic; RetinaNet too keeps 1000 (Lin 2017, sec. 4)
            scores, best = scores.topk(1000)
            rows, labels = rows[best], labels[best]
        boxes = clip_boxes_to_image(boxes_A4[rows], (image_size, image_size))
        keep = batched_nms(boxes, scores, labels, nms_iou)[:limit]
        found.append((boxes[keep], scores[keep], labels[keep]))
    return found
