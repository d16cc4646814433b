"""SSD: boxes of set shapes on maps of several sizes, scored and moved in one pass.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector" (arXiv:1512.02325): sec. 2.1 and fig. 2 for the layers, sec. 2.2
for matching, loss (eq. 1-3), default boxes (eq. 4) and hard-negative mining.

Three ways to build it: `build`, on any backbone, with anchors fitted to the data; `build_300` and `build_512`, the
paper's networks on VGG-16; `build_300_vgg16`, the one torchvision published weights of.

Shapes: N images, C channels, H W input pixels, A default boxes of all levels, K classes. Scores have K + 1 columns:
column 0 is background, and the softmax runs over all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from snellen.models.detection.base import Assignment, Detector, Found, Target
from snellen.models.detection.parts.anchors import CELLS_PER_ANCHOR, default_boxes, default_scales, default_sides
from snellen.models.detection.parts.box_coder import decode, encode
from snellen.models.detection.parts.dense import DenseOutputs, assign_by_iou, by_anchor, positives, suppressed
from snellen.models.detection.parts.losses import smooth_l1
from snellen.models.detection.parts.matcher import match_ssd
from snellen.models.detection.parts.samplers import hard_negatives
from snellen.models.detection.parts.ssd_maps import HalvedMaps, VggMaps, xavier
from snellen.models.detection.published import load_published
from snellen.models.features import features
from snellen.models.loss import LossTerm

CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Offsets are learned in units of their spread: the "variances" 0.1 and 0.2 of the authors' code."""
STRIDES = (8, 16, 32)
"""Of the backbone's maps; each further level halves the last."""
SMALLEST_VGG = 272
"""Pixels of input below which the last layers on VGG-16 would have a map without cells."""

MakeHead = Callable[[int, int], nn.Module]
"""(channels of the map, outputs) -> the layers that predict there."""


class LevelHeads(nn.Module):
    """One predictor a level, of `values` numbers for each default box."""

    def __init__(self, channels: Sequence[int], boxes: Sequence[int], values: int, make: MakeHead) -> None:
        super().__init__()
        self.module_list = nn.ModuleList(make(c, n * values) for c, n in zip(channels, boxes, strict=True))
        self.values = values

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the levels -> [(N, boxes of the level, values)]."""
        return [by_anchor(head(x), self.values) for head, x in zip(self.module_list, maps, strict=True)]


class SsdHead(nn.Module):
    """Class scores and offsets."""

    def __init__(self, channels: Sequence[int], boxes: Sequence[int], num_scores: int, make: MakeHead) -> None:
        super().__init__()
        self.classification_head = LevelHeads(channels, boxes, num_scores, make)
        self.regression_head = LevelHeads(channels, boxes, 4, make)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the levels -> scores and offsets of each level."""
        return self.classification_head(maps), self.regression_head(maps)


