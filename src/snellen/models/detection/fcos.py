"""FCOS: every point within an object says how far its four sides are; no anchors.

Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv:1904.01355): sec. 3.1 and eq. 1 for the
distances, sec. 3.2 for the levels, sec. 3.3 and eq. 3 for centre-ness; and its extension (Tian 2020, arXiv:2006.09214):
points near the centre only, distances in strides, group norms, the centre-ness beside the distances, a score that is
the geometric mean.

`build` stands on any backbone, with levels of stride 8, 16 and 32; `build_resnet50_fpn` is the network torchvision
published weights of, with levels of stride 8 to 128.

Shapes: N images, C channels, H W input pixels, A points of all levels, K classes, P positive points, M objects.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, relu
from torchvision.ops import box_iou

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.parts.anchors import grid_anchors
from snellen.models.detection.parts.dense import DenseOutputs, best_of_levels, by_anchor, positives, suppressed
from snellen.models.detection.parts.losses import giou_loss, sigmoid_focal
from snellen.models.detection.parts.matcher import BACKGROUND
from snellen.models.detection.parts.pyramid import PyramidMaps
from snellen.models.detection.published import load_published
from snellen.models.detection.retinanet import PRIOR, STRIDES, resnet50_pyramid
from snellen.models.features import features
from snellen.models.loss import LossTerm

RADIUS = 1.5
"""Points answer for an object up to so many strides from its centre, across and down (Tian 2020, sec. 2.1)."""
REACH = (4.0, 8.0)
"""A level answers for objects whose farthest side is between so many strides away (sec. 3.2: 64 to 128 px at stride
16); the finest also for smaller, the coarsest also for larger ones."""
CANDIDATES = 1000
"""Of one level and image that are decoded at most."""


@dataclass(frozen=True)
class FcosOutputs(DenseOutputs):
    """Raw output of a batch. An anchor is a point: the square of one stride about it; offsets are the distances to
    left, top, right and bottom in strides, not negative."""

    centreness: Tensor
    """(N, A), before the sigmoid."""


class Branch(nn.Module):
    """`depth` 3x3 convolutions with group norms, the same on every level (fig. 2); torchvision's names."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(width // 8, width), nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)

    def start(self) -> None:
        """Small weights, no biases (as RetinaNet, sec. 4)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class ClassBranch(Branch):
    """Class scores."""

    def __init__(self, width: int, depth: int, num_scores: int) -> None:
        super().__init__(width, depth)
        self.cls_logits = nn.Conv2d(width, num_scores, 3, padding=1)
        self.start()
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        self.num_scores = num_scores

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the levels -> [(N, points of the level, scores)]."""
        return [by_anchor(self.cls_logits(self.conv(x)), self.num_scores) for x in maps]


class BoxBranch(Branch):
    """Distances and centre-ness."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__(width, depth)
        self.bbox_reg = nn.Conv2d(width, 4, 3, padding=1)
        self.bbox_ctrness = nn.Conv2d(width, 1, 3, padding=1)
        self.start()

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the levels -> [(N, points of the level, 4)] and [(N, points of the level)]."""
        common = [self.conv(x) for x in maps]
        distances = [by_anchor(relu(self.bbox_reg(x)), 4) for x in common]
        return distances, [by_anchor(self.bbox_ctrness(x), 1).squeeze(2) for x in common]


class FcosHead(nn.Module):
    """Both branches."""

    def __init__(self, width: int, depth: int, num_scores: int) -> None:
        super().__init__()
        self.classification_head = ClassBranch(width, depth, num_scores)
        self.regression_head = BoxBranch(width, depth)


