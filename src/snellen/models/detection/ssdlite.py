"""SSDLite: a one-stage detector light enough to train from scratch on a processor.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325): anchors on several maps, one pass.
Sandler et al. 2018, "MobileNetV2" (arXiv:1801.04381), sec. 6.2: separable convolutions in the head ("SSDLite").
Lin et al. 2017, "Feature Pyramid Networks" (arXiv:1612.03144), fig. 3: the top-down way (here 64 channels wide).
Lin et al. 2017, "Focal Loss" (arXiv:1708.02002), eq. 5 for classes and sec. 4.1 for the starting bias.
Rezatofighi et al. 2019, "GIoU" (arXiv:1902.09630), algorithm 1 for boxes.

`build` gives this network; `build_mobilenet_v3_large` gives the published one, which is an SSD in all but its layers:
MobileNetV3 (Howard et al. 2019, arXiv:1905.02244, sec. 6.3), softmax with a background class, hard-negative mining.

Shapes: N images, C channels, H W input pixels, A anchors of all levels, K classes, M objects of one image.
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from snellen.models.backbones import conv_norm
from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.parts.anchors import default_scales, default_sides, general_sides, grid_anchors
from snellen.models.detection.parts.box_coder import decode
from snellen.models.detection.parts.dense import (
    DenseOutputs,
    assign_by_iou,
    best_of_levels,
    by_anchor,
    positives,
    suppressed,
)
from snellen.models.detection.parts.losses import giou_loss, sigmoid_focal
from snellen.models.detection.parts.matcher import BACKGROUND, match
from snellen.models.detection.parts.pyramid import TopDown
from snellen.models.detection.published import load_published
from snellen.models.detection.ssd import Ssd
from snellen.models.features import features
from snellen.models.loss import LossTerm

PRIOR = 0.01
"""Each class starts with this probability everywhere (Lin 2017, sec. 4.1), so background does not drown the start."""
MATCH_HIGH = 0.5
MATCH_LOW = 0.4
"""IoU from which an anchor is an object, below which it is background (Lin 2017, sec. 4)."""
STRIDES = (8, 16, 32)
CANDIDATES = 1000
"""Of one level and image that are decoded at most (Lin 2017, sec. 4.1)."""


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


class SsdLite(Detector):
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
        self.num_classes = num_classes
        self.image_size = image_size
        self.backbone = features(backbone, STRIDES, pretrained)
        self.anchor_sides = [
            [list(map(float, wh)) for wh in level] for level in anchors or general_sides(image_size, STRIDES)
        ]
        self.levels = [i for i, sides in enumerate(self.anchor_sides) if sides]
        self.neck = TopDown(self.backbone.channels, width, self.levels)
        prior_bias = -math.log((1 - PRIOR) / PRIOR)
        self.class_heads = nn.ModuleList(
            SeparableHead(width, len(self.anchor_sides[i]) * num_classes, prior_bias) for i in self.levels
        )
        self.box_heads = nn.ModuleList(SeparableHead(width, len(self.anchor_sides[i]) * 4) for i in self.levels)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> DenseOutputs:
        """x_NCHW, normalised -> raw scores and offsets of every anchor."""
        maps = self.neck(self.backbone(x))
        logits, offsets, shapes = [], [], []
        for head, level in enumerate(self.levels):
            feature = maps[level]
            shapes.append((feature.shape[2], feature.shape[3]))
            logits.append(by_anchor(self.class_heads[head](feature), self.num_classes))
            offsets.append(by_anchor(self.box_heads[head](feature), 4))
        sides = [torch.tensor(self.anchor_sides[i], device=x.device) for i in self.levels]
        anchors = grid_anchors(shapes, [STRIDES[i] for i in self.levels], sides)
        sizes = tuple(part.shape[1] for part in logits)
        return DenseOutputs(torch.cat(logits, 1).float(), torch.cat(offsets, 1).float(), anchors, sizes)

    def assign(self, outputs: DenseOutputs, targets: Sequence[Target]) -> Assignment:
        """As `assign`."""
        return assign(outputs, targets)

    def loss(
        self, outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """As `detection_loss`."""
        return detection_loss(outputs, targets, assignment)

    @torch.no_grad()
    def detect(
        self, outputs: DenseOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Scores of at least `min_score`, suppressed within each class, at most `limit`, the number COCO scores."""
        found = []
        for offsets_A4, logits_AK in zip(outputs.offsets, outputs.logits, strict=True):
            scores, rows, labels = best_of_levels(logits_AK.sigmoid(), outputs.level_sizes, min_score, CANDIDATES)
            boxes = decode(offsets_A4[rows], outputs.anchors[rows])
            found.append(suppressed(boxes, scores, labels, self.image_size, nms_iou, limit))
        return found

    def decoded(self, outputs: DenseOutputs) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), before suppression."""
        return decode(outputs.offsets, outputs.anchors), outputs.logits.sigmoid()

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the head, anchor sides w1, h1, w2, h2 ... in input pixels), finest first."""
        return [(f"neck.smooth.{i}", [side for wh in self.anchor_sides[i] for side in wh]) for i in self.levels]


