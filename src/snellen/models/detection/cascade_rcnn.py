"""Cascade R-CNN: three second stages, each of which starts from the boxes of the one before and wants a closer fit.

Cai and Vasconcelos 2018, "Cascade R-CNN: Delving into High Quality Object Detection" (arXiv:1712.00726), sec. 4 and
eq. 5-8. Dai et al. 2017, "Deformable Convolutional Networks" (arXiv:1703.06211), sec. 2.1, and Zhu et al. 2018,
"Deformable ConvNets v2" (arXiv:1811.11168), eq. 1: the backbone's last convolutions learn where to look.

Shapes: N images of side S, K classes, R regions of the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax
from torchvision.ops import DeformConv2d, clip_boxes_to_image

from snellen.models.detection.base import Assignment, Target
from snellen.models.detection.faster_rcnn import FasterRcnn, TwoStageOutputs, parts
from snellen.models.detection.parts.box_coder import decode
from snellen.models.detection.parts.roi import Boxes, as_before, flat
from snellen.models.detection.roi_heads import (
    BoxPredictor,
    RegionPool,
    Regions,
    RegionSample,
    TwoMlpHead,
    match_regions,
    region_loss,
)
from snellen.models.detection.rpn import rpn_loss
from snellen.models.loss import LossTerm

STAGE_IOUS = (0.5, 0.6, 0.7)
"""From which IoU on a region is an object, stage by stage (sec. 4.2)."""
STAGE_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
"""Of the offsets: the closer the boxes, the smaller the offsets still to be made (sec. 4.1, normalised anew)."""
STAGE_SHARES = (1.0, 0.5, 0.25)
"""Of the stages in the loss, as in the authors' code."""


class DeformableConv(nn.Module):
    """A convolution whose taps are moved and weighed by what it sees (Zhu 2018, eq. 1).

    It starts as the convolution it replaces: no tap is moved, each weighs 1 (twice the sigmoid of 0).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        taps = conv.kernel_size[0] * conv.kernel_size[1]
        window: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
        self.moves = nn.Conv2d(conv.in_channels, 3 * taps, (conv.kernel_size[0], conv.kernel_size[1]), **window)
        nn.init.zeros_(self.moves.weight)
        nn.init.zeros_(self.moves.bias)  # type: ignore[arg-type]
        self.conv = DeformConv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            groups=conv.groups,
            bias=conv.bias is not None,
            **window,
        )
        self.conv.weight = conv.weight
        self.conv.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> as the convolution it replaces."""
        moves = self.moves(x)
        taps = moves.shape[1] // 3
        out: Tensor = self.conv(x, moves[:, : 2 * taps], 2 * moves[:, 2 * taps :].sigmoid())
        return out


def deform_last(body: nn.Module, count: int) -> None:
    """Make the last `count` ungrouped 3x3 convolutions of `body`, in the order of its modules, deformable.

    Raises ValueError when it has fewer.
    """
    found = [
        name
        for name, module in body.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1
    ]
    if count > len(found):
        raise ValueError(f"the backbone has {len(found)} plain 3x3 convolutions, {count} are to become deformable")
    for name in found[len(found) - count :]:
        owner, _, last = name.rpartition(".")
        conv = body.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        setattr(body.get_submodule(owner), last, DeformableConv(conv))


