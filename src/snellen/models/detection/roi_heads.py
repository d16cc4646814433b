"""The second stage of a two-stage detector: what class each region holds, and where exactly it is.

Girshick 2015, "Fast R-CNN" (arXiv:1504.08083), sec. 2; Ren et al. 2015, "Faster R-CNN" (arXiv:1506.01497), sec. 3.2.
Shrivastava et al. 2016, "OHEM" (arXiv:1604.03540), sec. 4: only the regions of largest loss are learnt from.

Parameters bear torchvision's names, and class 0 of the head is background as there: label k of a target is class k + 1.
Shapes: N images of side S, K classes without background, R regions of the batch, M objects of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax
from torchvision.ops import box_iou, clip_boxes_to_image

from snellen.models.detection.base import Found, Target
from snellen.models.detection.parts.box_coder import ROI_WEIGHTS, decode
from snellen.models.detection.parts.dense import suppressed
from snellen.models.detection.parts.fixed import best_kept, rows_of
from snellen.models.detection.parts.matcher import BACKGROUND, match
from snellen.models.detection.parts.roi import Boxes, align_over_levels, flat, level_of, pool_rois, with_image
from snellen.models.detection.parts.roi_align import bag_align
from snellen.models.detection.parts.samplers import generator_of, hardest
from snellen.models.detection.rpn import box_loss, draw
from snellen.models.loss import LossTerm

SMALLEST_SIDE = 1e-2
"""Detections with a side below this many pixels are none."""
CANDIDATES = 2000
"""Pairs of region and class, the best of an image, among which a program of fixed shapes suppresses."""


class RoiSettings(BaseModel):
    """What the second stage learns from; the defaults are torchvision's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match_iou: float = Field(0.5, gt=0, lt=1)
    """IoU from which a region holds an object; below it is background."""
    sample: int = Field(512, ge=1)
    """Regions of an image that the loss is taken over."""
    positive_fraction: float = Field(0.25, gt=0, le=1)
    """Share of objects among them, at most; of a random sample."""
    sampling: Literal["random", "ohem"] = "random"
    """Random, or the `sample` regions of largest loss of all that were proposed."""
    box_loss: Literal["smooth_l1", "iou", "giou", "diou", "ciou"] = "smooth_l1"
    """Of both stages."""


@dataclass(frozen=True)
class Regions:
    """Boxes of a batch, and what the head says of them."""

    boxes: Boxes
    """(R_i, 4) of each image, xyxy input pixels; (N, P, 4) in a program of fixed shapes."""
    logits: Tensor
    """(R, 1 + K), before the softmax; column 0 is background."""
    offsets: Tensor
    """(R, (1 + K) * 4), a group of four for each class; (R, 4) where one serves all classes."""


@dataclass(frozen=True)
class RegionSample:
    """Which object each region of a batch stands for."""

    boxes: list[Tensor]
    """(R_i, 4) of each image, xyxy input pixels."""
    rows: list[Tensor]
    """(R_i,) int64 of each image: row of the object, -1 background."""


class RegionPool(nn.Module):
    """A grid of features of each box: RoI align from the level that fits its size, or RoI pooling from one map."""

    def __init__(self, strides: Sequence[int], size: int, kind: Literal["align", "max"] = "align") -> None:
        """`strides`: of the levels that are read, finest first; `size`: cells along a side of the grid."""
        super().__init__()
        self.strides = tuple(strides)
        self.size = size
        self.kind = kind

    def forward(self, maps: Sequence[Tensor], boxes: Boxes) -> Tensor:
        """Maps NCHW and boxes (R_i, 4) of each image -> (R, C, size, size)."""
        if self.kind == "max":
            return pool_rois(maps[0], boxes, self.size, self.strides[0])
        maps = maps[: len(self.strides)]
        # What is written to a file is to have the operator that other programs know.
        if maps[0].device.type == "cpu" and not torch.compiler.is_exporting():
            rois = with_image(boxes)
            return bag_align(maps, self.strides, rois, level_of(rois[:, 1:], self.strides), self.size)
        return align_over_levels(maps, self.strides, boxes, self.size)


class TwoMlpHead(nn.Module):
    """Two fully connected layers (Fast R-CNN's fc6 and fc7)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(inputs, width)
        self.fc7 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, G, G) -> (R, width)."""
        return self.fc7(self.fc6(x.flatten(1)).relu()).relu()


