"""Segmenters by name: x_NCHW -> logits (N, K, H, W), a score of each class at each pixel of the input.

`unet` and `fcn` are ours; `fcn-<backbone>` takes any backbone of timm or torchvision. `unet-<encoder>`, `deeplabv3-`,
`deeplabv3plus-`, `fpn-` and `pspnet-<encoder>` are those of segmentation-models-pytorch with an encoder of its own or
of timm. Names with an underscore are torchvision's.
"""

from torch import nn

OWN = ("unet", "fcn")
"""Built here; without a backbone's name they have no published weights."""
LIBRARY = ("deeplabv3", "deeplabv3plus", "fpn", "pspnet")
"""Of segmentation-models-pytorch; without an encoder's name they have a ResNet-18."""

__all__ = ["LIBRARY", "OWN", "build_segmenter", "known_segmenter", "segmenter_names", "split_segmenter"]


def segmenter_names() -> list[str]:
    """Names `build_segmenter` takes; those without an underscore may be followed by an encoder's: `fpn-resnet34`."""
    from snellen.models.segmentation.libraries import torchvision_names

    return [*OWN, *LIBRARY, *torchvision_names()]


def split_segmenter(name: str) -> tuple[str, str | None] | None:
    """Architecture and encoder of `name`: "fpn-resnet34" -> ("fpn", "resnet34"); None: no such architecture."""
    if name in segmenter_names():
        return name, None
    architecture, dash, encoder = name.partition("-")
    return (architecture, encoder) if dash and architecture in (*OWN, *LIBRARY) else None


def known_segmenter(name: str) -> bool:
    """Whether `build_segmenter` takes `name`."""
    import timm
    import torchvision

    from snellen.models.segmentation.libraries import encoder_name

    architecture, encoder = split_segmenter(name) or (None, None)
    if encoder is None:
        return architecture is not None
    if architecture == "fcn":
        return timm.is_model(encoder) or encoder in torchvision.models.list_models(module=torchvision.models)
    return encoder_name(encoder) is not None


def build_segmenter(name: str, num_classes: int, *, image_size: int, pretrained: bool = False) -> nn.Module:
    """Build the segmenter `name`.

    Raises ValueError for unknown names, unfit encoders and sizes, OSError where weights are out of reach.
    """
    from snellen.models.segmentation.fcn import build_fcn
    from snellen.models.segmentation.libraries import DEFAULT_ENCODER, build_smp, build_torchvision
    from snellen.models.segmentation.unet import UNet

    parts = split_segmenter(name)
    if parts is None:
        raise ValueError(f"no segmenter is called {name!r}")
    architecture, encoder = parts
    if "_" in architecture:
        return build_torchvision(architecture, num_classes, pretrained=pretrained)
    if architecture == "fcn":
        return build_fcn(num_classes, backbone=encoder, pretrained=pretrained)
    if architecture == "unet" and encoder is None:
        return UNet(num_classes)
    return build_smp(
        architecture, encoder or DEFAULT_ENCODER, num_classes, image_size=image_size, pretrained=pretrained
    )
