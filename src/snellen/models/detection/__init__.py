"""Detectors by name, one file each; none is imported before it is asked for."""

import importlib
from collections.abc import Callable
from typing import Any

from snellen.models.detection.base import Assignment, Detector, Found, Target

__all__ = ["DARKNETS", "DETECTORS", "Assignment", "Detector", "Found", "Target", "builder", "split_name"]

DETECTORS: dict[str, str] = {
    "yolov1": "yolov1:build",
    "yolov2": "yolov2:build",
    "yolov3": "yolov3:build",
    "yolov3-tiny": "yolov3:build_tiny",
    "ssdlite": "ssdlite:build",
    "ssd": "ssd:build",
    "ssd300": "ssd:build_300",
    "ssd512": "ssd:build_512",
    "ssd300_vgg16": "ssd:build_300_vgg16",
    "ssdlite320_mobilenet_v3_large": "ssdlite:build_mobilenet_v3_large",
    "retinanet": "retinanet:build",
    "retinanet_resnet50_fpn": "retinanet:build_resnet50_fpn",
    "fcos": "fcos:build",
    "fcos_resnet50_fpn": "fcos:build_resnet50_fpn",
    "centernet": "centernet:build",
    "rcnn": "rcnn:build",
    "spp-net": "spp_net:build",
    "fast-rcnn": "fast_rcnn:build",
    "faster-rcnn": "faster_rcnn:build",
    "faster-rcnn-fpn": "faster_rcnn:build_fpn",
    "cascade-rcnn": "cascade_rcnn:build",
    "mask-rcnn": "mask_rcnn:build",
    "fasterrcnn_resnet50_fpn": "published_two_stage:fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn": "published_two_stage:fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "published_two_stage:fasterrcnn_mobilenet_v3_large_320_fpn",
    "maskrcnn_resnet50_fpn": "published_two_stage:maskrcnn_resnet50_fpn",
}
"""Name -> module of this package and function in it, called as f(num_classes, *, image_size, backbone, pretrained,
anchors) -> Detector. A name with an underscore is torchvision's: a whole published network, which takes no backbone."""

DARKNETS = ("darknet", "darknet19", "darknet24", "darknet53")
"""Backbones of `darknet.py`, which the YOLO detectors take beside timm's and torchvision's."""


def split_name(name: str) -> tuple[str, str | None] | None:
    """Detector and backbone of `name`: "yolov3-tiny-resnet18" -> ("yolov3-tiny", "resnet18"); None: no such detector.

    The longest detector's name that fits is meant; the backbone is not looked up.
    """
    if name in DETECTORS:
        return name, None
    fitting = [d for d in DETECTORS if "_" not in d and name.startswith(f"{d}-")]
    if not fitting:
        return None
    detector = max(fitting, key=len)
    return detector, name[len(detector) + 1 :]


def builder(detector: str) -> Callable[..., Any]:
    """The function that builds `detector`, a name of `DETECTORS`."""
    module, _, function = DETECTORS[detector].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return found
