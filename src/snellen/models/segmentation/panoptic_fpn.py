"""Panoptic FPN: Mask R-CNN and a semantic head on one feature pyramid.

Kirillov, Girshick, He and Dollar 2019, "Panoptic feature pyramid networks" (arXiv:1901.02446, section 3, fig. 3).

Shapes: N images of side S, K classes of things, T of stuff, C channels; classes of things come first, 0..K-1, then
those of stuff, K..K+T-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from snellen.models.detection.base import Target
from snellen.models.detection.mask_rcnn import MaskOutputs, MaskRcnn
from snellen.models.detection.mask_rcnn import build as build_mask_rcnn
from snellen.models.loss import LossTerm
from snellen.models.losses.cross_entropy import IGNORED, cross_entropy
from snellen.models.segmentation.panoptic import Panoptic, merge_panoptic

FINEST = 4
"""Stride at which the levels are added up."""
SEMANTIC_WEIGHT = 0.5
"""Of the semantic loss beside that of the instances (section 4.1, lambda_s)."""


@dataclass(frozen=True)
class PanopticOutputs:
    """Raw output of a batch."""

    instances: MaskOutputs
    semantic: Tensor
    """(N, 1 + T, S, S) logits; the first is "other": all things together."""


class SemanticHead(nn.Module):
    """Each level brought to stride 4 by convolutions and enlargements, added up, scored (fig. 3)."""

    def __init__(self, inputs: int, strides: Sequence[int], width: int, num_classes: int) -> None:
        """`strides` of the levels, powers of two from 4 on; `width`, of the head, is a multiple of 8."""
        super().__init__()
        self.levels = nn.ModuleList(_level(inputs, width, stride) for stride in strides)
        self.score = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        if self.score.bias is not None:
            nn.init.zeros_(self.score.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps, finest first -> logits (N, num_classes, S / 4, S / 4)."""
        total = self.levels[0](maps[0])
        for level, x in zip(self.levels[1:], maps[1:], strict=True):
            # Maps of odd sides come back a cell too large.
            total = total + level(x)[..., : total.shape[-2], : total.shape[-1]]
        logits: Tensor = self.score(total)
        return logits


class PanopticFpn(nn.Module):
    """Mask R-CNN for things, a semantic head for stuff, merged by `panoptic`."""

    needs_targets = True

    def __init__(self, things: MaskRcnn, stuff: int, width: int) -> None:
        """`stuff` classes beside those of `things`; `width` channels of the semantic head."""
        super().__init__()
        self.instances = things
        self.num_things, self.num_stuff = things.num_classes, stuff
        strides = [int(s) for s in things.backbone.body_strides]
        self.semantic = SemanticHead(things.backbone.width, strides, width, 1 + stuff)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> PanopticOutputs:
        """x_NCHW, normalised -> raw outputs; targets go to Mask R-CNN, which samples its regions by them."""
        found = self.instances(x, targets)
        logits = self.semantic(found.maps[: len(self.semantic.levels)])
        # By the stride and not to the input's size: the maps of odd sides end outside the image.
        whole = interpolate(logits, scale_factor=FINEST, mode="bilinear", align_corners=False)
        return PanopticOutputs(found, whole[..., : x.shape[-2], : x.shape[-1]])

    def loss(self, outputs: PanopticOutputs, targets: Sequence[Target], class_maps: Tensor) -> dict[str, LossTerm]:
        """The terms of Mask R-CNN and `semantic`, weighed by lambda_s.

        Args:
            outputs: Made with the targets.
            targets: Things, with masks.
            class_maps: (N, S, S) int64, classes of things and stuff; 255 counts nowhere.
        """
        terms = self.instances.loss(outputs.instances, targets)
        term = cross_entropy(outputs.semantic, semantic_targets(class_maps, self.num_things))
        return terms | {"semantic": LossTerm(SEMANTIC_WEIGHT * term.total, term.weight)}

    @torch.no_grad()
    def panoptic(
        self, outputs: PanopticOutputs, *, min_score: float = 0.5, min_visible: float = 0.5, min_stuff_area: int = 4096
    ) -> list[Panoptic]:
        """A merged map of each image; see `merge_panoptic`."""
        stuff = range(self.num_things, self.num_things + self.num_stuff)
        merged = []
        for scores, found in zip(outputs.semantic, self.instances.detect(outputs.instances), strict=True):
            assert found.masks is not None
            # "Other" stands in the place of the first thing; the rest of them are never the best.
            nothing = scores.new_full((self.num_things - 1, *scores.shape[1:]), -torch.inf)
            all_classes = torch.cat([scores[:1], nothing, scores[1:]])
            merged.append(
                merge_panoptic(
                    all_classes, found.masks, found.scores, found.labels, stuff=stuff, min_score=min_score,
                    min_visible=min_visible, min_stuff_area=min_stuff_area,
                )
            )  # fmt: skip
        return merged


def semantic_targets(class_maps: Tensor, things: int) -> Tensor:
    """Classes as the semantic head has them: 0 for every thing, then the stuff; 255 stays."""
    stuff = (class_maps - things + 1).clamp(min=0)
    return torch.where(class_maps == IGNORED, class_maps, stuff)


def build_panoptic_fpn(
    things: int, stuff: int, *, image_size: int, backbone: str | None = None, pretrained: bool = False
) -> PanopticFpn:
    """Panoptic FPN on any backbone; without one's name small, to train from scratch.

    Raises ValueError for an unknown backbone, or one without maps at strides 4 to 32.
    """
    detector = build_mask_rcnn(things, image_size=image_size, backbone=backbone, pretrained=pretrained)
    return PanopticFpn(detector, stuff, 32 if backbone is None else 128)


def _level(inputs: int, width: int, stride: int) -> nn.Sequential:
    """As many enlargements as lead from `stride` to 4, each after a 3x3 convolution, GroupNorm and ReLU."""
    times = (stride // FINEST).bit_length() - 1
    layers: list[nn.Module] = []
    for i in range(max(times, 1)):
        conv = nn.Conv2d(inputs if i == 0 else width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
        if times:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)
