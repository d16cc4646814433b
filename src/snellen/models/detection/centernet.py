"""CenterNet: an object is the peak of a heat map, its size and offset are read there; no anchors, no suppression.

Zhou et al. 2019, "Objects as Points" (arXiv:1904.07850): sec. 3 for the maps and losses (eq. 1-4), sec. 4 for
decoding, sec. 5 for the layers: a backbone brought back to stride 4. The radius of an object's peak is that of Law &
Deng 2018, "CornerNet" (arXiv:1808.01244), sec. 3.2: as far as a box may slip and still overlap the object by `OVERLAP`.

Shapes: N images, C channels, h w cells of the map (image side / 4), A = h w, K classes, P centres, M objects.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, max_pool2d
from torchvision.ops import box_iou

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.parts.dense import by_anchor, positives, suppressed
from snellen.models.detection.parts.matcher import BACKGROUND
from snellen.models.detection.parts.pyramid import PyramidMaps
from snellen.models.features import features
from snellen.models.loss import LossTerm

STRIDES = (4, 8, 16, 32)
STRIDE = STRIDES[0]
"""Of the heat map (sec. 3: "output stride R = 4")."""
PRIOR = 0.1
"""Heat at the start (the authors' bias of -2.19)."""
ALPHA, BETA = 2.0, 4.0
"""Of the focal loss (eq. 1): how little easy cells count, and cells near a centre."""
SIZE_WEIGHT = 0.1
"""Of the size's loss, in cells (eq. 4)."""
OVERLAP = 0.7
"""IoU with the object down to which a box about a neighbouring cell is hardly a mistake (the authors' code)."""
PEAKS = 100
"""Kept of each image at most (sec. 4)."""


@dataclass(frozen=True)
class HeatOutputs:
    """Raw output of a batch."""

    heat: Tensor
    """(N, K, h, w), before the sigmoid."""
    sizes: Tensor
    """(N, A, 2): width and height in cells."""
    shifts: Tensor
    """(N, A, 2): from the cell's corner to the centre, across and down, in cells."""


class HeatHead(nn.Sequential):
    """A 3x3 convolution and one that predicts (sec. 5)."""

    def __init__(self, width: int, hidden: int, outputs: int, bias: float = 0.0) -> None:
        last = nn.Conv2d(hidden, outputs, 1)
        super().__init__(nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU(inplace=True), last)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]


