"""YOLOv1: a grid, two boxes and one class a cell, and one sum of squares.

Redmon et al. 2016, "You Only Look Once" (arXiv:1506.02640). There are no anchors: each cell regresses `BOXES` boxes
outright and one class vector for all of them, so that it can tell of one object only. Cell (row, column) answers for an
object whose centre it holds, and there the box of the best IoU at that moment (sec. 2.2).

`yolov1-darknet24` is the published network (448 px, S = 7): 24 convolutions, two fully connected layers. Elsewhere the
head is convolutional: a fully connected one sees no two places alike, which takes far more images to learn.

Shapes: N images, S x S cells, B boxes a cell, K classes, M objects of one image, P positives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.darknet import SLOPE, ConvBlock, body_of
from snellen.models.detection.parts.matcher import BACKGROUND
from snellen.models.detection.yolov2 import select
from snellen.models.loss import LossTerm

BOXES = 2
"""Boxes of a cell, B."""
COORD, NOOBJ = 5.0, 0.5
"""Weight of the boxes' terms, and of the confidence where no object is: lambda_coord and lambda_noobj (eq. 3)."""
STRIDES = {"darknet24": 64, None: 16}
"""Pixels of a cell; 32 on any other backbone."""


@dataclass(frozen=True)
class Grid:
    """Raw output; there is no activation behind it (sec. 2.2)."""

    boxes: Tensor
    """(N, S, S, B, 5): centre within the cell 0..1, square roots of width and height over the image's, confidence."""
    classes: Tensor
    """(N, S, S, K): Pr(class | object)."""
    image_size: int
    """Side of the input, pixels."""

    def xyxy(self) -> Tensor:
        """(N, S, S, B, 4), input pixels."""
        s = self.boxes.shape[1]
        at = torch.arange(s, device=self.boxes.device)
        corner_SS12 = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)[:, :, None]
        centre = (self.boxes[..., :2] + corner_SS12) / s
        half = self.boxes[..., 2:4].square() / 2
        return torch.cat([centre - half, centre + half], dim=-1) * self.image_size


@torch.no_grad()
def assign(outputs: Grid, targets: Sequence[Target]) -> Assignment:
    """The box of the best IoU in the cell of the object's centre; while none overlaps, the nearest in place and side.

    Rows are (N, S * S * B), cell by cell. Of two objects in one cell the later one has it, and the other has none.
    `matched_iou` is the predicted box's with its object, which is also what its confidence should be (sec. 2).
    """
    n, s, _, b, _ = outputs.boxes.shape
    rows, overlaps, without = [], [], 0
    for boxes_CB4, target in zip(outputs.xyxy().reshape(n, s * s, b, 4), targets, strict=True):
        objects = torch.arange(len(target.labels), device=boxes_CB4.device)
        cell_M = _cells(target, s, outputs.image_size)
        # Through a maximum, and not by assignment, whose order of writing is undefined on a GPU.
        owner_C = torch.full((s * s,), BACKGROUND, device=boxes_CB4.device)
        owner_C = owner_C.scatter_reduce(0, cell_M, objects, "amax")
        cells = (owner_C >= 0).nonzero()[:, 0]
        truth_P4, said_PB4 = target.boxes[owner_C[cells]], boxes_CB4[cells]
        iou_PB = box_iou(said_PB4.reshape(-1, 4), truth_P4).view(len(cells), b, len(cells)).diagonal(dim1=0, dim2=2).T
        distance_PB = (said_PB4 - truth_P4[:, None]).square().sum(-1)
        best_P = torch.where(iou_PB.amax(1) > 0, iou_PB.argmax(1), distance_PB.argmin(1))
        rows_CB = torch.full((s * s, b), BACKGROUND, dtype=torch.int64, device=boxes_CB4.device)
        rows_CB[cells, best_P] = owner_C[cells]
        rows.append(rows_CB.flatten())
        overlaps.append(iou_PB.gather(1, best_P[:, None])[:, 0])
        without += len(objects) - len(cells)
    return Assignment(
        rows=torch.stack(rows),
        level_sizes=(s * s * b,),
        matched_iou=torch.cat(overlaps),
        objects=sum(len(target.labels) for target in targets),
        objects_without_positive=without,
    )


def _cells(target: Target, s: int, image_size: int) -> Tensor:
    """(M,): the cell of each object's centre, row * S + column."""
    centre_M2 = (target.boxes[:, :2] + target.boxes[:, 2:]) / (2 * image_size)
    column_M, row_M = (centre_M2 * s).long().clamp(0, s - 1).unbind(1)
    return row_M * s + column_M


