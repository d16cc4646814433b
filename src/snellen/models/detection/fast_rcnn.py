"""Fast R-CNN: one pass over the image, and a softmax over what is pooled under each proposal.

Girshick 2015, "Fast R-CNN" (arXiv:1504.08083). Shapes: N images of side S, K classes, R regions of the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snellen.models.backbones import SmallResNet
from snellen.models.detection.base import Assignment, Found, Target
from snellen.models.detection.proposals import ProposalSource
from snellen.models.detection.region_detector import (
    RegionDetector,
    RegionOutputs,
    RegionSettings,
    Scored,
    learnt_of,
    regions_of,
    settings_of,
)
from snellen.models.detection.roi_heads import RegionPool, Regions, RegionSample, RoiHeads, detections, region_loss
from snellen.models.features import Features, features
from snellen.models.loss import LossTerm

CELLS = 7
"""Along a side of the grid that is pooled under a region: VGG-16's (sec. 2.2)."""


class FastRcnn(RegionDetector):
    """A backbone's map, RoI pooling, two layers, and classes and offsets side by side (fig. 1)."""

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        body: Features,
        hidden: int,
        settings: RegionSettings,
        source: ProposalSource | None = None,
    ) -> None:
        """`body`: one map; `hidden`: width of the two layers; `source`: of proposals, None for selective search."""
        super().__init__(num_classes, image_size, settings, source)
        self.body = body
        self.heads = RoiHeads(RegionPool(body.strides, CELLS, "max"), body.channels[0], num_classes, hidden)

    def score(self, x: Tensor, boxes: Sequence[Tensor]) -> Scored:
        """x_NCHW, and boxes (R_i, 4) of each image -> logits (R, 1 + K) and offsets of each class."""
        found: Regions = self.heads(self.body(x), boxes)
        return Scored(list(boxes), found.logits, found.offsets)

    def loss(
        self, outputs: RegionOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `fast_rcnn_loss`; `assignment` is not needed, what was drawn stands in the outputs."""
        return fast_rcnn_loss(*learnt_of(outputs, targets))

    @torch.no_grad()
    def detect(
        self, outputs: RegionOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Detections of each image: scores of at least `min_score`, suppressed within each class, at most `limit`."""
        found = regions_of(outputs)
        regions = Regions(found.boxes, found.logits, found.offsets)
        return detections(regions, self.image_size, min_score=min_score, nms_iou=nms_iou, limit=limit)


def fast_rcnn_loss(learnt: Scored, targets: Sequence[Target], sample: RegionSample) -> dict[str, LossTerm]:
    """Cross-entropy of the classes, smooth L1 of the offsets of a region's own class, both per region (eq. 1 to 3)."""
    return region_loss(Regions(learnt.boxes, learnt.logits, learnt.offsets), targets, sample)


def one_map(backbone: str | None, pretrained: bool) -> Features:
    """A backbone's map of stride 16; without a name that of a small one, of stride 4.

    RoI pooling rounds a region to whole cells: one of 20 px needs small ones.
    """
    if backbone is not None:
        return features(backbone, [16], pretrained)
    return Features(SmallResNet((48,), (3,)), [0], [48], [4])


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    proposals_from: ProposalSource | None = None,
    **options: Any,
) -> FastRcnn:
    """Fast R-CNN of the paper's size on a backbone, a small one without.

    Args:
        num_classes: Without background.
        image_size: Side of the input in pixels.
        backbone: A timm or torchvision classifier; None: a small one that trains from scratch.
        pretrained: Published weights of the backbone.
        anchors: Not used: regions are given, not made of anchors.
        proposals_from: None: selective search.
        options: Of `RegionSettings`.
    """
    hidden = 128 if backbone is None else 4096
    settings = settings_of(RegionSettings(), options)
    return FastRcnn(num_classes, image_size, one_map(backbone, pretrained), hidden, settings, proposals_from)