class Ssd(Detector):
    """A backbone that gives the levels' maps, and a head on each.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: x_NCHW -> maps, finest first.
        channels: Of the maps that have default boxes.
        sides: Per level (width, height) of its default boxes as shares of the image; a level may have none.
        strides: Pixels per cell; None: the image's side over the map's.
        names: Per level the module that gives its map.
        make: Builds a predictor.
        candidates: Boxes of each class and image that are suppressed at most, the best.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: int,
        backbone: nn.Module,
        channels: Sequence[int],
        sides: Sequence[Sequence[Sequence[float]]],
        strides: Sequence[int] | None,
        names: Sequence[str],
        make: MakeHead,
        candidates: int = 400,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.sides = [[list(map(float, wh)) for wh in level] for level in sides]
        self.strides = strides
        self.levels = [i for i, level in enumerate(self.sides) if level]
        self.names = list(names)
        self.candidates = candidates
        self.backbone = backbone
        counts = [len(self.sides[i]) for i in self.levels]
        self.head = SsdHead([channels[i] for i in self.levels], counts, num_classes + 1, make)

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> DenseOutputs:
        """x_NCHW, normalised -> raw scores (N, A, K + 1) and offsets of every default box."""
        maps = self.backbone(x)
        maps = [maps[i] for i in self.levels]
        logits, offsets = self.head(maps)
        shapes = [(m.shape[2], m.shape[3]) for m in maps]
        sides = [torch.tensor(self.sides[i], device=x.device) for i in self.levels]
        strides = None if self.strides is None else [self.strides[i] for i in self.levels]
        boxes = default_boxes(shapes, sides, (x.shape[2], x.shape[3]), strides)
        sizes = tuple(part.shape[1] for part in logits)
        return DenseOutputs(torch.cat(logits, 1).float(), torch.cat(offsets, 1).float(), boxes, sizes)

    def assign(self, outputs: DenseOutputs, targets: Sequence[Target]) -> Assignment:
        """IoU of 0.5, and each object its best box (sec. 2.2, "Matching strategy")."""
        return assign_by_iou(outputs, targets, match_ssd)

    def loss(
        self, outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """As `ssd_loss`."""
        return ssd_loss(outputs, targets, assignment or self.assign(outputs, targets))

    @torch.no_grad()
    def detect(
        self, outputs: DenseOutputs, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100
    ) -> list[Found]:
        """Scores of at least `min_score`, suppressed within each class, at most `limit`."""
        found = []
        for offsets_A4, logits_AK in zip(outputs.offsets, outputs.logits, strict=True):
            scores_KA = logits_AK.softmax(-1)[:, 1:].t().contiguous()
            if self.candidates < scores_KA.shape[1]:
                scores_KC, rows_KC = scores_KA.topk(self.candidates, dim=1)
                labels, places = (scores_KC >= min_score).nonzero(as_tuple=True)
                scores, rows = scores_KC[labels, places], rows_KC[labels, places]
            else:
                labels, rows = (scores_KA >= min_score).nonzero(as_tuple=True)
                scores = scores_KA[labels, rows]
            boxes = decode(offsets_A4, outputs.anchors, CODER_WEIGHTS)[rows]
            found.append(suppressed(boxes, scores, labels, self.image_size, nms_iou, limit))
        return found

    def decoded(self, outputs: DenseOutputs) -> tuple[Tensor, Tensor]:
        """Boxes (N, A, 4) xyxy input pixels and scores (N, A, K), before suppression."""
        return decode(outputs.offsets, outputs.anchors, CODER_WEIGHTS), outputs.logits.softmax(-1)[..., 1:]

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds the head, anchor sides w1, h1, w2, h2 ... in input pixels), finest first."""
        size = self.image_size
        return [(self.names[i], [min(v, 1.0) * size for wh in self.sides[i] for v in wh]) for i in self.levels]


def ssd_loss(outputs: DenseOutputs, targets: Sequence[Target], assignment: Assignment) -> dict[str, LossTerm]:
    """Softmax loss of the matched boxes and of three times as many backgrounds, smooth L1 of the offsets (eq. 1-3).

    All three are divided by the number of matched boxes; with none, the loss is 0.
    """
    rows_NA = assignment.rows
    found = positives(rows_NA, targets)
    wanted_NA = torch.zeros_like(rows_NA)
    wanted_NA[found.images, found.anchors] = found.labels + 1
    cost_NA = cross_entropy(outputs.logits.flatten(0, 1), wanted_NA.flatten(), reduction="none").view_as(rows_NA)
    offsets_P4 = encode(found.boxes, outputs.anchors[found.anchors], CODER_WEIGHTS)
    apart_P4 = smooth_l1(outputs.offsets[found.images, found.anchors], offsets_P4)
    matched = cost_NA.new_tensor(float(len(found.labels)))
    return {
        "background": LossTerm(cost_NA[hard_negatives(cost_NA, rows_NA)].sum(), matched),
        "classes": LossTerm(cost_NA[found.images, found.anchors].sum(), matched),
        "boxes": LossTerm(apart_P4.sum(), matched),
    }


def _conv_head(channels: int, outputs: int) -> nn.Module:
    return xavier(nn.Conv2d(channels, outputs, 3, padding=1))


