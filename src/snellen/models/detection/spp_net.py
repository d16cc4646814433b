"""SPP-net: one pass over the image, a pyramid of pooled grids under each proposal, linear SVMs.

He et al. 2014, "Spatial Pyramid Pooling in Deep Convolutional Networks" (arXiv:1406.4729), sec. 4.
Shapes: N images of side S, K classes, R regions of the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snellen.models.detection.fast_rcnn import one_map
from snellen.models.detection.parts.roi import pyramid_pool
from snellen.models.detection.proposals import ProposalSource
from snellen.models.detection.region_detector import RegionSettings, Scored, SvmDetector, settings_of
from snellen.models.features import Features

PYRAMID = (6, 3, 2, 1)
"""Cells along the sides of the grids, 50 in all (sec. 4.1)."""


class SppNet(SvmDetector):
    """A backbone's map, spatial pyramid pooling, two layers, SVMs and box regression."""

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        body: Features,
        hidden: int,
        settings: RegionSettings,
        source: ProposalSource | None = None,
        *,
        fixed: bool,
    ) -> None:
        """`body`: one map; `hidden`: width of the two layers; `fixed`: the convolutions are not trained."""
        super().__init__(num_classes, image_size, settings, source)
        self.body = body
        self.fixed = fixed
        self.body.requires_grad_(not fixed)
        bins = sum(size**2 for size in PYRAMID)
        self.fc6 = nn.Linear(body.channels[0] * bins, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.svms = nn.Linear(hidden, num_classes)
        self.regressors = nn.Linear(hidden, 4 * num_classes)

    def train(self, mode: bool = True) -> "SppNet":
        """Fixed convolutions keep their running statistics, too."""
        super().train(mode)
        if self.fixed:
            self.body.eval()
        return self

    def score(self, x: Tensor, boxes: Sequence[Tensor]) -> Scored:
        """x_NCHW, and boxes (R_i, 4) of each image -> decision values (R, K) and offsets of each class."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed):
            [x] = self.body(x)
        pooled = pyramid_pool(x, boxes, self.body.strides[0], PYRAMID)
        hidden = self.fc7(self.fc6(pooled).relu()).relu()
        return Scored(list(boxes), self.svms(hidden).float(), self.regressors(hidden).float())


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    proposals_from: ProposalSource | None = None,
    **options: Any,
) -> SppNet:
    """SPP-net of the paper's size on a backbone, a small one without.

    Published convolutions stay as they are and only what follows the pyramid is trained, as in the paper (sec. 4.1);
    a backbone that begins with nothing is trained with the rest, else there would be nothing to see.

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
    body = one_map(backbone, pretrained)
    return SppNet(num_classes, image_size, body, hidden, settings, proposals_from, fixed=pretrained)
