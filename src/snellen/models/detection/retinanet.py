"""RetinaNet: one head over all levels of a feature pyramid, and a loss that does not count what is easy.

Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv:1708.02002): sec. 4 and fig. 3 for the layers, sec. 4.1
for thresholds, starting bias and decoding, eq. 5 for the loss. Boxes by the absolute difference of their offsets, as
torchvision has it (the paper: smooth L1).

`build` stands on any backbone, with norms in the head and levels of stride 8, 16 and 32; `build_resnet50_fpn` is the
network torchvision published weights of, with levels of stride 8 to 128.

Shapes: N images, C channels, H W input pixels, A anchors of all levels, K classes, P positive anchors.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.fpn import PyramidBackbone, accept_old_names, resnet50_stages
from snellen.models.detection.parts.anchors import grid_anchors, shaped_sides, size_iou
from snellen.models.detection.parts.box_coder import decode, encode
from snellen.models.detection.parts.dense import (
    DenseOutputs,
    assign_by_iou,
    best_of_levels,
    by_anchor,
    positives,
    suppressed,
)
from snellen.models.detection.parts.losses import sigmoid_focal
from snellen.models.detection.parts.matcher import IGNORED, match
from snellen.models.detection.parts.pyramid import PyramidMaps
from snellen.models.detection.published import load_published
from snellen.models.features import features
from snellen.models.loss import LossTerm

PRIOR = 0.01
"""Each class starts with this probability everywhere (sec. 4.1), so background does not drown the start."""
MATCH_HIGH = 0.5
MATCH_LOW = 0.4
"""IoU from which an anchor is an object, below which it is background (sec. 4)."""
CANDIDATES = 1000
"""Of one level and image that are decoded at most (sec. 4.1)."""
RATIOS = (0.5, 1.0, 2.0)
STRIDES = (8, 16, 32)
SAME_SHAPE = 0.8
"""IoU above which two fitted shapes are one: each costs a score of every class in every cell."""


class Subnet(nn.Module):
    """`depth` 3x3 convolutions and one that predicts, the same on every level (sec. 4, "Classification subnet").

    The names of the parameters are torchvision's; the last layer is called `last`.
    """

    def __init__(
        self, width: int, depth: int, outputs: int, values: int, last: str, *, norm: bool, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.values = values
        layers = []
        for _ in range(depth):
            norms: list[nn.Module] = [nn.GroupNorm(width // 8, width)] if norm else []
            layers.append(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), *norms, nn.ReLU(inplace=True)))
        self.conv = nn.Sequential(*layers)
        self.last = last
        self.add_module(last, nn.Conv2d(width, outputs, 3, padding=1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.get_submodule(last).bias, bias)  # type: ignore[arg-type]
        # The weights published first count convolutions and ReLUs alike.
        accept_old_names(self, {f"conv.{2 * i}": f"conv.{i}.0" for i in range(depth)})

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the levels -> [(N, anchors of the level, values)]."""
        last = self.get_submodule(self.last)
        return [by_anchor(last(self.conv(x)), self.values) for x in maps]


