"""YOLOv3 and its tiny form: three (two) scales, a logistic objectness, classes that need not exclude each other.

Redmon & Farhadi 2018, "YOLOv3: An Incremental Improvement" (arXiv:1804.02767), sec. 2. Cells, the direct location and
the assignment are those of YOLOv2, with one prior of all scales an object. The gradient of a coordinate is "the ground
truth value minus our prediction" (sec. 2.1): cross-entropy of sigmoid(t_x), half a squared error of t_w; as in
Darknet's yolo layer, small objects weigh up to twice as much (2 - w h).

`yolov3-darknet53` is yolov3.cfg layer for layer, `yolov3-tiny-darknet` is yolov3-tiny.cfg. On our own small backbone
cells are half as large (strides 4, 8, 16).

Shapes: N images, A priors of all cells, K classes, P positives.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, one_hot

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.darknet import LAYOUTS, ConvBlock, body_of
from snellen.models.detection.parts.matcher import BACKGROUND
from snellen.models.detection.yolov2 import (
    PUBLISHED_SIZE,
    Cells,
    assign,
    fitting,
    matched,
    output,
    select,
    to_cells,
)
from snellen.models.loss import LossTerm

IGNORE_IOU = 0.5
"""A prediction that overlaps some object more than this costs no objectness (sec. 2.1)."""
PRIORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
"""Published priors (width, height), pixels (sec. 2.3)."""
TINY_PRIORS = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
"""Published priors of yolov3-tiny.cfg, pixels."""


def yolov3_loss(
    outputs: Cells, targets: Sequence[Target], image_size: int, assignment: Assignment | None = None
) -> dict[str, LossTerm]:
    """Boxes, objectness of positives, objectness of background, classes (cross-entropies); each per image."""
    rows_NA = (assignment or assign(outputs, targets, IGNORE_IOU)).rows
    found = matched(outputs, targets, rows_NA)
    share_P1 = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(1, keepdim=True) / image_size**2
    place_P2 = binary_cross_entropy_with_logits(found.raw[:, :2], found.centres, reduction="none")
    shape_P2 = (found.raw[:, 2:4] - found.scales).square() / 2
    positive, background = found.raw[:, 4], outputs.raw[..., 4][rows_NA == BACKGROUND]
    wanted_PK = one_hot(found.labels, outputs.raw.shape[-1] - 5).to(found.raw.dtype)
    classes = binary_cross_entropy_with_logits(found.raw[:, 5:], wanted_PK, reduction="sum")
    images = outputs.raw.new_tensor(float(len(targets)))
    return {
        "boxes": LossTerm(((2 - share_P1) * (place_P2 + shape_P2)).sum(), images),
        "objects": LossTerm(-nn.functional.logsigmoid(positive).sum(), images),
        "background": LossTerm(-nn.functional.logsigmoid(-background).sum(), images),
        "classes": LossTerm(classes, images),
    }


class Branch(nn.Module):
    """Head of one scale: `layers` convolutions of 1x1 and 3x3 in turn, one more 3x3, 1x1 outputs."""

    def __init__(self, inputs: int, width: int, layers: int, priors: int, num_classes: int) -> None:
        super().__init__()
        trunk: list[nn.Module] = []
        for i in range(layers):
            wider = width * (1 + i % 2)
            trunk.append(ConvBlock(inputs, wider, 1 + i % 2 * 2))
            inputs = wider
        self.trunk = nn.Sequential(*trunk)
        self.wide = ConvBlock(inputs, 2 * width, 3)
        # Each class starts as likely as chance has it.
        self.out = output(2 * width, priors, num_classes, -math.log(max(num_classes - 1, 1)))
        self.channels = inputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x_NCHW -> (what goes on to the finer scale, priors * (5 + K) channels of output)."""
        trunk = self.trunk(x)
        return trunk, self.out(self.wide(trunk))


