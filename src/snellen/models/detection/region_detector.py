"""What detectors share that are given their regions: proposals, which of them a loss is taken over, linear SVMs.

Girshick et al. 2014, "R-CNN" (arXiv:1311.2524), sec. 2; He et al. 2014, "SPP-net" (arXiv:1406.4729), sec. 4;
Girshick 2015, "Fast R-CNN" (arXiv:1504.08083), sec. 2.3.

Shapes: N images of side S, K classes, P proposals of an image, R regions of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import relu
from torchvision.ops import box_iou, clip_boxes_to_image

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.parts.box_coder import ROI_WEIGHTS, decode, encode
from snellen.models.detection.parts.dense import suppressed
from snellen.models.detection.parts.losses import smooth_l1
from snellen.models.detection.parts.matcher import IGNORED, match
from snellen.models.detection.proposals import FAST, SMALL, ProposalSource, SelectiveSearch
from snellen.models.detection.roi_heads import RegionSample, draw_regions, own_offsets, region_labels, region_targets
from snellen.models.loss import LossTerm

MARGIN_SCORE = 4.0
"""A decision value v of an SVM is given as the score sigmoid(4 v): a background at its margin, v = -1, has 0.018, just
below what detections are kept from by default. It is no probability."""


class RegionSettings(BaseModel):
    """Which proposals are looked at, and which are learnt from; the defaults are Fast R-CNN's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposals: int = Field(2000, ge=1)
    """Proposals of an image, at most."""
    match_iou: float = Field(0.5, gt=0, lt=1)
    """IoU from which a region holds an object."""
    background_low: float = Field(0.1, ge=0, lt=1)
    """Regions that overlap objects by less are left out, as too easy. At 0 all below `match_iou` are background."""
    sample: int = Field(64, ge=1)
    """Regions of an image that the loss is taken over: the paper's 128 of two images."""
    positive_fraction: float = Field(0.25, gt=0, le=1)
    """Share of objects among them, at most."""


@dataclass(frozen=True)
class Scored:
    """Boxes of a batch, and what the head says of them."""

    boxes: list[Tensor]
    """(R_i, 4) of each image, xyxy input pixels."""
    logits: Tensor
    """(R, 1 + K) before the softmax, column 0 background; of SVMs (R, K) decision values."""
    offsets: Tensor
    """(R, groups * 4): a group of four for each column of the logits."""


@dataclass(frozen=True)
class RegionOutputs:
    """Raw output of a batch."""

    proposals: list[Tensor]
    """(P_i, 4) of each image, xyxy input pixels."""
    regions: Scored | None
    """The proposals, scored: None in training with targets."""
    learnt: Scored | None
    """What is learnt from; None without targets."""
    sample: RegionSample | None
    """Which objects those regions stand for."""