class CenterNet(Detector):
    """A map of stride 4 and three heads: heat of each class, size, offset.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: A timm or torchvision classifier; None: the small network of our own.
        pretrained: Published weights of the backbone.
        width: Channels of the map and of the heads.
    """

    def __init__(
        self, num_classes: int, *, image_size: int, backbone: str | None = None, pretrained: bool = False, width: int
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        body = features(backbone, STRIDES, pretrained)
        self.backbone = PyramidMaps(body, body.channels, width, [0])
        self.heat_head = HeatHead(width, width, num_classes, -math.log((1 - PRIOR) / PRIOR))
        self.size_head = HeatHead(width, width, 2)
        self.shift_head = HeatHead(width, width, 2)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> HeatOutputs:
        """x_NCHW, normalised -> heat, sizes and offsets of every cell."""
        (feature,) = self.backbone(x)
        sizes, shifts = by_anchor(self.size_head(feature), 2), by_anchor(self.shift_head(feature), 2)
        return HeatOutputs(self.heat_head(feature).float(), sizes.float(), shifts.float())

    def assign(self, outputs: HeatOutputs, targets: Sequence[Target]) -> Assignment:
        """As `assign`."""
        return assign(outputs, targets)

    def loss(
        self, outputs: HeatOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """As `centernet_loss`."""
        return centernet_loss(outputs, targets, assignment or assign(outputs, targets))

    @torch.no_grad()
    def detect(
        self, outputs: HeatOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Cells hotter than their eight neighbours, the `PEAKS` best of at least `min_score` (sec. 4).

        The paper leaves it at that; what still overlaps by more than `nms_iou` within a class is suppressed, too: 1
        lets all stay.
        """
        heat_NKhw = outputs.heat.sigmoid()
        peak_NKhw = heat_NKhw * (heat_NKhw == max_pool2d(heat_NKhw, 3, 1, 1))
        cells = heat_NKhw.shape[2] * heat_NKhw.shape[3]
        found = []
        for image, peaks in enumerate(peak_NKhw.flatten(1)):
            scores, places = peaks.topk(min(PEAKS, len(peaks)))
            places = places[scores >= min_score]
            labels, rows = places // cells, places % cells
            boxes = _boxes(outputs, image, rows)
            found.append(suppressed(boxes, scores[scores >= min_score], labels, self.image_size, nms_iou, limit))
        return found

    def decoded(self, outputs: HeatOutputs) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K): 0 where a neighbouring cell is hotter."""
        heat_NKhw = outputs.heat.sigmoid()
        peak_NKhw = heat_NKhw * (heat_NKhw == max_pool2d(heat_NKhw, 3, 1, 1))
        height, width = heat_NKhw.shape[2:]
        ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        corner_A2 = torch.stack([xs, ys], dim=-1).reshape(-1, 2).to(outputs.shifts.device)
        centre, half = corner_A2 + outputs.shifts, outputs.sizes / 2
        return torch.cat([centre - half, centre + half], dim=-1) * STRIDE, peak_NKhw.flatten(2).transpose(1, 2)

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the heads, no anchor sides)."""
        return [("backbone.neck.smooth.0", [])]


def _boxes(outputs: HeatOutputs, image: int, rows: Tensor) -> Tensor:
    """(len(rows), 4) xyxy input pixels of what the cells say (sec. 4)."""
    across = outputs.heat.shape[3]
    corner = torch.stack([rows % across, rows // across], dim=1)
    centre, half = corner + outputs.shifts[image, rows], outputs.sizes[image, rows] / 2
    return torch.cat([centre - half, centre + half], dim=1) * STRIDE


def _centres(boxes_M4: Tensor, height: int, width: int) -> Tensor:
    """(M, 2) int64: column and row of the cell that holds each object's centre."""
    cell = ((boxes_M4[:, :2] + boxes_M4[:, 2:]) / (2 * STRIDE)).floor().long()
    return cell.clamp(min=0).minimum(cell.new_tensor([width - 1, height - 1]))


@torch.no_grad()
def assign(outputs: HeatOutputs, targets: Sequence[Target]) -> Assignment:
    """The cell that holds an object's centre answers for it; of several in one cell the smallest (sec. 3).

    A cell has no box of its own, so the IoU handed out is that of the box it predicts.
    """
    height, width = outputs.heat.shape[2:]
    matched, overlaps, without = [], [], 0
    for image, target in enumerate(targets):
        rows_A = torch.full((height * width,), BACKGROUND, dtype=torch.int64, device=outputs.heat.device)
        if len(target.boxes):
            column, row = _centres(target.boxes, height, width).unbind(1)
            area_M = (target.boxes[:, 2:] - target.boxes[:, :2]).prod(dim=1)
            order = area_M.argsort(descending=True, stable=True)
            place_M = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
            # The highest place is the smallest object's, whatever the order of writing.
            best_A = rows_A.scatter_reduce(0, row * width + column, place_M, "amax")
            rows_A = torch.where(best_A >= 0, order[best_A.clamp(min=0)], BACKGROUND)
        positive = (rows_A >= 0).nonzero().squeeze(1)
        said = box_iou(_boxes(outputs, image, positive), target.boxes)
        overlaps.append(said.gather(1, rows_A[positive, None]).squeeze(1))
        without += len(target.labels) - len(positive)
        matched.append(rows_A)
    return Assignment(
        rows=torch.stack(matched),
        level_sizes=(height * width,),
        matched_iou=torch.cat(overlaps),
        objects=sum(len(target.labels) for target in targets),
        objects_without_positive=without,
    )


def peak_radius(sides_M2: Tensor, overlap: float = OVERLAP) -> Tensor:
    """(M,): how far both corners of a box (w, h) may move, each in x and y, and the IoU still be >= `overlap`.

    The least of three cases (CornerNet, sec. 3.2 and fig. 4): both corners move the same way, both inwards, both
    outwards. Each is the smaller root of a quadratic; the authors' code divides two of them by 2 instead of 2 a.
    """
    total, area = sides_M2.sum(dim=1), sides_M2.prod(dim=1)
    # (w - r)(h - r) = 2 t / (1 + t) w h
    same = (total - (total**2 - 4 * area * (1 - overlap) / (1 + overlap)).sqrt()) / 2
    # (w - 2 r)(h - 2 r) = t w h
    inwards = (total - (total**2 - 4 * area * (1 - overlap)).sqrt()) / 4
    # w h = t (w + 2 r)(h + 2 r)
    outwards = ((total**2 + 4 * area * (1 - overlap) / overlap).sqrt() - total) / 4
    return torch.minimum(torch.minimum(same, inwards), outwards)


@torch.no_grad()
def wanted_heat(outputs: HeatOutputs, targets: Sequence[Target]) -> Tensor:
    """(N, K, h, w) in 0..1: 1 at the centres, a Gaussian of a third of the radius about them, the largest of a class's
    objects (sec. 3, the equation before eq. 1)."""
    heat_NKhw = torch.zeros_like(outputs.heat)
    height, width = heat_NKhw.shape[2:]
    xs, ys = (torch.arange(n, device=heat_NKhw.device) for n in (width, height))
    for heat_Khw, target in zip(heat_NKhw, targets, strict=True):
        if not len(target.boxes):
            continue
        column, row = _centres(target.boxes, height, width).unbind(1)
        sigma_M1 = (2 * peak_radius((target.boxes[:, 2:] - target.boxes[:, :2]) / STRIDE)[:, None] + 1) / 6
        across_Mw = torch.exp(-((xs - column[:, None]) ** 2) / (2 * sigma_M1**2))
        down_Mh = torch.exp(-((ys - row[:, None]) ** 2) / (2 * sigma_M1**2))
        for label, peak_hw in zip(target.labels.tolist(), down_Mh[:, :, None] * across_Mw[:, None, :], strict=True):
            torch.maximum(heat_Khw[label], peak_hw, out=heat_Khw[label])
    return heat_NKhw


def heat_focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Focal loss of heat, element-wise (eq. 1): -(1 - p)^alpha ln p where `wanted` is 1, else
    -(1 - wanted)^beta p^alpha ln(1 - p)."""
    p = logits.sigmoid()
    at_centre = (1 - p) ** ALPHA * logsigmoid(logits)
    elsewhere = (1 - wanted) ** BETA * p**ALPHA * logsigmoid(-logits)
    return -torch.where(wanted == 1, at_centre, elsewhere)


def centernet_loss(outputs: HeatOutputs, targets: Sequence[Target], assignment: Assignment) -> dict[str, LossTerm]:
    """Heat (eq. 1), offset (eq. 2) and size (eq. 3), weighed by eq. 4, each per object."""
    found = positives(assignment.rows, targets)
    focal = heat_focal(outputs.heat, wanted_heat(outputs, targets)).sum()
    across = outputs.heat.shape[3]
    corner = torch.stack([found.anchors % across, found.anchors // across], dim=1)
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / (2 * STRIDE)
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]) / STRIDE
    off = (outputs.shifts[found.images, found.anchors] - (middle - corner)).abs().sum()
    apart = (outputs.sizes[found.images, found.anchors] - sides).abs().sum()
    centres = focal.new_tensor(float(len(found.labels)))
    return {
        "heat": LossTerm(focal, focal.new_tensor(float(assignment.objects))),
        "sizes": LossTerm(SIZE_WEIGHT * apart, centres),
        "shifts": LossTerm(off, centres),
    }


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: object = None,
) -> CenterNet:
    """CenterNet on any backbone with maps of stride 4 to 32, 64 channels wide; it has no use for anchors.

    Raises ValueError for an unknown backbone, or one without those maps.
    """
    return CenterNet(num_classes, image_size=image_size, backbone=backbone, pretrained=pretrained, width=64)