class RetinaHead(nn.Module):
    """Class scores and offsets, by subnets that share no weight (sec. 4, "Box regression subnet")."""

    def __init__(self, width: int, depth: int, anchors: int, num_scores: int, *, norm: bool) -> None:
        super().__init__()
        bias = -math.log((1 - PRIOR) / PRIOR)
        subnet = partial(Subnet, width, depth, norm=norm)
        self.classification_head = subnet(anchors * num_scores, num_scores, "cls_logits", bias=bias)
        self.regression_head = subnet(anchors * 4, 4, "bbox_reg")

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the levels -> scores and offsets of each level."""
        return self.classification_head(maps), self.regression_head(maps)


class RetinaNet(Detector):
    """A pyramid of maps and the head over them.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: x_NCHW -> maps of the same width, finest first.
        head: Over them.
        sides: Per level (width, height) of its anchors in input pixels, as many on each.
        strides: Pixels per cell; None: as torchvision counts, the image's side over the map's, anchors at the corners
            of the cells.
        idle: Scores before the first class: torchvision's published networks keep one for the background, though the
            sigmoid needs none.
        names: Per level the module that gives its map.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int,
        backbone: nn.Module,
        head: nn.Module,
        sides: Sequence[Sequence[Sequence[float]]],
        strides: Sequence[int] | None,
        idle: int,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.sides = [[list(map(float, wh)) for wh in level] for level in sides]
        self.strides = strides
        self.idle = idle
        self.names = list(names)
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> DenseOutputs:
        """x_NCHW, normalised -> raw scores (N, A, idle + K) and offsets of every anchor."""
        maps = self.backbone(x)
        logits, offsets = self.head(maps)
        shapes = [(m.shape[2], m.shape[3]) for m in maps]
        strides: Sequence[Any] = self.strides or [(x.shape[2] // h, x.shape[3] // w) for h, w in shapes]
        sides = [torch.tensor(level, device=x.device) for level in self.sides]
        anchors = grid_anchors(shapes, strides, sides, offset=0.5 if self.strides else 0.0)
        sizes = tuple(part.shape[1] for part in logits)
        return DenseOutputs(torch.cat(logits, 1).float(), torch.cat(offsets, 1).float(), anchors, sizes)

    def assign(self, outputs: DenseOutputs, targets: Sequence[Target]) -> Assignment:
        """IoU of 0.5 and more is an object, below 0.4 background, and each object has its best anchors (sec. 4)."""
        return assign_by_iou(outputs, targets, partial(match, high=MATCH_HIGH, low=MATCH_LOW))

    def loss(
        self, outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """As `retinanet_loss`."""
        return retinanet_loss(outputs, targets, assignment or self.assign(outputs, targets), self.idle)

    @torch.no_grad()
    def detect(
        self, outputs: DenseOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Scores of at least `min_score`, suppressed within each class, at most `limit`."""
        found = []
        for offsets_A4, logits_AK in zip(outputs.offsets, outputs.logits[..., self.idle :], strict=True):
            scores, rows, labels = best_of_levels(logits_AK.sigmoid(), outputs.level_sizes, min_score, CANDIDATES)
            boxes = decode(offsets_A4[rows], outputs.anchors[rows])
            found.append(suppressed(boxes, scores, labels, self.image_size, nms_iou, limit))
        return found

    def decoded(self, outputs: DenseOutputs) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), before suppression."""
        return decode(outputs.offsets, outputs.anchors), outputs.logits[..., self.idle :].sigmoid()

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the head, anchor sides w1, h1, w2, h2 ... in input pixels), finest first."""
        return [(name, [v for wh in level for v in wh]) for name, level in zip(self.names, self.sides, strict=True)]


def retinanet_loss(
    outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment, idle: int = 0
) -> dict[str, LossTerm]:
    """Focal loss of every anchor that is not ignored (eq. 5), absolute difference of the positives' offsets.

    Each image's loss is divided by its own number of positive anchors (sec. 4.1), and then the mean of the images
    is taken. `idle`: columns of the scores before the first class.
    """
    rows_NA = assignment.rows
    found = positives(rows_NA, targets)
    wanted_NAK = torch.zeros_like(outputs.logits)
    wanted_NAK[found.images, found.anchors, found.labels + idle] = 1.0
    focal_NA = sigmoid_focal(outputs.logits, wanted_NAK).sum(-1).masked_fill(rows_NA == IGNORED, 0.0)
    apart_P4 = (
        outputs.offsets[found.images, found.anchors] - encode(found.boxes, outputs.anchors[found.anchors])
    ).abs()
    matched_N = (rows_NA >= 0).sum(1).clamp(min=1)
    images = focal_NA.new_tensor(float(len(rows_NA)))
    return {
        "classes": LossTerm((focal_NA.sum(1) / matched_N).sum(), images),
        "boxes": LossTerm((apart_P4.sum(1) / matched_N[found.images]).sum(), images),
    }


def shapes_in_cells(anchors: Sequence[Sequence[Sequence[float]]], strides: Sequence[int]) -> list[list[float]]:
    """(width, height) in cells of the anchors of all levels, without those that are almost another one again.

    The head is the same on every level, so every level has the same shapes in its own cells.
    """
    shapes: list[list[float]] = []
    for level, stride in zip(anchors, strides, strict=False):
        for w, h in level:
            own = np.array([[w / stride, h / stride]])
            if not shapes or size_iou(own, np.array(shapes)).max() <= SAME_SHAPE:
                shapes.append(own[0].tolist())
    return shapes


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> RetinaNet:
    """RetinaNet on any backbone, levels of stride 8, 16 and 32.

    The small network of our own has a head 64 channels wide and two convolutions deep, any other one the paper's 256
    and four.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: A timm or torchvision classifier; None: the small network of our own.
        pretrained: Published weights of the backbone.
        anchors: Per stride of 8, 16, 32 px the anchors' (width, height) in input pixels, as fitted to the data; a
            level with none is left out. None: the paper's nine.

    Raises:
        ValueError: Unknown backbone, or one without maps of those strides.
    """
    wanted = [i for i, level in enumerate(anchors or [[0]] * 3) if level]
    body = features(backbone, STRIDES, pretrained)
    width, depth = (64, 2) if backbone is None else (256, 4)
    if anchors is None:
        cells = shaped_sides([4.0 * 64 * 2 ** (i / 3) for i in range(3)], RATIOS)
        cells = [[w / 64, h / 64] for w, h in cells]
    else:
        cells = shapes_in_cells(anchors, STRIDES)
    model = RetinaNet(
        num_classes,
        image_size=image_size,
        backbone=PyramidMaps(body, body.channels, width, wanted),
        head=RetinaHead(width, depth, len(cells), num_classes, norm=True),
        sides=[[[w * STRIDES[i], h * STRIDES[i]] for w, h in cells] for i in wanted],
        strides=[STRIDES[i] for i in wanted],
        idle=0,
        names=[f"backbone.neck.smooth.{i}" for i in wanted],
    )
    if anchors is not None:
        model.anchor_sides = [[list(map(float, wh)) for wh in level] for level in anchors]  # type: ignore[assignment]
    return model


def resnet50_pyramid() -> PyramidBackbone:
    """ResNet-50 and its pyramid with levels of stride 8 to 128 (sec. 4, "Feature Pyramid Network Backbone")."""
    return PyramidBackbone(*resnet50_stages(nn.BatchNorm2d, (2, 3, 4)), width=256, extra="p6p7")


def build_resnet50_fpn(
    num_classes: int, *, image_size: int, backbone: None = None, pretrained: bool = False, anchors: object = None
) -> RetinaNet:
    """torchvision's `retinanet_resnet50_fpn`; its anchors are the paper's, whatever the data.

    `pretrained` loads its COCO weights; 90 classes fit its scores, with another number they start anew. The norms are
    ordinary ones and no layer is frozen: that is the recipe's to say.
    """
    sides = [shaped_sides([s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))], RATIOS) for s in (32, 64, 128, 256, 512)]
    pyramid = resnet50_pyramid()
    model = RetinaNet(
        num_classes,
        image_size=image_size,
        backbone=pyramid,
        head=RetinaHead(256, 4, 9, num_classes + 1, norm=False),
        sides=sides,
        strides=None,
        idle=1,
        names=[f"backbone.{name}" for name in pyramid.level_names()],
    )
    if pretrained:
        load_published(model, "retinanet_resnet50_fpn", ["head.classification_head.cls_logits"])
        # They were trained with a norm that adds nothing to the variance.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.sub_(module.eps)  # type: ignore[union-attr]
    return model