class BoxPredictor(nn.Module):
    """Classes and offsets, side by side (Girshick 2015, sec. 2.1)."""

    def __init__(self, inputs: int, num_classes: int, boxes: int | None = None) -> None:
        """`boxes`: groups of offsets; None: one for each class and background."""
        super().__init__()
        self.cls_score = nn.Linear(inputs, num_classes + 1)
        self.bbox_pred = nn.Linear(inputs, 4 * (num_classes + 1 if boxes is None else boxes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, inputs) -> logits (R, 1 + K), offsets (R, groups * 4)."""
        return self.cls_score(x), self.bbox_pred(x)


class RoiHeads(nn.Module):
    """Pooling, two layers, and the predictor."""

    def __init__(self, pool: RegionPool, width: int, num_classes: int, hidden: int) -> None:
        """`width`: channels of the maps; `hidden`: of the two layers."""
        super().__init__()
        self.pool = pool
        self.box_head = TwoMlpHead(width * pool.size**2, hidden)
        self.box_predictor = BoxPredictor(hidden, num_classes)

    def forward(self, maps: Sequence[Tensor], boxes: Boxes) -> Regions:
        """Maps and boxes of each image -> what the head says of each box."""
        logits, offsets = self.box_predictor(self.box_head(self.pool(maps, boxes)))
        return Regions(boxes, logits.float(), offsets.float())


@torch.no_grad()
def match_regions(
    proposals: Sequence[Tensor], targets: Sequence[Target], match_iou: float, add_objects: bool = True
) -> RegionSample:
    """Give each proposal the object it overlaps most, or background (Ren 2015, sec. 3.2; Girshick 2015, sec. 2.3).

    With `add_objects`, the objects themselves are proposals, too: else a first stage that finds nothing yet would leave
    the second nothing to learn from.
    """
    boxes, rows = [], []
    for proposed, target in zip(proposals, targets, strict=True):
        all_boxes = torch.cat([proposed, target.boxes.to(proposed.dtype)]) if add_objects else proposed
        boxes.append(all_boxes)
        rows.append(match(box_iou(target.boxes, all_boxes), match_iou, match_iou, keep_best=False))
    return RegionSample(boxes, rows)


@torch.no_grad()
def draw_regions(
    sample: RegionSample, targets: Sequence[Target], count: int, positive_fraction: float, random: bool
) -> RegionSample:
    """At most `count` regions of each image.

    `random` draws by the targets' seeds; without them from torch's global generator, as torchvision does.
    """
    kept = []
    for rows, target in zip(sample.rows, targets, strict=True):
        generator = generator_of(target.seed, 1, rows.device) if random else None
        positive, negative = draw(rows, count, positive_fraction, random, generator)
        kept.append((positive | negative).nonzero().squeeze(1))
    return _taken(sample, kept)


@torch.no_grad()
def hardest_regions(
    regions: Regions, targets: Sequence[Target], sample: RegionSample, count: int, kind: str
) -> RegionSample:
    """The `count` regions of largest loss of each image (Shrivastava 2016, sec. 4.2), from a pass without gradient."""
    labels = region_labels(sample, targets)
    loss = cross_entropy(regions.logits, labels, reduction="none")
    positive = (labels > 0).nonzero().squeeze(1)
    wanted = region_targets(sample, targets)
    own = own_offsets(regions.offsets, labels)
    anchors = torch.cat(sample.boxes)
    loss[positive] += box_loss(own[positive], anchors[positive], wanted, kind, ROI_WEIGHTS)
    parts = loss.split([len(b) for b in sample.boxes])
    return _taken(sample, [hardest(part, b, count) for part, b in zip(parts, sample.boxes, strict=True)])


def _taken(sample: RegionSample, kept: Sequence[Tensor]) -> RegionSample:
    boxes = [b[k] for b, k in zip(sample.boxes, kept, strict=True)]
    return RegionSample(boxes, [r[k] for r, k in zip(sample.rows, kept, strict=True)])


def region_labels(sample: RegionSample, targets: Sequence[Target]) -> Tensor:
    """Class (R,) int64 of each region, 0 background."""
    labels = []
    for rows, target in zip(sample.rows, targets, strict=True):
        known = torch.cat([target.labels + 1, target.labels.new_zeros(1)])  # row -1, background, is the last
        labels.append(known[rows])
    return torch.cat(labels)


def region_targets(sample: RegionSample, targets: Sequence[Target]) -> Tensor:
    """Boxes (P, 4) of the objects of the regions that hold one."""
    return torch.cat([t.boxes[rows[rows > BACKGROUND]] for t, rows in zip(targets, sample.rows, strict=True)])


def own_offsets(offsets: Tensor, labels: Tensor) -> Tensor:
    """(R, groups * 4) -> (R, 4): the group of each region's class; the only one where one serves all classes."""
    groups = offsets.unflatten(1, (offsets.shape[1] // 4, 4))
    if groups.shape[1] == 1:
        return groups[:, 0]
    return groups[torch.arange(len(labels), device=labels.device), labels]


def region_loss(
    regions: Regions,
    targets: Sequence[Target],
    sample: RegionSample,
    kind: str = "smooth_l1",
    weights: Sequence[float] = ROI_WEIGHTS,
) -> dict[str, LossTerm]:
    """Cross-entropy of the classes, box loss of the regions that hold an object (Girshick 2015, eq. 1).

    Both are divided by the number of regions.
    """
    labels = region_labels(sample, targets)
    count = torch.tensor(float(len(labels)), device=labels.device)
    positive = (labels > 0).nonzero().squeeze(1)
    own = own_offsets(regions.offsets[positive], labels[positive])
    anchors = torch.cat(sample.boxes)[positive]
    boxes = box_loss(own, anchors, region_targets(sample, targets), kind, weights).sum()
    return {
        "classes": LossTerm(cross_entropy(regions.logits, labels, reduction="sum"), count),
        "boxes": LossTerm(boxes, count),
    }


@torch.no_grad()
def detections(
    regions: Regions,
    image_size: int,
    *,
    min_score: float,
    nms_iou: float,
    limit: int,
    weights: Sequence[float] = ROI_WEIGHTS,
) -> list[Found]:
    """Every class of every region that reaches `min_score`, decoded, cut and suppressed within each class.

    Args:
        regions: Of the batch.
        image_size: Side of the images in pixels.
        min_score: Lowest probability of a detection.
        nms_iou: Detections of a class that overlap a better one by more are dropped.
        limit: Detections of an image, at most.
        weights: Of the offsets.
    """
    known = softmax(regions.logits, dim=1)
    sizes = [len(b) for b in regions.boxes]
    found = []
    for boxes, scores_RK, offsets in zip(
        regions.boxes, known[:, 1:].split(sizes), regions.offsets.split(sizes), strict=True
    ):
        rows, labels = (scores_RK >= min_score).nonzero(as_tuple=True)
        # Only what may be kept is decoded: of a thousand regions and ninety classes, a few hundred pairs.
        decoded = decode(own_offsets(offsets[rows], labels + 1), boxes[rows], weights)
        decoded = clip_boxes_to_image(decoded, (image_size, image_size))
        real = (decoded[:, 2:] - decoded[:, :2] >= SMALLEST_SIDE).all(1)
        scores = scores_RK[rows, labels][real]
        found.append(suppressed(decoded[real], scores, labels[real], image_size, nms_iou, limit))
    return found


@torch.no_grad()
def detections_fixed(
    regions: Regions, real_NP: Tensor, image_size: int, *, nms_iou: float, limit: int, weights: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """`detections` of any score by fixed shapes: boxes (N, D, 4), scores (N, D), labels (N, D), best first.

    D is `limit`. Where there are fewer detections, the rest has score 0, label -1 and a box of zeros. Only the
    `CANDIDATES` best pairs of region and class are looked at; all others score less.

    Args:
        regions: Of the batch, the same number of each image.
        real_NP: Which of them are any.
        image_size: Side of the images in pixels.
        nms_iou: As of `detections`.
        limit: Detections of an image.
        weights: Of the offsets.
    """
    n, regions_each = real_NP.shape
    scores_NPK = softmax(regions.logits, dim=1)[:, 1:].reshape(n, regions_each, -1) * real_NP[..., None]
    classes = scores_NPK.shape[2]
    scores_NC, pairs_NC = scores_NPK.flatten(1).topk(min(CANDIDATES, regions_each * classes), dim=1)
    region_NC, label_NC = pairs_NC // classes, pairs_NC % classes
    groups = regions.offsets.shape[1] // 4
    group_NC = region_NC * groups + (label_NC + 1 if groups > 1 else 0)
    offsets_NC4 = rows_of(regions.offsets.reshape(n, regions_each * groups, 4), group_NC)
    proposals_NP4 = flat(regions.boxes).reshape(n, regions_each, 4)
    boxes_NC4 = decode(offsets_NC4, rows_of(proposals_NP4, region_NC), weights)
    boxes_NC4 = clip_boxes_to_image(boxes_NC4, (image_size, image_size))
    real_NC = (boxes_NC4[..., 2:] - boxes_NC4[..., :2] >= SMALLEST_SIDE).all(-1)
    scores_NC = torch.where(real_NC, scores_NC, 0.0)
    rows_ND, scores_ND = best_kept(boxes_NC4, scores_NC, label_NC, classes, image_size, nms_iou, limit)
    found_ND = scores_ND > 0
    boxes_ND4 = torch.where(found_ND[..., None], rows_of(boxes_NC4, rows_ND), 0.0)
    return boxes_ND4, scores_ND, torch.where(found_ND, label_NC.gather(1, rows_ND), -1)
