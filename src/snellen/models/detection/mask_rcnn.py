"""Mask R-CNN: Faster R-CNN with a third head that draws the object of each region.

He et al. 2017, "Mask R-CNN" (arXiv:1703.06870), sec. 3 and fig. 4 (right): a small fully convolutional network draws a
mask of each class, which do not compete; the class comes from the box head.

Parameters bear torchvision's names. Shapes: N images of side S, K classes, P regions with an object, D detections,
G cells along a side of a mask (28).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, pad
from torchvision.ops import roi_align

from snellen.errors import UseError
from snellen.models.detection.base import Assignment, Found, Target
from snellen.models.detection.faster_rcnn import FasterRcnn, TwoStageOutputs, faster_rcnn_loss, parts
from snellen.models.detection.fpn import PyramidBackbone, accept_old_names
from snellen.models.detection.parts.roi import Boxes
from snellen.models.detection.roi_heads import RegionPool, RegionSample, RoiHeads, RoiSettings
from snellen.models.detection.rpn import Rpn
from snellen.models.loss import LossTerm

POOL = 14
"""Cells along a side of what the mask head reads; it draws twice as many (He 2017, fig. 4)."""


@dataclass(frozen=True)
class MaskOutputs(TwoStageOutputs):
    """Raw output of a batch, with masks."""

    drawn: Tensor | None = None
    """(P, 1 + K, G, G) logits, of the regions that hold an object; None without targets."""


class MaskPredictor(nn.Sequential):
    """A transposed convolution that doubles the side, then a mask of each class and of background."""

    def __init__(self, inputs: int, width: int, num_classes: int) -> None:
        layers = OrderedDict[str, nn.Module]()
        layers["conv5_mask"] = nn.ConvTranspose2d(inputs, width, 2, 2)
        layers["relu"] = nn.ReLU(inplace=True)
        layers["mask_fcn_logits"] = nn.Conv2d(width, num_classes + 1, 1)
        super().__init__(layers)
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)


class MaskRoiHeads(RoiHeads):
    """The box head and, beside it, the mask head."""

    def __init__(self, pool: RegionPool, width: int, num_classes: int, hidden: int, layers: int, drawn: int) -> None:
        """`layers`: 3x3 convolutions of the mask head; `drawn`: their channels."""
        super().__init__(pool, width, num_classes, hidden)
        self.mask_pool = RegionPool(pool.strides, POOL)
        widths = [width, *[drawn] * layers]
        self.mask_head = nn.Sequential(*(_conv(a, b) for a, b in pairwise(widths)))
        self.mask_predictor = MaskPredictor(drawn, drawn, num_classes)
        accept_old_names(self.mask_head, {f"mask_fcn{i + 1}": f"{i}.0" for i in range(layers)})

    def masks(self, maps: Sequence[Tensor], boxes: Boxes) -> Tensor:
        """Maps and boxes of each image -> mask logits (boxes, 1 + K, G, G)."""
        logits: Tensor = self.mask_predictor(self.mask_head(self.mask_pool(maps, boxes)))
        return logits.float()


class MaskRcnn(FasterRcnn):
    """Faster R-CNN that draws what it finds."""

    roi_heads: MaskRoiHeads

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        backbone: PyramidBackbone,
        rpn: Rpn,
        roi_heads: MaskRoiHeads,
        settings: RoiSettings,
    ) -> None:
        super().__init__(num_classes, image_size, backbone, rpn, roi_heads, settings)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> MaskOutputs:
        """As Faster R-CNN; with targets the masks of the regions that hold an object, too.

        What is found is drawn by `detect`: before, nobody knows which regions it will be.
        """
        outputs = super().forward(x, targets)
        drawn = None
        if outputs.samples:
            drawn = self.roi_heads.masks(outputs.maps, _positive(outputs.samples[0])[0])
        return MaskOutputs(**vars(outputs), drawn=drawn)

    def loss(
        self, outputs: TwoStageOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """The terms of Faster R-CNN and `mask_loss`."""
        terms = faster_rcnn_loss(outputs, targets, self.settings.box_loss)
        assert isinstance(outputs, MaskOutputs)
        assert outputs.drawn is not None
        return terms | {"masks": mask_loss(outputs.drawn, targets, outputs.samples[0])}

    @torch.no_grad()
    def detect(
        self, outputs: TwoStageOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """As Faster R-CNN, with a mask (D, S, S) bool of each detection."""
        found = super().detect(outputs, min_score=min_score, nms_iou=nms_iou, limit=limit)
        drawn = self._drawn_in(outputs.maps, [f.boxes for f in found], torch.cat([f.labels for f in found]))
        pasted = []
        for f, cells in zip(found, drawn.split([len(f.boxes) for f in found]), strict=True):
            masks = paste_masks(cells, f.boxes, self.image_size)
            pasted.append(Found(f.boxes, f.scores, f.labels, masks))
        return pasted

    @torch.no_grad()
    def program(self, x: Tensor, *, nms_iou: float = 0.5, limit: int = 100) -> dict[str, Tensor]:
        """As Faster R-CNN; and masks (N, D, G, G) in 0..1, each of its own box."""
        maps, found = self._program(x, nms_iou, limit)
        labels_ND = found["labels"]
        drawn = self._drawn_in(maps, found["boxes"], labels_ND.flatten().clamp(min=0))
        masks_NDGG = drawn.reshape(*labels_ND.shape, *drawn.shape[1:])
        return found | {"masks": torch.where((labels_ND >= 0)[..., None, None], masks_NDGG, 0.0)}

    @torch.no_grad()
    def program_rows(
        self, outputs: TwoStageOutputs, *, nms_iou: float = 0.5, limit: int = 100
    ) -> list[dict[str, Tensor]]:
        """As Faster R-CNN; and masks (D, G, G) of each image."""
        listed = super().program_rows(outputs, nms_iou=nms_iou, limit=limit)
        boxes, labels = [rows["boxes"] for rows in listed], torch.cat([rows["labels"] for rows in listed])
        drawn = self._drawn_in(outputs.maps, boxes, labels).split([len(b) for b in boxes])
        return [rows | {"masks": masks} for rows, masks in zip(listed, drawn, strict=True)]

    def _drawn_in(self, maps: Sequence[Tensor], boxes: Boxes, labels_R: Tensor) -> Tensor:
        """Masks (R, G, G) in 0..1, each of its own box and class."""
        logits = self.roi_heads.masks(maps, boxes)
        return logits[torch.arange(logits.shape[0], device=logits.device), labels_R + 1].sigmoid()


def mask_loss(logits: Tensor, targets: Sequence[Target], sample: RegionSample) -> LossTerm:
    """Cross-entropy of each cell of the mask of a region's own class, averaged over cells (He 2017, sec. 3).

    Args:
        logits: (P, 1 + K, G, G) of the regions that hold an object, image by image.
        targets: With masks.
        sample: Of the regions, those without an object among them.

    Raises:
        UseError: an image with objects and without masks.
    """
    wanted, labels = [], []
    for target, boxes, rows in zip(targets, *_positive(sample), strict=True):
        if not len(rows):
            continue
        if target.masks is None:
            raise UseError("Mask R-CNN learns from masks, and this dataset draws none: train another detector")
        labels.append(target.labels[rows] + 1)
        wanted.append(cut_masks(target.masks, boxes, rows, logits.shape[-1]))
    count = torch.tensor(float(len(logits)), device=logits.device)
    if not labels:
        return LossTerm(logits.sum() * 0, count)
    label = torch.cat(labels)
    own = logits[torch.arange(len(label), device=label.device), label]
    total = binary_cross_entropy_with_logits(own, torch.cat(wanted), reduction="sum")
    return LossTerm(total / logits.shape[-1] ** 2, count)


def cut_masks(masks: Tensor, boxes: Tensor, rows: Tensor, size: int) -> Tensor:
    """What of its object's mask each box shows, (P, size, size) in 0..1, by RoI align.

    Args:
        masks: (M, S, S) bool of the objects of an image.
        boxes: (P, 4) xyxy.
        rows: (P,) int64, object of each box.
        size: Cells along a side.
    """
    rois = torch.cat([rows.to(boxes.dtype)[:, None], boxes], dim=1)
    cut: Tensor = roi_align(masks[:, None].to(boxes.dtype), rois, size, 1.0, -1)
    return cut[:, 0]


@torch.no_grad()
def paste_masks(masks: Tensor, boxes: Tensor, image_size: int, threshold: float = 0.5) -> Tensor:
    """Masks of boxes as masks of the image, (D, S, S) bool: enlarged to the box, true above `threshold`.

    The masks get a rim of zeros and the boxes grow with it, so that what is drawn may end within the box's edge; boxes
    are cut to whole pixels first. Both as torchvision does.

    Args:
        masks: (D, G, G) in 0..1.
        boxes: (D, 4) xyxy.
        image_size: Side of the images in pixels.
        threshold: He 2017, sec. 3.1: 0.5.
    """
    grown = masks.shape[-1] + 2
    rimmed = pad(masks, (1, 1, 1, 1))
    centre, half = (boxes[:, 2:] + boxes[:, :2]) * 0.5, (boxes[:, 2:] - boxes[:, :2]) * 0.5
    half = half * (grown / masks.shape[-1])
    corners = torch.cat([centre - half, centre + half], dim=1).to(torch.int64).tolist()
    pasted = torch.zeros((len(masks), image_size, image_size), dtype=torch.bool, device=masks.device)
    for out, mask, (x1, y1, x2, y2) in zip(pasted, rimmed, corners, strict=True):
        size = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
        full = interpolate(mask[None, None], size=size, mode="bilinear", align_corners=False)[0, 0] > threshold
        left, top = max(x1, 0), max(y1, 0)
        right, bottom = min(x2 + 1, image_size), min(y2 + 1, image_size)
        out[top:bottom, left:right] = full[top - y1 : bottom - y1, left - x1 : right - x1]
    return pasted


def _positive(sample: RegionSample) -> tuple[list[Tensor], list[Tensor]]:
    """Boxes and object rows of the regions of each image that hold an object."""
    chosen = [rows >= 0 for rows in sample.rows]
    boxes = [b[c] for b, c in zip(sample.boxes, chosen, strict=True)]
    return boxes, [rows[c] for rows, c in zip(sample.rows, chosen, strict=True)]


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Any = None,
    **options: Any,
) -> MaskRcnn:
    """Mask R-CNN on a feature pyramid; arguments as of `faster_rcnn.parts`."""
    net, rpn, heads, settings = parts(num_classes, image_size, backbone, pretrained, anchors, pyramid=True, **options)
    assert isinstance(net, PyramidBackbone)
    hidden = heads.box_head.fc7.out_features
    layers, drawn = (2, 64) if backbone is None else (4, 256)
    drawing = MaskRoiHeads(heads.pool, net.width, num_classes, hidden, layers, drawn)
    return MaskRcnn(num_classes, image_size, net, rpn, drawing, settings)