def assign(outputs: DenseOutputs, targets: Sequence[Target]) -> Assignment:
    """Match every image's anchors with its objects (SSD sec. 2.2, thresholds of RetinaNet sec. 4)."""
    return assign_by_iou(outputs, targets, partial(match, high=MATCH_HIGH, low=MATCH_LOW))


def detection_loss(
    outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment | None = None
) -> dict[str, LossTerm]:
    """Focal loss over all anchors that are not ignored, GIoU loss over the positives.

    Background is counted per positive anchor, as in RetinaNet (Lin 2017, sec. 4.1). An object's positives share one
    vote: a large object has dozens of them and a small one a single one, and counted alike the small would never be
    learned.
    """
    assignment = assignment or assign(outputs, targets)
    found = positives(assignment.rows, targets)
    wanted_NAK = torch.zeros_like(outputs.logits)
    wanted_NAK[found.images, found.anchors, found.labels] = 1.0
    vote_P = 1.0 / found.objects.bincount(minlength=1).float()[found.objects]
    objects = vote_P.sum()
    focal_NA = sigmoid_focal(outputs.logits, wanted_NAK).sum(-1)
    predicted_P4 = decode(outputs.offsets[found.images, found.anchors], outputs.anchors[found.anchors])
    return {
        "background": LossTerm(
            focal_NA[assignment.rows == BACKGROUND].sum(), vote_P.new_tensor(float(len(found.objects)))
        ),
        "classes": LossTerm((focal_NA[found.images, found.anchors] * vote_P).sum(), objects),
        "boxes": LossTerm((giou_loss(predicted_P4, found.boxes) * vote_P).sum(), objects),
    }


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
    **options: Any,
) -> SsdLite:
    """The default detector; `anchors` per stride of 8, 16, 32 px: (width, height) in input pixels."""
    return SsdLite(
        num_classes,
        image_size=image_size,
        backbone=backbone,
        pretrained=pretrained,
        anchors=anchors,
        **options,
    )


class MobileNetMaps(nn.Module):
    """MobileNetV3-large and four separable blocks of stride 2 after it (Howard 2019, sec. 6.3; torchvision's names)."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        # The last stage has half the channels (Howard 2019, table 6, "R"): the published weights are of that network.
        net: Any = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=True)
        layers = net.features
        _normal(layers)
        c4 = [i for i, layer in enumerate(layers) if getattr(layer, "_is_cn", False)][-1]
        # The map of stride 16 is taken after the expansion of the block that goes on to stride 32.
        self.features = nn.Sequential(
            nn.Sequential(*layers[:c4], layers[c4].block[0]),
            nn.Sequential(layers[c4].block[1:], *layers[c4 + 1 :]),
        )
        widths = [layers[-1].out_channels, 512, 256, 256, 128]
        self.extra = nn.ModuleList(self._block(a, b, norm) for a, b in itertools.pairwise(widths))
        _normal(self.extra)
        self.channels = [layers[c4].block[0].out_channels, *widths]

    @staticmethod
    def _block(inputs: int, outputs: int, norm: Any) -> nn.Sequential:
        middle = outputs // 2
        conv = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
        return nn.Sequential(
            conv(inputs, middle, kernel_size=1),
            conv(middle, middle, kernel_size=3, stride=2, groups=middle),
            conv(middle, outputs, kernel_size=1),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> maps, finest first."""
        maps = []
        for block in (*self.features, *self.extra):
            x = block(x)
            maps.append(x)
        return maps


def _normal(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def build_mobilenet_v3_large(
    num_classes: int, *, image_size: int, backbone: None = None, pretrained: bool = False, anchors: object = None
) -> Ssd:
    """torchvision's `ssdlite320_mobilenet_v3_large`, an `Ssd`; its default boxes are set, whatever the data.

    `pretrained` loads its COCO weights, which want 320 px, mean 0.5 and standard deviation 0.5; 90 classes fit its
    scores, with another number they start anew.
    """
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    maps = MobileNetMaps(norm)

    def head(channels: int, outputs: int) -> nn.Module:
        depthwise = Conv2dNormActivation(
            channels, channels, kernel_size=3, groups=channels, norm_layer=norm, activation_layer=nn.ReLU6
        )
        return _normal(nn.Sequential(depthwise, nn.Conv2d(channels, outputs, 1)))

    model = Ssd(
        num_classes,
        image_size=image_size,
        backbone=maps,
        channels=maps.channels,
        sides=default_sides(default_scales(6, 0.2, 0.95), [[2.0, 3.0]] * 6),
        strides=None,
        names=[f"backbone.{part}.{i}" for part, count in (("features", 2), ("extra", 4)) for i in range(count)],
        make=head,
        candidates=300,
    )
    if pretrained:
        load_published(model, "ssdlite320_mobilenet_v3_large", ["head.classification_head"])
    return model