class Fcos(Detector):
    """A pyramid of maps and the head over them.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: x_NCHW -> maps of the same width, finest first.
        head: Over them.
        strides: Pixels per cell.
        published: Points lie as in torchvision's networks, at the corners of cells that fill the image, instead of in
            the middles of cells of the stride; and a score before the first class is kept for the background.
        names: Per level the module that gives its map.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int,
        backbone: nn.Module,
        head: FcosHead,
        strides: Sequence[int],
        published: bool,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.strides = list(strides)
        self.published = published
        self.idle = int(published)
        self.names = list(names)
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> FcosOutputs:
        """x_NCHW, normalised -> raw scores (N, A, idle + K), distances and centre-ness of every point."""
        maps = self.backbone(x)
        logits = self.head.classification_head(maps)
        distances, centreness = self.head.regression_head(maps)
        shapes = [(m.shape[2], m.shape[3]) for m in maps]
        steps: list[Any] = [(x.shape[2] // h, x.shape[3] // w) for h, w in shapes] if self.published else self.strides
        sides = [torch.tensor([[float(s), float(s)]], device=x.device) for s in self.strides]
        points = grid_anchors(shapes, steps, sides, offset=0.0 if self.published else 0.5)
        return FcosOutputs(
            torch.cat(logits, 1).float(),
            torch.cat(distances, 1).float(),
            points,
            tuple(part.shape[1] for part in logits),
            torch.cat(centreness, 1).float(),
        )

    def assign(self, outputs: FcosOutputs, targets: Sequence[Target]) -> Assignment:
        """As `assign`."""
        return assign(outputs, targets)

    def loss(
        self, outputs: FcosOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """As `fcos_loss`."""
        return fcos_loss(outputs, targets, assignment or assign(outputs, targets), self.idle)

    @torch.no_grad()
    def detect(
        self, outputs: FcosOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Scores sqrt(class x centre-ness) of at least `min_score`, suppressed within each class, at most `limit`."""
        found = []
        for i, logits_AK in enumerate(outputs.logits[..., self.idle :]):
            scores_AK = (logits_AK.sigmoid() * outputs.centreness[i, :, None].sigmoid()).sqrt()
            scores, rows, labels = best_of_levels(scores_AK, outputs.level_sizes, min_score, CANDIDATES)
            boxes = boxes_of(outputs.offsets[i, rows], outputs.anchors[rows])
            found.append(suppressed(boxes, scores, labels, self.image_size, nms_iou, limit))
        return found

    def decoded(self, outputs: FcosOutputs) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), before suppression."""
        scores = outputs.logits[..., self.idle :].sigmoid() * outputs.centreness[..., None].sigmoid()
        return boxes_of(outputs.offsets, outputs.anchors), scores.sqrt()

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the head, no anchor sides), finest first."""
        return [(name, []) for name in self.names]


def boxes_of(distances: Tensor, points_xyxy: Tensor) -> Tensor:
    """Boxes (..., 4) xyxy from distances (..., 4) in strides, the inverse of eq. 1."""
    centre = 0.5 * (points_xyxy[..., :2] + points_xyxy[..., 2:])
    stride = points_xyxy[..., 2:] - points_xyxy[..., :2]
    return torch.cat([centre - distances[..., :2] * stride, centre + distances[..., 2:] * stride], dim=-1)


@torch.no_grad()
def assign(outputs: FcosOutputs, targets: Sequence[Target]) -> Assignment:
    """Points near an object's centre, on the level of its size, answer for it; of several objects the smallest.

    A point has no box of its own, so the IoU handed out is that of the box it predicts.
    """
    matched, overlaps, without = [], [], 0
    for image, target in enumerate(targets):
        rows_A = _rows(outputs.anchors, outputs.level_sizes, target.boxes)
        positive = (rows_A >= 0).nonzero().squeeze(1)
        predicted = boxes_of(outputs.offsets[image, positive], outputs.anchors[positive])
        overlaps.append(box_iou(predicted, target.boxes).gather(1, rows_A[positive, None]).squeeze(1))
        without += len(target.labels) - len(rows_A[positive].unique())
        matched.append(rows_A)
    return Assignment(
        rows=torch.stack(matched),
        level_sizes=outputs.level_sizes,
        matched_iou=torch.cat(overlaps),
        objects=sum(len(target.labels) for target in targets),
        objects_without_positive=without,
    )


