"""The two-stage detectors that torchvision publishes: the same layers, names of parameters and numbers.

So the checkpoints it publishes load, trained on COCO's 80 classes under their 90 numbers: `num_classes` 90 takes them
whole. With another number the layers that name the classes keep their random start, and the rest is taken.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from snellen.models.detection.faster_rcnn import FasterRcnn
from snellen.models.detection.fpn import PyramidBackbone, mobilenet_stages, resnet50_stages
from snellen.models.detection.mask_rcnn import MaskRcnn, MaskRoiHeads
from snellen.models.detection.parts.anchors import shaped_sides
from snellen.models.detection.published import load_published
from snellen.models.detection.roi_heads import RegionPool, RoiHeads, RoiSettings
from snellen.models.detection.rpn import Rpn, RpnSettings

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors (Ren 2015, sec. 3.1.1)."""
SCALES = (32, 64, 128, 256, 512)
"""Roots of their areas in pixels (Lin 2017, FPN, sec. 4.1)."""
WIDTH, HIDDEN = 256, 1024
"""Channels of the pyramid and of the box head (FPN, sec. 4 and 5.2)."""


CLASS_LAYERS = ("roi_heads.box_predictor", "roi_heads.mask_predictor.mask_fcn_logits")
"""Parameters whose shapes depend on the classes."""


def fasterrcnn_resnet50_fpn(num_classes: int, *, image_size: int, pretrained: bool = False, **given: Any) -> FasterRcnn:
    """Torchvision's network of this name; a backbone or anchors that are given are not used: it has its own.

    Args:
        num_classes: Without background.
        image_size: Side of the input in pixels.
        pretrained: Published weights; its norms are then frozen, and so are the first layers.
        given: Of `RoiSettings`.
    """
    backbone, rpn = _resnet50(pretrained)
    heads = RoiHeads(RegionPool(backbone.body_strides, 7), WIDTH, num_classes, HIDDEN)
    model = FasterRcnn(num_classes, image_size, backbone, rpn, heads, _settings(given))
    if pretrained:
        load_published(model, "fasterrcnn_resnet50_fpn", CLASS_LAYERS)
    return model


def fasterrcnn_mobilenet_v3_large_fpn(
    num_classes: int, *, image_size: int, pretrained: bool = False, **given: Any
) -> FasterRcnn:
    """Torchvision's network of this name; arguments as of `fasterrcnn_resnet50_fpn`."""
    model = _mobilenet(num_classes, image_size, pretrained, RpnSettings(min_score=0.05), given)
    if pretrained:
        load_published(model, "fasterrcnn_mobilenet_v3_large_fpn", CLASS_LAYERS)
    return model


def fasterrcnn_mobilenet_v3_large_320_fpn(
    num_classes: int, *, image_size: int, pretrained: bool = False, **given: Any
) -> FasterRcnn:
    """Torchvision's network of this name, meant for 320 px; arguments as of `fasterrcnn_resnet50_fpn`."""
    settings = RpnSettings(min_score=0.05, before_nms=(2000, 150), after_nms=(2000, 150))
    model = _mobilenet(num_classes, image_size, pretrained, settings, given)
    if pretrained:
        load_published(model, "fasterrcnn_mobilenet_v3_large_320_fpn", CLASS_LAYERS)
    return model


def maskrcnn_resnet50_fpn(num_classes: int, *, image_size: int, pretrained: bool = False, **given: Any) -> MaskRcnn:
    """Torchvision's network of this name; arguments as of `fasterrcnn_resnet50_fpn`."""
    backbone, rpn = _resnet50(pretrained)
    heads = MaskRoiHeads(RegionPool(backbone.body_strides, 7), WIDTH, num_classes, HIDDEN, layers=4, drawn=256)
    model = MaskRcnn(num_classes, image_size, backbone, rpn, heads, _settings(given))
    if pretrained:
        load_published(model, "maskrcnn_resnet50_fpn", CLASS_LAYERS)
    return model


def _settings(given: Mapping[str, Any]) -> RoiSettings:
    return RoiSettings(**{name: value for name, value in given.items() if name not in ("backbone", "anchors")})


def _resnet50(pretrained: bool) -> tuple[PyramidBackbone, Rpn]:
    # An eps of 0 belongs to these weights, and to no other's.
    body, channels, strides = resnet50_stages(_norm(pretrained, eps=0.0))
    if pretrained:
        body.freeze_before("layer2")
    sides = [shaped_sides([scale], RATIOS) for scale in SCALES]
    return PyramidBackbone(body, channels, strides, WIDTH, "pool"), Rpn(WIDTH, sides, 0.0, RpnSettings())


def _mobilenet(
    num_classes: int, image_size: int, pretrained: bool, settings: RpnSettings, given: Mapping[str, Any]
) -> FasterRcnn:
    body, channels, strides = mobilenet_stages(_norm(pretrained, eps=1e-5))
    if pretrained:
        body.freeze_before("7")
    backbone = PyramidBackbone(body, channels, strides, WIDTH, "pool")
    rpn = Rpn(WIDTH, [shaped_sides(SCALES, RATIOS)] * len(backbone.strides), 0.0, settings)
    heads = RoiHeads(RegionPool(backbone.body_strides, 7), WIDTH, num_classes, HIDDEN)
    return FasterRcnn(num_classes, image_size, backbone, rpn, heads, _settings(given))


def _norm(pretrained: bool, eps: float) -> Callable[[int], nn.Module]:
    """Published weights were trained with frozen norms."""
    return partial(FrozenBatchNorm2d, eps=eps) if pretrained else nn.BatchNorm2d
