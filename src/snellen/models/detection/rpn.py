"""The first stage of a two-stage detector: where there is something, of whatever class.

Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks" (arXiv:1506.01497),
sec. 3.1 and eq. 1. On a pyramid one head serves all levels (Lin 2017, FPN, arXiv:1612.03144, sec. 4.1).

Parameters bear torchvision's names. Shapes: N images of side S, A anchors of all levels, K anchors of a cell, M objects
of an image, P proposals of an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import box_iou, clip_boxes_to_image

from snellen.models.detection.base import Assignment, Target
from snellen.models.detection.fpn import accept_old_names
from snellen.models.detection.parts.anchors import grid_anchors
from snellen.models.detection.parts.box_coder import UNIT, decode, encode
from snellen.models.detection.parts.fixed import best_kept, rows_of
from snellen.models.detection.parts.losses import BOX_LOSSES, smooth_l1
from snellen.models.detection.parts.matcher import BACKGROUND, match
from snellen.models.detection.parts.nms import batched_nms
from snellen.models.detection.parts.samplers import balanced, generator_of
from snellen.models.loss import LossTerm

SMALLEST_SIDE = 1e-3
"""Proposals with a side below this many pixels are none."""
BETA = 1 / 9
"""Where smooth L1 turns from square to straight in both stages: at |x| = 1 / 9 (sigma = 3 in the paper's code)."""


class RpnSettings(BaseModel):
    """What the first stage keeps and learns from; the defaults are torchvision's, in pairs of training and use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before_nms: tuple[int, int] = (2000, 1000)
    """Anchors kept of each level."""
    after_nms: tuple[int, int] = (2000, 1000)
    """Proposals kept of each image."""
    nms_iou: float = Field(0.7, ge=0, le=1)
    """Proposals of a level that overlap a better one by more are dropped."""
    min_score: float = Field(0.0, ge=0, lt=1)
    """Lowest objectness of a proposal."""
    match_high: float = Field(0.7, gt=0, le=1)
    """IoU from which an anchor is an object."""
    match_low: float = Field(0.3, ge=0, le=1)
    """IoU below which an anchor is background."""
    sample: int = Field(256, ge=1)
    """Anchors of an image that the loss is taken over."""
    positive_fraction: float = Field(0.5, gt=0, le=1)
    """Share of objects among them, at most."""


@dataclass(frozen=True)
class RpnOutputs:
    """Raw output of the first stage."""

    objectness: Tensor
    """(N, A), before the sigmoid."""
    offsets: Tensor
    """(N, A, 4)."""
    anchors: Tensor
    """(A, 4), xyxy input pixels."""
    level_sizes: tuple[int, ...]
    """Anchors of each level, finest first."""


@dataclass(frozen=True)
class AnchorSample:
    """Which anchors answer for which objects, and which of them were drawn."""

    rows: Tensor
    """(N, A) int64: row of the object, -1 background, -2 ignored."""
    positive: Tensor
    """(N, A) bool: drawn objects."""
    negative: Tensor
    """(N, A) bool: drawn backgrounds."""


class RpnHead(nn.Module):
    """A 3x3 convolution, then objectness and offsets of each of a cell's K anchors (Ren 2015, fig. 3)."""

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)))
        self.cls_logits = nn.Conv2d(width, anchors, 1)
        self.bbox_pred = nn.Conv2d(width, anchors * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        accept_old_names(self, {"conv": "conv.0.0"})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x_NCHW -> objectness (N, H W K) and offsets (N, H W K, 4), in the order of `grid_anchors`."""
        n = x.shape[0]  # not len(x), which a trace takes for a constant
        x = self.conv(x)
        objectness = self.cls_logits(x).permute(0, 2, 3, 1).reshape(n, -1)
        # (N, K 4, H, W): an anchor's four offsets lie side by side already.
        offsets = self.bbox_pred(x).permute(0, 2, 3, 1).reshape(n, -1, 4)
        return objectness, offsets


class Rpn(nn.Module):
    """The head and its anchors."""

    def __init__(
        self, width: int, sides: Sequence[Sequence[Sequence[float]]], offset: float, settings: RpnSettings
    ) -> None:
        """One head for all levels, so all have the same number of anchors.

        Args:
            width: Channels of every level.
            sides: Per level the anchors' (width, height) in pixels.
            offset: Where in its cell an anchor's centre is: 0.5 the middle, 0 the corner (torchvision).
            settings: See there.
        """
        super().__init__()
        self.head = RpnHead(width, len(sides[0]))
        self.sides = [[[float(side) for side in wh] for wh in level] for level in sides]
        self.offset = offset
        self.settings = settings
        self._grid: tuple[object, Tensor] | None = None

    def forward(self, maps: Sequence[Tensor], image_size: int) -> RpnOutputs:
        """Levels, finest first, of a batch of images of side `image_size` -> objectness and offsets of every anchor."""
        scored = [self.head(x) for x in maps]
        objectness = torch.cat([o for o, _ in scored], dim=1).float()
        offsets = torch.cat([t for _, t in scored], dim=1).float()
        sizes = tuple(o.shape[1] for o, _ in scored)
        return RpnOutputs(objectness, offsets, self._anchors(maps, image_size), sizes)

    def _anchors(self, maps: Sequence[Tensor], image_size: int) -> Tensor:
        """Made once for each size of the input, not at each step; but tensors of a trace, which hold nothing, anew."""
        shapes = [(x.shape[2], x.shape[3]) for x in maps]
        key = (tuple(shapes), image_size, maps[0].device)
        if self._grid is not None and self._grid[0] == key and type(maps[0]) is Tensor:
            return self._grid[1]
        strides = [(image_size // h, image_size // w) for h, w in shapes]
        # Also in inference mode they are to be tensors that a later training step may use.
        with torch.inference_mode(False):
            sides = [torch.tensor(level, device=maps[0].device) for level in self.sides]
            anchors = grid_anchors(shapes, strides, sides, self.offset)
        if type(maps[0]) is Tensor:
            self._grid = (key, anchors)
        return anchors


@torch.no_grad()
def propose(outputs: RpnOutputs, image_size: int, settings: RpnSettings, training: bool) -> list[Tensor]:
    """Proposals (P, 4) of each image, xyxy input pixels, best first (Ren 2015, sec. 3.3, "Sharing features").

    The best anchors of each level are decoded and cut to the image; what overlaps a better one of its level is dropped.
    """
    before, after = (pair[0 if training else 1] for pair in (settings.before_nms, settings.after_nms))
    boxes_NP4, scores_NP, level_P, real_NP = _candidates(outputs, image_size, settings, before)
    proposals = []
    for boxes, scores, real in zip(boxes_NP4, scores_NP, real_NP, strict=True):
        boxes, scores = boxes[real], scores[real]
        keep = batched_nms(boxes, scores, level_P[real], settings.nms_iou)[:after]
        proposals.append(boxes[keep])
    return proposals


@torch.no_grad()
def propose_fixed(outputs: RpnOutputs, image_size: int, settings: RpnSettings) -> tuple[Tensor, Tensor]:
    """`propose` outside training by fixed shapes: proposals (N, P, 4), best first, and which of them (N, P) are any.

    P is the number kept of an image, or that of all candidates where there are fewer.
    """
    boxes_NC4, scores_NC, level_C, real_NC = _candidates(outputs, image_size, settings, settings.before_nms[1])
    scores_NC = torch.where(real_NC, scores_NC, 0.0)
    level_NC, levels = level_C.expand_as(scores_NC), len(outputs.level_sizes)
    after = settings.after_nms[1]
    rows_NP, kept_NP = best_kept(boxes_NC4, scores_NC, level_NC, levels, image_size, settings.nms_iou, after)
    return rows_of(boxes_NC4, rows_NP), kept_NP > 0


def _candidates(
    outputs: RpnOutputs, image_size: int, settings: RpnSettings, before: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best anchors of each level: boxes (N, P, 4), scores (N, P), level (P,), and which (N, P) are large enough."""
    chosen, level, start = [], [], 0
    for i, part in enumerate(outputs.objectness.split(list(outputs.level_sizes), dim=1)):
        best = part.topk(min(before, part.shape[1]), dim=1).indices + start
        chosen.append(best)
        level.append(best.new_full((best.shape[1],), i))
        start += part.shape[1]
    rows_NP = torch.cat(chosen, dim=1)
    level_P = torch.cat(level)
    scores_NP = outputs.objectness.gather(1, rows_NP).sigmoid()
    offsets_NP4 = outputs.offsets.gather(1, rows_NP[..., None].expand(-1, -1, 4))
    # Only what is kept is decoded.
    boxes_NP4 = clip_boxes_to_image(decode(offsets_NP4, outputs.anchors[rows_NP]), (image_size, image_size))
    real_NP = ((boxes_NP4[..., 2:] - boxes_NP4[..., :2]) >= SMALLEST_SIDE).all(-1) & (scores_NP >= settings.min_score)
    return boxes_NP4, scores_NP, level_P, real_NP


def draw(
    rows_A: Tensor, count: int, positive_fraction: float, random: bool, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """`samplers.balanced` in training; else the same numbers at even distances, so that validation draws nothing."""
    if random:
        return balanced(rows_A, count, positive_fraction, generator)
    positive = (rows_A >= 0).nonzero().squeeze(1)
    negative = (rows_A == BACKGROUND).nonzero().squeeze(1)
    positives = min(len(positive), int(count * positive_fraction))
    masks = torch.zeros((2, len(rows_A)), dtype=torch.bool, device=rows_A.device)
    for mask, rows, wanted in zip(masks, (positive, negative), (positives, count - positives), strict=True):
        wanted = min(wanted, len(rows))
        mask[rows[torch.arange(wanted, device=rows.device) * len(rows) // max(wanted, 1)]] = True
    return masks[0], masks[1]


@torch.no_grad()
def sample_anchors(outputs: RpnOutputs, targets: Sequence[Target], settings: RpnSettings, random: bool) -> AnchorSample:
    """Match every image's anchors with its objects and draw those the loss is taken over (Ren 2015, sec. 3.1.2-3).

    Args:
        outputs: Of the batch.
        targets: Of each image.
        settings: See there.
        random: Draw by the targets' seeds; without them from torch's global generator, as torchvision does.
    """
    rows, positive, negative = [], [], []
    for target in targets:
        rows_A = match(box_iou(target.boxes, outputs.anchors), settings.match_high, settings.match_low)
        generator = generator_of(target.seed, 0, rows_A.device) if random else None
        drawn = draw(rows_A, settings.sample, settings.positive_fraction, random, generator)
        rows.append(rows_A)
        positive.append(drawn[0])
        negative.append(drawn[1])
    return AnchorSample(torch.stack(rows), torch.stack(positive), torch.stack(negative))


def anchor_assignment(outputs: RpnOutputs, targets: Sequence[Target], rows_NA: Tensor) -> Assignment:
    """The evidence of a match."""
    overlaps, without = [], 0
    for rows_A, target in zip(rows_NA, targets, strict=True):
        positive = (rows_A >= 0).nonzero().squeeze(1)
        overlap_MP = box_iou(target.boxes, outputs.anchors[positive])
        overlaps.append(overlap_MP[rows_A[positive], torch.arange(len(positive), device=positive.device)])
        without += len(target.labels) - len(rows_A[positive].unique())
    objects = sum(len(target.labels) for target in targets)
    return Assignment(rows_NA, outputs.level_sizes, torch.cat(overlaps), objects, without)


def box_loss(
    offsets: Tensor, anchors: Tensor, boxes: Tensor, kind: str = "smooth_l1", weights: Sequence[float] = UNIT
) -> Tensor:
    """Loss (R,) of `kind` of each box: of its offsets (smooth L1, summed) or of the box itself (IoU family).

    Args:
        offsets: (R, 4), as the network has them.
        anchors: (R, 4) xyxy the offsets start from.
        boxes: (R, 4) xyxy they should lead to.
        kind: "smooth_l1" or a name of `losses.BOX_LOSSES`.
        weights: Of the offsets.
    """
    if kind == "smooth_l1":
        return smooth_l1(offsets, encode(boxes, anchors, weights), BETA).sum(-1)
    of_boxes: Callable[[Tensor, Tensor], Tensor] = BOX_LOSSES[kind]
    return of_boxes(decode(offsets, anchors, weights), boxes)


def rpn_loss(
    outputs: RpnOutputs, targets: Sequence[Target], sample: AnchorSample, kind: str = "smooth_l1"
) -> dict[str, LossTerm]:
    """Cross-entropy of the drawn anchors' objectness, box loss of the objects among them (Ren 2015, eq. 1).

    Both are divided by the number of drawn anchors.
    """
    drawn = sample.positive | sample.negative
    count = drawn.sum().to(torch.float32)
    objectness = binary_cross_entropy_with_logits(
        outputs.objectness[drawn], sample.positive[drawn].to(outputs.objectness.dtype), reduction="sum"
    )
    wanted = torch.cat([t.boxes[r[p]] for t, r, p in zip(targets, sample.rows, sample.positive, strict=True)])
    anchors = outputs.anchors.expand(len(targets), -1, -1)[sample.positive]
    boxes = box_loss(outputs.offsets[sample.positive], anchors, wanted, kind).sum()
    return {"objectness": LossTerm(objectness, count), "proposal_boxes": LossTerm(boxes, count)}
