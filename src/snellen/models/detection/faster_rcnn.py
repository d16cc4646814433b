"""Faster R-CNN, on one map and on a feature pyramid.

Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks" (arXiv:1506.01497).
Lin et al. 2017, "Feature Pyramid Networks for Object Detection" (arXiv:1612.03144), sec. 4 and 5.2.

The networks that torchvision publishes are built of this class in `published_two_stage.py`.
Shapes: N images of side S, K classes, R regions of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from snellen.models.backbones import SmallResNet, conv_norm
from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.fpn import PyramidBackbone
from snellen.models.detection.parts.anchors import general_sides
from snellen.models.detection.parts.box_coder import ROI_WEIGHTS
from snellen.models.detection.parts.roi import Boxes
from snellen.models.detection.roi_heads import (
    RegionPool,
    Regions,
    RegionSample,
    RoiHeads,
    RoiSettings,
    detections,
    detections_fixed,
    draw_regions,
    hardest_regions,
    match_regions,
    region_loss,
)
from snellen.models.detection.rpn import (
    AnchorSample,
    Rpn,
    RpnOutputs,
    RpnSettings,
    anchor_assignment,
    propose,
    propose_fixed,
    rpn_loss,
    sample_anchors,
)
from snellen.models.features import Features, features
from snellen.models.loss import LossTerm

SMALL_RPN = RpnSettings(before_nms=(400, 200), after_nms=(200, 100), sample=64, match_high=0.6)
SMALL_ROI = RoiSettings(sample=64)
"""Of the networks that train from scratch in minutes: few proposals, of small images with few objects."""


@dataclass(frozen=True)
class TwoStageOutputs:
    """Raw output of a batch."""

    maps: list[Tensor]
    """What the second stage reads, finest first."""
    rpn: RpnOutputs
    regions: Regions | None
    """The proposals, as used: None in training with targets."""
    anchors: AnchorSample | None
    """What the first stage learns from; None without targets."""
    learnt: tuple[Regions, ...]
    """What the second stage learns from, one for each of its heads; empty without targets."""
    samples: tuple[RegionSample, ...]
    """Which objects those regions stand for."""


class OneMap(nn.Module):
    """A backbone's map of one stride, brought to the width of the heads."""

    def __init__(self, body: nn.Module, channels: int, stride: int, width: int) -> None:
        super().__init__()
        self.body = body
        self.lateral = nn.Sequential(conv_norm(channels, width, 1), nn.ReLU(inplace=True))
        self.width = width
        self.strides = self.body_strides = (stride,)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> [(N, width, H / stride, W / stride)]."""
        return [self.lateral(self.body(x)[-1])]

    def level_names(self) -> list[str]:
        """Name within this module of what the map comes out of."""
        return ["lateral"]


class FasterRcnn(Detector):
    """A backbone, the network that proposes regions, and the head that looks at them."""

    needs_targets: ClassVar[bool] = True
    offset_weights: ClassVar[tuple[float, ...]] = ROI_WEIGHTS
    """Of the offsets that `detect` decodes."""
    roi_heads: nn.Module

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        backbone: PyramidBackbone | OneMap,
        rpn: Rpn,
        roi_heads: nn.Module,
        settings: RoiSettings,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self.settings = settings

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> TwoStageOutputs:
        """x_NCHW, normalised -> raw outputs.

        With targets, regions are drawn to learn from, at random in training; what `detect` needs is computed in
        evaluation and where there are no targets: a proposal that was made of an object must not be scored.
        """
        size = x.shape[-1]
        maps = self.backbone(x)
        first = self.rpn(maps, size)
        proposals = propose(first, size, self.rpn.settings, self.training)
        regions = None if self.training and targets is not None else self._score(maps, proposals, size)
        if targets is None:
            return TwoStageOutputs(maps, first, regions, None, (), ())
        # The anchors before the regions, as torchvision draws them.
        anchors = sample_anchors(first, targets, self.rpn.settings, self.training)
        learnt, samples = self._learn(maps, proposals, targets, size)
        return TwoStageOutputs(maps, first, regions, anchors, learnt, samples)

    def _score(self, maps: list[Tensor], proposals: Boxes, size: int) -> Regions:
        return self._first(maps, proposals)

    def _learn(
        self, maps: list[Tensor], proposals: list[Tensor], targets: Sequence[Target], size: int
    ) -> tuple[tuple[Regions, ...], tuple[RegionSample, ...]]:
        sample = match_regions(proposals, targets, self.settings.match_iou)
        sample = self._drawn(maps, sample, targets)
        return (self._first(maps, sample.boxes),), (sample,)

    def _first(self, maps: list[Tensor], boxes: Boxes) -> Regions:
        """What the (first) head says of boxes of each image."""
        scored: Regions = self.roi_heads(maps, boxes)
        return scored

    def _drawn(self, maps: list[Tensor], sample: RegionSample, targets: Sequence[Target]) -> RegionSample:
        if self.settings.sampling == "random":
            return draw_regions(sample, targets, self.settings.sample, self.settings.positive_fraction, self.training)
        with torch.no_grad():
            scored = self._first(maps, sample.boxes)
        return hardest_regions(scored, targets, sample, self.settings.sample, self.settings.box_loss)

    def assign(self, outputs: TwoStageOutputs, targets: Sequence[Target]) -> Assignment:
        """Which anchors of the first stage answer for which objects."""
        sample = outputs.anchors or sample_anchors(outputs.rpn, targets, self.rpn.settings, random=False)
        return anchor_assignment(outputs.rpn, targets, sample.rows)

    def loss(
        self, outputs: TwoStageOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `faster_rcnn_loss`; `assignment` is not needed, what was drawn stands in the outputs."""
        return faster_rcnn_loss(outputs, targets, self.settings.box_loss)

    @torch.no_grad()
    def detect(
        self, outputs: TwoStageOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Detections of each image: scores of at least `min_score`, suppressed within each class, at most `limit`."""
        if outputs.regions is None:
            raise ValueError("detections are made of outputs in evaluation, or without targets")
        return detections(
            outputs.regions,
            self.image_size,
            min_score=min_score,
            nms_iou=nms_iou,
            limit=limit,
            weights=self.offset_weights,
        )

    @torch.no_grad()
    def program(self, x: Tensor, *, nms_iou: float = 0.5, limit: int = 100) -> dict[str, Tensor]:
        """x_NCHW, normalised -> what `detect` finds of any score, by shapes that do not depend on what is seen.

        boxes (N, D, 4) xyxy input pixels, scores (N, D) and labels (N, D) of `detections_fixed`.
        """
        return self._program(x, nms_iou, limit)[1]

    @torch.no_grad()
    def program_rows(
        self, outputs: TwoStageOutputs, *, nms_iou: float = 0.5, limit: int = 100
    ) -> list[dict[str, Tensor]]:
        """What `program` is to say, as `detect` finds it: of each image boxes (D, 4), scores (D,), labels (D,)."""
        found = FasterRcnn.detect(self, outputs, min_score=0.0, nms_iou=nms_iou, limit=limit)
        return [{"boxes": f.boxes, "scores": f.scores, "labels": f.labels} for f in found]

    def _program(self, x: Tensor, nms_iou: float, limit: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The maps, too."""
        size = self.image_size
        maps = self.backbone(x)
        proposals_NP4, real_NP = propose_fixed(self.rpn(maps, size), size, self.rpn.settings)
        regions = self._score(maps, proposals_NP4, size)
        found = detections_fixed(regions, real_NP, size, nms_iou=nms_iou, limit=limit, weights=self.offset_weights)
        return maps, dict(zip(("boxes", "scores", "labels"), found, strict=True))

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the first stage, anchor sides w1, h1, w2, h2 ... in pixels), finest first."""
        names = self.backbone.level_names()
        return [
            (f"backbone.{n}", [s for wh in level for s in wh]) for n, level in zip(names, self.rpn.sides, strict=True)
        ]


def faster_rcnn_loss(
    outputs: TwoStageOutputs, targets: Sequence[Target], kind: str = "smooth_l1"
) -> dict[str, LossTerm]:
    """Objectness and boxes of the drawn anchors, classes and boxes of the drawn regions (Ren 2015, eq. 1).

    Raises ValueError when the outputs were made without targets.
    """
    if outputs.anchors is None:
        raise ValueError("a two-stage loss wants outputs that were made with targets")
    terms = rpn_loss(outputs.rpn, targets, outputs.anchors, kind)
    return terms | region_loss(outputs.learnt[0], targets, outputs.samples[0], kind)


def parts(
    num_classes: int,
    image_size: int,
    backbone: str | None,
    pretrained: bool,
    anchors: Sequence[Sequence[Sequence[float]]] | None,
    pyramid: bool,
    pool: Literal["align", "max"] = "align",
    **options: Any,
) -> tuple[PyramidBackbone | OneMap, Rpn, RoiHeads, RoiSettings]:
    """Backbone, first and second stage: small ones without a backbone's name, of the papers' sizes with one.

    Args:
        num_classes: Without background.
        image_size: Side of the input in pixels.
        backbone: A timm or torchvision classifier; None: a small one that trains from scratch.
        pretrained: Published weights of the backbone.
        anchors: (width, height) in pixels, of any grouping; None: general ones.
        pyramid: Levels of several strides, or one map.
        pool: RoI align, or RoI pooling (of one map).
        options: Of `RoiSettings`.
    """
    own = backbone is None
    width, hidden = (64, 128) if own else (256, 1024)
    if pyramid or not own:
        body = features(backbone, [4, 8, 16, 32] if pyramid else [16], pretrained)
    else:
        # No stage that nothing reads, and enough layers to see the largest objects.
        body = Features(SmallResNet((32, 64), (1, 3)), [1], [64], [8])
    net: PyramidBackbone | OneMap
    if pyramid:
        norm = nn.BatchNorm2d if own else None
        net = PyramidBackbone(body, body.channels, body.strides, width, None if own else "pool", norm)
    else:
        net = OneMap(body, body.channels[0], body.strides[0], width)
    sides = _over_levels(anchors, len(net.strides)) if anchors else general_sides(image_size, net.strides)
    rpn = Rpn(width, sides, 0.5, SMALL_RPN if own else RpnSettings())
    settings = (SMALL_ROI if own else RoiSettings()).model_copy(
        update=RoiSettings(**options).model_dump(include=set(options))
    )
    heads = RoiHeads(RegionPool(net.body_strides, 7, pool), width, num_classes, hidden)
    return net, rpn, heads, settings


def _over_levels(anchors: Sequence[Sequence[Sequence[float]]], levels: int) -> list[list[list[float]]]:
    """Small anchors on fine levels, the same number on each, as one head serves all; the last ones twice at need."""
    sides = sorted(([float(w), float(h)] for level in anchors for w, h in level), key=lambda wh: wh[0] * wh[1])
    count = -(-len(sides) // levels)
    return [[sides[min(i * count + j, len(sides) - 1)] for j in range(count)] for i in range(levels)]


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    **options: Any,
) -> FasterRcnn:
    """Faster R-CNN on one map, of stride 16 (8 of the small backbone); arguments as of `parts`."""
    made = parts(num_classes, image_size, backbone, pretrained, anchors, pyramid=False, **options)
    return FasterRcnn(num_classes, image_size, *made)


def build_fpn(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    **options: Any,
) -> FasterRcnn:
    """Faster R-CNN on a feature pyramid; arguments as of `parts`."""
    made = parts(num_classes, image_size, backbone, pretrained, anchors, pyramid=True, **options)
    return FasterRcnn(num_classes, image_size, *made)