def yolov1_loss(outputs: Grid, targets: Sequence[Target], assignment: Assignment | None = None) -> dict[str, LossTerm]:
    """Eq. 3 in its terms: boxes, confidence of responsible boxes and of all others, classes; each per image."""
    assignment = assignment or assign(outputs, targets)
    n, s, _, b, _ = outputs.boxes.shape
    rows_NCB = assignment.rows.view(n, s * s, b)
    positive_NCB = rows_NCB >= 0
    chosen = [(t.boxes[rows[p]], t.labels[rows[p]]) for t, rows, p in zip(targets, rows_NCB, positive_NCB, strict=True)]
    boxes_P4 = torch.cat([boxes for boxes, _ in chosen]) / outputs.image_size
    labels_P = torch.cat([labels for _, labels in chosen])
    image_P, cell_P, _ = positive_NCB.nonzero(as_tuple=True)
    said_P5 = outputs.boxes.view(n, s * s, b, 5)[positive_NCB]
    corner_P2 = torch.stack([cell_P % s, cell_P // s], dim=1)
    centre_P2 = (boxes_P4[:, :2] + boxes_P4[:, 2:]) / 2 * s - corner_P2
    root_P2 = (boxes_P4[:, 2:] - boxes_P4[:, :2]).clamp(min=0).sqrt()
    place = (said_P5[:, :2] - centre_P2).square().sum() + (said_P5[:, 2:4] - root_P2).square().sum()
    empty = outputs.boxes[..., 4].reshape(n, s * s, b)[~positive_NCB]
    classes_PK = outputs.classes.view(n, s * s, -1)[image_P, cell_P]
    wanted_PK = nn.functional.one_hot(labels_P, classes_PK.shape[1]).to(classes_PK.dtype)
    images = outputs.boxes.new_tensor(float(n))
    return {
        "boxes": LossTerm(COORD * place, images),
        "objects": LossTerm((said_P5[:, 4] - assignment.matched_iou).square().sum(), images),
        "background": LossTerm(NOOBJ * empty.square().sum(), images),
        "classes": LossTerm((classes_PK - wanted_PK).square().sum(), images),
    }


class YoloV1(Detector):
    """Backbone and a head: 4096 units and all outputs (`fully_connected`), or a 3x3 and a 1x1 convolution."""

    def __init__(self, num_classes: int, image_size: int, body: Any, *, fully_connected: bool) -> None:
        super().__init__()
        self.num_classes, self.image_size = num_classes, image_size
        self.backbone = body
        channels, stride = int(body.channels[-1]), int(body.strides[-1])
        cells = image_size // stride
        if not cells:
            raise ValueError(f"an input of {image_size} px is less than a cell of {stride} px")
        values = BOXES * 5 + num_classes
        if fully_connected:
            last: nn.Conv2d | nn.Linear = nn.Linear(4096, cells**2 * values)
            self.head = nn.Sequential(
                nn.Flatten(),
                nn.Linear(channels * cells**2, 4096),
                nn.LeakyReLU(SLOPE),
                nn.Dropout(0.5),
                last,
                nn.Unflatten(1, (cells, cells, values)),
            )
        else:
            last = nn.Conv2d(128, values, 1)
            self.head = nn.Sequential(ConvBlock(channels, 128, 3), last, _ChannelsLast())
        # Boxes start in the middle of their cell, a quarter of the image wide and high.
        start = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.0] * BOXES + [0.0] * num_classes)
        with torch.no_grad():
            nn.init.normal_(last.weight, std=0.01)
            last.bias.view(-1, values).copy_(start)  # type: ignore[union-attr]

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> Grid:
        """x_NCHW -> raw grid; a fully connected head takes the size it was built for, and no other."""
        values = self.head(self.backbone(x)[-1]).float()
        boxes, classes = values.split([BOXES * 5, self.num_classes], dim=-1)
        return Grid(boxes.unflatten(-1, (BOXES, 5)), classes, self.image_size)

    def assign(self, outputs: Grid, targets: Sequence[Target]) -> Assignment:
        """See the function beside."""
        return assign(outputs, targets)

    def loss(
        self, outputs: Grid, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """See `yolov1_loss`."""
        return yolov1_loss(outputs, targets, assignment)

    def decoded(self, outputs: Grid) -> tuple[Tensor, Tensor]:
        """Boxes (N, S * S * B, 4) xyxy input pixels and scores (N, S * S * B, K): class times confidence (eq. 1)."""
        scores = outputs.classes.clamp(0, 1)[:, :, :, None] * outputs.boxes[..., 4:].clamp(0, 1)
        return outputs.xyxy().flatten(1, 3), scores.flatten(1, 3)

    @torch.no_grad()
    def detect(self, outputs: Grid, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100) -> list[Found]:
        """Detections of each image, best first."""
        return select(*self.decoded(outputs), self.image_size, min_score, nms_iou, limit)


class _ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> YoloV1:
    """YOLOv1 on a backbone of `darknet.LAYOUTS`, timm or torchvision; None: a small one, with cells of 16 px.

    It has no anchors; what is given of them is left aside.
    """
    body = body_of(backbone, (STRIDES.get(backbone, 32),), pretrained)
    return YoloV1(num_classes, image_size, body, fully_connected=backbone == "darknet24")