def _rows(points_xyxy: Tensor, level_sizes: Sequence[int], boxes_xyxy: Tensor) -> Tensor:
    """(A,) int64: row of the object, or BACKGROUND."""
    if not len(boxes_xyxy):
        return torch.full((len(points_xyxy),), BACKGROUND, dtype=torch.int64, device=points_xyxy.device)
    centre_A1, stride_A1 = (points_xyxy[:, :2] + points_xyxy[:, 2:])[:, None] / 2, points_xyxy[:, None, 2]
    stride_A1 = stride_A1 - points_xyxy[:, None, 0]
    distance_AM4 = torch.cat([centre_A1 - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - centre_A1], dim=-1)
    middle_M2 = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    near_AM = (centre_A1 - middle_M2).abs().amax(dim=-1) < RADIUS * stride_A1
    farthest_AM = distance_AM4.amax(dim=-1)
    least_A1, most_A1 = REACH[0] * stride_A1, REACH[1] * stride_A1
    least_A1[: level_sizes[0]] = 0.0
    most_A1[-level_sizes[-1] :] = torch.inf
    fits_AM = near_AM & (distance_AM4.amin(dim=-1) > 0) & (farthest_AM > least_A1) & (farthest_AM < most_A1)
    area_M = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1)
    smallest_A, rows_A = torch.where(fits_AM, area_M, torch.inf).min(dim=1)
    return rows_A.masked_fill(smallest_A == torch.inf, BACKGROUND)


def fcos_loss(
    outputs: FcosOutputs, targets: Sequence[Target], assignment: Assignment, idle: int = 0
) -> dict[str, LossTerm]:
    """Focal loss of all points, GIoU loss and the centre-ness of the positives (eq. 2 and 3), per positive point.

    `idle`: columns of the scores before the first class.
    """
    found = positives(assignment.rows, targets)
    wanted_NAK = torch.zeros_like(outputs.logits)
    wanted_NAK[found.images, found.anchors, found.labels + idle] = 1.0
    focal = sigmoid_focal(outputs.logits, wanted_NAK).sum()
    points = outputs.anchors[found.anchors]
    predicted_P4 = boxes_of(outputs.offsets[found.images, found.anchors], points)
    centre = (points[:, :2] + points[:, 2:]) / 2
    before, after = centre - found.boxes[:, :2], found.boxes[:, 2:] - centre
    wanted_P = (torch.minimum(before, after) / torch.maximum(before, after)).prod(dim=1).sqrt()
    said_P = outputs.centreness[found.images, found.anchors]
    matched = focal.new_tensor(float(len(found.labels)))
    return {
        "classes": LossTerm(focal, matched),
        "boxes": LossTerm(giou_loss(predicted_P4, found.boxes).sum(), matched),
        "centreness": LossTerm(binary_cross_entropy_with_logits(said_P, wanted_P, reduction="sum"), matched),
    }


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: object = None,
) -> Fcos:
    """FCOS on any backbone, levels of stride 8, 16 and 32; it has no use for anchors.

    The small network of our own has a head 64 channels wide and two convolutions deep, any other one the paper's 256
    and four. Raises ValueError for an unknown backbone, or one without maps of those strides.
    """
    body = features(backbone, STRIDES, pretrained)
    width, depth = (64, 2) if backbone is None else (256, 4)
    head = FcosHead(width, depth, num_classes)
    # About the middle of what the finest level answers for; at 0 the ReLU would shut half of the points up.
    nn.init.constant_(head.regression_head.bbox_reg.bias, 2.0)  # type: ignore[arg-type]
    return Fcos(
        num_classes,
        image_size=image_size,
        backbone=PyramidMaps(body, body.channels, width, range(3)),
        head=head,
        strides=STRIDES,
        published=False,
        names=[f"backbone.neck.smooth.{i}" for i in range(3)],
    )


def build_resnet50_fpn(
    num_classes: int, *, image_size: int, backbone: None = None, pretrained: bool = False, anchors: object = None
) -> Fcos:
    """torchvision's `fcos_resnet50_fpn`.

    `pretrained` loads its COCO weights; 90 classes fit its scores, with another number they start anew. The norms are
    ordinary ones and no layer is frozen: that is the recipe's to say.
    """
    pyramid = resnet50_pyramid()
    model = Fcos(
        num_classes,
        image_size=image_size,
        backbone=pyramid,
        head=FcosHead(256, 4, num_classes + 1),
        strides=pyramid.strides,
        published=True,
        names=[f"backbone.{name}" for name in pyramid.level_names()],
    )
    if pretrained:
        load_published(model, "fcos_resnet50_fpn", ["head.classification_head.cls_logits"])
    return model