def build(
    num_classes: int,
    *,
    image_size: int,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
) -> Ssd:
    """SSD on any backbone: its maps of stride 8, 16 and 32, and halved ones.

    Args:
        num_classes: Without background.
        image_size: Side of the square input in pixels.
        backbone: A timm or torchvision classifier; None: the small network of our own.
        pretrained: Published weights of the backbone.
        anchors: Per level (strides 8, 16, 32, 64 ...) the boxes' (width, height) in input pixels, as fitted to the
            data; None: those of eq. 4 on as many levels as leave two cells a side, six at most.

    Raises:
        ValueError: Unknown backbone, or one without maps of those strides.
    """
    if anchors is None:
        levels = max(3, min(6, (image_size // 8).bit_length()))
        scales = default_scales(levels)
        sides = default_sides(scales, [[2.0], *[[2.0, 3.0]] * (levels - 1)])
    else:
        sides = [[[side / image_size for side in wh] for wh in level] for level in anchors]
        while len(sides) > len(STRIDES) and not sides[-1]:
            sides.pop()
        if not sides[-1]:
            # Without a box there the last layers would have no part in the result.
            sides[-1] = [[min(CELLS_PER_ANCHOR * STRIDES[-1] / image_size, 1.0)] * 2]
    maps = HalvedMaps(features(backbone, STRIDES, pretrained), extra=max(0, len(sides) - len(STRIDES)))
    names = [f"backbone.{part}.{i}" for part in ("taps", "extra") for i in range(len(getattr(maps, part)))]
    model = Ssd(
        num_classes,
        image_size=image_size,
        backbone=maps,
        channels=maps.channels,
        sides=sides,
        strides=None,
        names=names,
        make=_conv_head,
    )
    if anchors is not None:
        model.anchor_sides = [[list(map(float, wh)) for wh in level] for level in anchors]  # type: ignore[assignment]
    return model


def build_300(num_classes: int, *, image_size: int, **chosen: Any) -> Ssd:
    """SSD300 (fig. 2): VGG-16 and six levels; the default boxes are the paper's whatever the data."""
    sides = default_sides([0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], [[2], [2, 3], [2, 3], [2, 3], [2], [2]])
    strides = [8, 16, 32, 64, 100, 300] if image_size == 300 else None
    return _on_vgg(num_classes, image_size, sides, strides, large=False, **chosen)


def build_512(num_classes: int, *, image_size: int, **chosen: Any) -> Ssd:
    """SSD512 (sec. 3.1 and 3.4): VGG-16 and seven levels, scales those of the authors' code for COCO."""
    ratios: list[list[float]] = [[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]]
    sides = default_sides([0.04, 0.10, 0.26, 0.42, 0.58, 0.74, 0.90, 1.06], ratios)
    return _on_vgg(num_classes, image_size, sides, None, large=True, **chosen)


def _on_vgg(
    num_classes: int,
    image_size: int,
    sides: list[list[list[float]]],
    strides: Sequence[int] | None,
    *,
    large: bool,
    backbone: str | None = None,
    pretrained: bool = False,
    anchors: object = None,
) -> Ssd:
    if backbone not in (None, "vgg16"):
        raise ValueError(f"it stands on vgg16, not on {backbone}: name it ssd-{backbone}")
    if image_size < SMALLEST_VGG:
        raise ValueError(f"it needs an input of at least {SMALLEST_VGG} px; ssd takes smaller ones")
    maps = VggMaps(large, pretrained)
    names = ["backbone.features", *(f"backbone.extra.{i}" for i in range(len(maps.extra)))]
    return Ssd(
        num_classes,
        image_size=image_size,
        backbone=maps,
        channels=maps.channels,
        sides=sides,
        strides=strides,
        names=names,
        make=_conv_head,
    )


def build_300_vgg16(num_classes: int, *, image_size: int, pretrained: bool = False, **chosen: Any) -> Ssd:
    """torchvision's `ssd300_vgg16`; `pretrained` loads its COCO weights, which want 300 px, mean (0.48235, 0.45882,
    0.40784) and standard deviation 1/255; 90 classes fit its scores, with another number they start anew."""
    model = build_300(num_classes, image_size=image_size, **chosen)
    if pretrained:
        load_published(model, "ssd300_vgg16", ["head.classification_head"])
    return model