class RegionDetector(Detector):
    """A detector that looks at regions it is given, by default those of selective search."""

    needs_targets: ClassVar[bool] = True
    regions_from_outside: ClassVar[bool] = True
    """What it looks at is not found by its own layers, so that it cannot be written to a file as a whole."""

    def __init__(
        self, num_classes: int, image_size: int, settings: RegionSettings, source: ProposalSource | None = None
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.settings = settings
        self.source = source or SelectiveSearch(SMALL if image_size <= 256 else FAST, limit=settings.proposals)

    def score(self, x: Tensor, boxes: Sequence[Tensor]) -> Scored:
        """x_NCHW, and boxes (R_i, 4) of each image -> what the head says of them."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, targets: Sequence[Target] | None = None, proposals: Sequence[Tensor] | None = None
    ) -> RegionOutputs:
        """x_NCHW, normalised -> raw outputs.

        Args:
            x: The batch.
            targets: Regions are drawn to learn from, the objects themselves among them; at random in training.
            proposals: (P_i, 4) of each image, xyxy input pixels; None: the source of the detector makes them.
        """
        if proposals is None:
            proposals = [self.source(image)[: self.settings.proposals] for image in x]
        proposals = list(proposals)
        regions = None if self.training and targets is not None else self.score(x, proposals)
        if targets is None:
            return RegionOutputs(proposals, regions, None, None)
        matched = match_proposals(proposals, targets, self.settings)
        settings = self.settings
        sample = draw_regions(matched, targets, settings.sample, settings.positive_fraction, self.training)
        return RegionOutputs(proposals, regions, self.score(x, sample.boxes), sample)

    def assign(self, outputs: RegionOutputs, targets: Sequence[Target]) -> Assignment:
        """Which proposals answer for which objects; images with fewer proposals than others are filled with -2."""
        matched = match_proposals(outputs.proposals, targets, self.settings, add_objects=False)
        most = max(len(rows) for rows in matched.rows)
        filled = [torch.cat([r, r.new_full((most - len(r),), IGNORED)]) for r in matched.rows]
        overlaps, without = [], 0
        for boxes, rows, target in zip(matched.boxes, matched.rows, targets, strict=True):
            positive = rows >= 0
            iou = box_iou(target.boxes, boxes[positive])
            overlaps.append(iou[rows[positive], torch.arange(iou.shape[1], device=iou.device)])
            without += len(target.labels) - len(rows[positive].unique())
        return Assignment(
            rows=torch.stack(filled),
            level_sizes=(most,),
            matched_iou=torch.cat(overlaps),
            objects=sum(len(target.labels) for target in targets),
            objects_without_positive=without,
        )


@torch.no_grad()
def match_proposals(
    proposals: Sequence[Tensor], targets: Sequence[Target], settings: RegionSettings, add_objects: bool = True
) -> RegionSample:
    """Give each proposal an object's row, -1 for background, -2 for what is left out (Girshick 2015, sec. 2.3).

    With `add_objects` the objects themselves are among the proposals.
    """
    boxes, rows = [], []
    for proposed, target in zip(proposals, targets, strict=True):
        proposed = proposed.to(target.boxes)
        all_boxes = torch.cat([proposed, target.boxes]) if add_objects else proposed
        iou_MP = box_iou(target.boxes, all_boxes)
        matched = match(iou_MP, settings.match_iou, settings.match_iou, keep_best=False)
        if len(iou_MP):  # in an image without objects all is background
            matched[iou_MP.amax(0) < settings.background_low] = IGNORED
        boxes.append(all_boxes)
        rows.append(matched)
    return RegionSample(boxes, rows)


def svm_loss(learnt: Scored, targets: Sequence[Target], sample: RegionSample) -> dict[str, LossTerm]:
    """Linear SVMs, one class against all else, and the box regression of the region's class.

    classes: sum over the classes of max(0, 1 - y v), y = 1 where the region holds the class, else -1; per region.
    boxes: smooth L1 of the offsets, of regions that hold an object; per region.
    """
    labels = region_labels(sample, targets)
    count = torch.tensor(float(len(labels)), device=labels.device)
    signs = torch.full_like(learnt.logits, -1.0)
    positive = (labels > 0).nonzero().squeeze(1)
    signs[positive, labels[positive] - 1] = 1.0
    hinge = relu(1 - signs * learnt.logits).sum()
    own = own_offsets(learnt.offsets[positive], labels[positive] - 1)
    wanted = encode(region_targets(sample, targets), torch.cat(sample.boxes)[positive], ROI_WEIGHTS)
    return {"classes": LossTerm(hinge, count), "boxes": LossTerm(smooth_l1(own, wanted).sum(), count)}


@torch.no_grad()
def svm_detections(regions: Scored, image_size: int, *, min_score: float, nms_iou: float, limit: int) -> list[Found]:
    """Every class of every region whose score reaches `min_score`, decoded, cut and suppressed within each class."""
    sizes = [len(b) for b in regions.boxes]
    found = []
    for boxes, scores_RK, offsets in zip(
        regions.boxes, (MARGIN_SCORE * regions.logits).sigmoid().split(sizes), regions.offsets.split(sizes), strict=True
    ):
        rows, labels = (scores_RK >= min_score).nonzero(as_tuple=True)
        decoded = decode(own_offsets(offsets[rows], labels), boxes[rows], ROI_WEIGHTS)
        decoded = clip_boxes_to_image(decoded, (image_size, image_size))
        real = (decoded[:, 2:] > decoded[:, :2]).all(1)
        found.append(suppressed(decoded[real], scores_RK[rows, labels][real], labels[real], image_size, nms_iou, limit))
    return found


class SvmDetector(RegionDetector):
    """A detector whose classes are linear SVMs on features of regions.

    The papers train them after the network, on features written to disk; here the hinge loss is a head like any other
    and is trained with what makes the features, where that is trained at all.
    """

    def loss(
        self, outputs: RegionOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `svm_loss`; `assignment` is not needed, what was drawn stands in the outputs."""
        return svm_loss(*learnt_of(outputs, targets))

    @torch.no_grad()
    def detect(
        self, outputs: RegionOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Detections of each image: scores of at least `min_score`, suppressed within each class, at most `limit`."""
        regions = regions_of(outputs)
        return svm_detections(regions, self.image_size, min_score=min_score, nms_iou=nms_iou, limit=limit)


def learnt_of(outputs: RegionOutputs, targets: Sequence[Target]) -> tuple[Scored, Sequence[Target], RegionSample]:
    """Arguments of a loss; raises ValueError when the outputs were made without targets."""
    if outputs.learnt is None or outputs.sample is None:
        raise ValueError("a loss over regions wants outputs that were made with targets")
    return outputs.learnt, targets, outputs.sample


def regions_of(outputs: RegionOutputs) -> Scored:
    """The scored proposals; raises ValueError where there are none."""
    if outputs.regions is None:
        raise ValueError("detections are made of outputs in evaluation, or without targets")
    return outputs.regions


def settings_of(own: RegionSettings, options: dict[str, Any]) -> RegionSettings:
    """`own` with `options` put in; an unknown or impossible one is a ValidationError."""
    return own.model_copy(update=RegionSettings(**options).model_dump(include=set(options)))
