"""R-CNN: every proposal is cut out of the image, warped to one size and given to a network of its own pass.

Girshick et al. 2014, "Rich feature hierarchies for accurate object detection and semantic segmentation"
(arXiv:1311.2524), sec. 2, appendix A (warping) and C (box regression).
Shapes: N images of side S, K classes, R regions of the batch, W pixels along a side of a crop.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from snellen.models.backbones import SmallResNet
from snellen.models.detection.parts.roi import with_image
from snellen.models.detection.proposals import ProposalSource
from snellen.models.detection.region_detector import RegionSettings, Scored, SvmDetector, settings_of
from snellen.models.features import Features, features

CONTEXT = 16 / 227
"""Share of a crop's side, at each end, that shows what is around the region: 16 px of 227 (appendix A)."""
CHUNK = 256
"""Crops of one pass of the network in evaluation."""


def warped_crops(x: Tensor, boxes: Sequence[Tensor], side: int) -> Tensor:
    """(R, 3, side, side): each region with the context around it, stretched to a square (appendix A, "warp").

    What lies outside the image is 0, in normalised pixels the mean, as in the paper. A pixel of the crop is the mean of
    2 x 2 bilinear samples.

    Args:
        x: Images NCHW, normalised.
        boxes: (R_i, 4) of each image, xyxy pixels.
        side: Of the crops, pixels.
    """
    around = []
    for b in boxes:
        margin = (b[:, 2:] - b[:, :2]) * (CONTEXT / (1 - 2 * CONTEXT))
        around.append(torch.cat([b[:, :2] - margin, b[:, 2:] + margin], dim=1))
    crops: Tensor = roi_align(x, with_image(around).to(x.dtype), side, 1.0, 2, aligned=True)
    return crops


class Rcnn(SvmDetector):
    """A network over crops; SVMs on what it makes of each, and box regression."""

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        body: Features,
        crop: int,
        settings: RegionSettings,
        source: ProposalSource | None = None,
    ) -> None:
        """`body`: one map, its mean is what is seen of a crop; `crop`: side of the crops, pixels."""
        super().__init__(num_classes, image_size, settings, source)
        self.body = body
        self.crop = crop
        cells = -(-crop // body.strides[0])
        # Offsets need to know where in the crop something is, which a mean over the map forgets (appendix C: pool5).
        self.svms = nn.Linear(body.channels[0] * cells**2, num_classes)
        self.regressors = nn.Linear(body.channels[0] * cells**2, 4 * num_classes)

    def score(self, x: Tensor, boxes: Sequence[Tensor]) -> Scored:
        """x_NCHW, and boxes (R_i, 4) of each image -> decision values (R, K) and offsets of each class."""
        crops = warped_crops(x, boxes, self.crop)
        chunks = [crops] if self.training else crops.split(CHUNK)
        parts = [self.body(chunk)[0].flatten(1) for chunk in chunks if len(chunk)]
        seen = torch.cat(parts) if parts else crops.new_zeros((0, self.svms.in_features))
        return Scored(list(boxes), self.svms(seen).float(), self.regressors(seen).float())


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    proposals_from: ProposalSource | None = None,
    **options: Any,
) -> Rcnn:
    """R-CNN: crops of 224 px on a backbone, of 32 px and a small network without.

    The paper learns the network first, by a softmax, then the SVMs and then the regression, with other samples for each
    (sec. 2.3); here all are trained at once, on one sample of a quarter objects.

    Args:
        num_classes: Without background.
        image_size: Side of the input in pixels.
        backbone: A timm or torchvision classifier; None: a small one that trains from scratch.
        pretrained: Published weights of the backbone.
        anchors: Not used: regions are given, not made of anchors.
        proposals_from: None: selective search.
        options: Of `RegionSettings`.
    """
    settings = settings_of(RegionSettings(background_low=0.0, sample=32), options)
    if backbone is None:
        # Stride 8 of crops of 32 px: 4 x 4 cells.
        body = Features(SmallResNet((16, 32, 64), (1, 1, 1), 1), [2], [64], [8])
        return Rcnn(num_classes, image_size, body, 32, settings, proposals_from)
    return Rcnn(num_classes, image_size, features(backbone, [32], pretrained), 224, settings, proposals_from)