class Finer(nn.Module):
    """1x1 and twice the size: a coarse scale's way to the next finer one."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.narrow = ConvBlock(inputs, width, 1)

    def forward(self, x: Tensor, fine: Tensor) -> Tensor:
        """Coarse and fine map -> (N, width + fine channels, H, W), upsampled first."""
        return torch.cat([interpolate(self.narrow(x), scale_factor=2.0, mode="nearest"), fine], dim=1)


class YoloV3(Detector):
    """Backbone and a branch each scale, from the coarsest to the finest (the order of the cfg)."""

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        body: Any,
        sides: Sequence[Sequence[Sequence[float]]],
        widths: Sequence[int],
        layers: Sequence[int],
    ) -> None:
        """`sides`: of each scale, finest first; `widths` and `layers` of the branches, coarsest first."""
        super().__init__()
        self.num_classes, self.image_size = num_classes, image_size
        self.anchor_sides = [[[float(w), float(h)] for w, h in level] for level in sides]
        self.backbone = body
        channels: tuple[int, ...] = body.channels
        self.strides: tuple[int, ...] = body.strides
        self.scales = nn.ModuleList()
        inputs = channels[-1]
        for i, (width, count) in enumerate(zip(widths, layers, strict=True)):
            branch = Branch(inputs, width, count, len(self.anchor_sides[-1 - i]), num_classes)
            self.scales.append(branch)
            if i + 1 < len(widths):
                self.scales.append(Finer(branch.channels, widths[i + 1] if count else width))
                inputs = widths[i + 1] + channels[-2 - i]

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> Cells:
        """x_NCHW, a multiple of 32 wide and high -> raw cells."""
        maps = self.backbone(x)
        x, heads = maps[-1], []
        for i, step in enumerate(self.scales):
            if i % 2:
                x = step(x, maps[-2 - i // 2])
            else:
                x, head = step(x)
                heads.append(head)
        return to_cells(heads[::-1], self.strides, self.anchor_sides)

    def assign(self, outputs: Cells, targets: Sequence[Target]) -> Assignment:
        """See `yolov2.assign`: one prior an object, ignored above IoU 0.5."""
        return assign(outputs, targets, IGNORE_IOU)

    def loss(
        self, outputs: Cells, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `yolov3_loss`."""
        return yolov3_loss(outputs, targets, self.image_size, assignment)

    def decoded(self, outputs: Cells) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), objectness * class; logistic classes."""
        return outputs.boxes(), outputs.raw[..., 5:].sigmoid() * outputs.raw[..., 4:5].sigmoid()

    @torch.no_grad()
    def detect(self, outputs: Cells, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100) -> list[Found]:
        """Detections of each image, best first."""
        return select(*self.decoded(outputs), self.image_size, min_score, nms_iou, limit)

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """The map that feeds each scale's outputs, and the scale's priors; finest first."""
        last = len(self.scales) - 1
        return [
            (f"scales.{last - 2 * i}.wide", [s for wh in level for s in wh])
            for i, level in enumerate(self.anchor_sides)
        ]


def by_level(sides: Sequence[Sequence[float]], levels: int) -> list[list[Sequence[float]]]:
    """Priors, smallest first, shared out evenly over the scales, finest first; every scale has at least one."""
    count = len(sides)
    if count < levels:
        return [[sides[min(i, count - 1)]] for i in range(levels)]
    return [list(sides[i * count // levels : (i + 1) * count // levels]) for i in range(levels)]


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> YoloV3:
    """YOLOv3 on a backbone of `darknet.LAYOUTS`, timm or torchvision; None: small backbone and head.

    Published priors keep their size on a Darknet backbone, so that its weights fit, and follow the input elsewhere.
    """
    scale = 1.0 if backbone in LAYOUTS else image_size / PUBLISHED_SIZE
    sides = by_level(fitting(anchors, PRIORS, scale), 3)
    if backbone is None:
        return YoloV3(num_classes, image_size, body_of(None, (4, 8, 16)), sides, (96, 64, 32), (1, 1, 1))
    return YoloV3(
        num_classes, image_size, body_of(backbone, (8, 16, 32), pretrained), sides, (512, 256, 128), (5, 5, 5)
    )


def build_tiny(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> YoloV3:
    """YOLOv3-tiny, two scales; arguments as for `build`."""
    scale = 1.0 if backbone in LAYOUTS else image_size / PUBLISHED_SIZE
    sides = by_level(fitting(anchors, TINY_PRIORS, scale), 2)
    if backbone is None:
        return YoloV3(num_classes, image_size, body_of(None, (8, 16)), sides, (96, 64), (1, 0))
    return YoloV3(num_classes, image_size, body_of(backbone, (16, 32), pretrained), sides, (256, 128), (1, 0))