class CascadeHeads(nn.Module):
    """A box head and a predictor for each stage; one group of offsets serves all classes (sec. 4.1)."""

    def __init__(self, pool: RegionPool, width: int, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.pool = pool
        self.box_head = nn.ModuleList(TwoMlpHead(width * pool.size**2, hidden) for _ in STAGE_IOUS)
        self.box_predictor = nn.ModuleList(BoxPredictor(hidden, num_classes, 1) for _ in STAGE_IOUS)

    def forward(self, maps: Sequence[Tensor], boxes: Boxes, stage: int) -> Regions:
        """Maps and boxes of each image -> what the head of `stage` says of each box."""
        logits, offsets = self.box_predictor[stage](self.box_head[stage](self.pool(maps, boxes)))
        return Regions(boxes, logits.float(), offsets.float())


class CascadeRcnn(FasterRcnn):
    """Faster R-CNN with three heads one after another."""

    roi_heads: CascadeHeads
    offset_weights = STAGE_WEIGHTS[-1]

    def _score(self, maps: list[Tensor], proposals: Boxes, size: int) -> Regions:
        """The last stage's boxes; its logits are the logarithm of the stages' mean probability (sec. 4.3)."""
        boxes, probabilities = proposals, []
        for stage in range(len(STAGE_IOUS)):
            scored: Regions = self.roi_heads(maps, boxes, stage)
            probabilities.append(softmax(scored.logits, dim=1))
            if stage < len(STAGE_IOUS) - 1:
                boxes = refined(scored, stage, size)
        mean = torch.stack(probabilities).mean(0)
        return Regions(scored.boxes, mean.clamp(min=1e-12).log(), scored.offsets)

    def _first(self, maps: list[Tensor], boxes: Boxes) -> Regions:
        first: Regions = self.roi_heads(maps, boxes, 0)
        return first

    def _learn(
        self, maps: list[Tensor], proposals: list[Tensor], targets: Sequence[Target], size: int
    ) -> tuple[tuple[Regions, ...], tuple[RegionSample, ...]]:
        sample = self._drawn(maps, match_regions(proposals, targets, STAGE_IOUS[0]), targets)
        learnt = [self._first(maps, sample.boxes)]
        samples = [sample]
        for stage in range(1, len(STAGE_IOUS)):
            # All regions go on; those of the stage before that fit better now are this stage's objects (eq. 8).
            boxes = list(refined(learnt[-1], stage - 1, size))
            samples.append(match_regions(boxes, targets, STAGE_IOUS[stage], add_objects=False))
            learnt.append(self.roi_heads(maps, boxes, stage))
        return tuple(learnt), tuple(samples)

    def loss(
        self, outputs: TwoStageOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `cascade_loss`; `assignment` is not needed, what was drawn stands in the outputs."""
        return cascade_loss(outputs, targets, self.settings.box_loss)


@torch.no_grad()
def refined(regions: Regions, stage: int, image_size: int) -> Boxes:
    """Boxes (R_i, 4) of each image as `stage` corrects them, cut to the image; no gradient goes through them."""
    boxes = decode(regions.offsets, flat(regions.boxes), STAGE_WEIGHTS[stage])
    return as_before(clip_boxes_to_image(boxes, (image_size, image_size)), regions.boxes)


def cascade_loss(outputs: TwoStageOutputs, targets: Sequence[Target], kind: str = "smooth_l1") -> dict[str, LossTerm]:
    """The first stage's terms, and classes and boxes of each head, weighed by `STAGE_SHARES` (eq. 8).

    Raises ValueError when the outputs were made without targets.
    """
    if outputs.anchors is None:
        raise ValueError("a two-stage loss wants outputs that were made with targets")
    terms = rpn_loss(outputs.rpn, targets, outputs.anchors, kind)
    for stage, (regions, sample) in enumerate(zip(outputs.learnt, outputs.samples, strict=True)):
        of_stage = region_loss(regions, targets, sample, kind, STAGE_WEIGHTS[stage])
        for name, term in of_stage.items():
            terms[f"{name}_{stage + 1}"] = LossTerm(term.total * STAGE_SHARES[stage], term.weight)
    return terms


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    deformable: int = 0,
    **options: Any,
) -> CascadeRcnn:
    """Cascade R-CNN on a feature pyramid.

    Args:
        num_classes: Without background.
        image_size: Side of the input in pixels.
        backbone: As of `faster_rcnn.parts`, and so are `pretrained`, `anchors` and `options`.
        pretrained: See there.
        anchors: See there.
        deformable: How many of the backbone's last plain 3x3 convolutions become deformable.
        options: See there.
    """
    net, rpn, heads, settings = parts(num_classes, image_size, backbone, pretrained, anchors, pyramid=True, **options)
    deform_last(net.body, deformable)
    hidden = heads.box_head.fc7.out_features
    cascade = CascadeHeads(heads.pool, net.width, num_classes, hidden)
    return CascadeRcnn(num_classes, image_size, net, rpn, cascade, settings)
