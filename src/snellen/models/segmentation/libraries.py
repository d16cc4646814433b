"""Segmenters of torchvision and segmentation-models-pytorch, with logits as their only output.

torchvision's have its state-dict keys less those of the auxiliary head, and its published weights: COCO images, the 21
classes of VOC. Those of segmentation-models-pytorch have its keys, and published weights of the encoder.

Shapes: N images, K classes, H W pixels; `x_NCHW`.
"""

from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.segmentation import FCN, LRASPP, DeepLabV3

DEFAULT_ENCODER = "resnet18"


class TorchvisionFcn(FCN):
    """torchvision's FCN: dilated backbone, two convolutions on its last map."""

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, K, H, W)."""
        return super().forward(x)["out"]


class TorchvisionDeepLabV3(DeepLabV3):
    """torchvision's DeepLabv3 (Chen 2017, arXiv:1706.05587): atrous spatial pyramid pooling at stride 8."""

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, K, H, W)."""
        return super().forward(x)["out"]


class TorchvisionLraspp(LRASPP):
    """torchvision's Lite R-ASPP (Howard 2019, arXiv:1905.02244, section 6.4)."""

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        nn.Module.__init__(self)
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, K, H, W)."""
        logits: Tensor = super().forward(x)["out"]
        return logits


def torchvision_names() -> list[str]:
    """Segmenters of torchvision: `fcn_resnet50`, `deeplabv3_resnet101`, `lraspp_mobilenet_v3_large` ..."""
    return torchvision.models.list_models(module=torchvision.models.segmentation)


def build_torchvision(name: str, num_classes: int, *, pretrained: bool) -> nn.Module:
    """A network of `torchvision_names`; published weights as far as they fit, all of them for 21 classes.

    Raises OSError where weights are out of reach.
    """
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    # LRASPP has no auxiliary head to ask for.
    options |= {} if name.startswith("lraspp") else {"aux_loss": False}
    built: Any = torchvision.models.get_model(name, weights_backbone=None, **options)
    model: nn.Module
    if isinstance(built, LRASPP):
        model = TorchvisionLraspp(built.backbone, built.classifier)
    else:
        kind = TorchvisionDeepLabV3 if isinstance(built, DeepLabV3) else TorchvisionFcn
        model = kind(built.backbone, built.classifier, None)
    if pretrained:
        donor = torchvision.models.get_model_weights(name)["DEFAULT"].get_state_dict(progress=False, check_hash=True)
        own = model.state_dict()
        model.load_state_dict({k: v for k, v in donor.items() if k in own and own[k].shape == v.shape}, strict=False)
    return model


def encoder_name(name: str) -> str | None:
    """What segmentation-models-pytorch calls the encoder `name`, one of its own or any of timm's; None: no such one."""
    import segmentation_models_pytorch as smp

    if name in smp.encoders.get_encoder_names() or (name.startswith("tu-") and timm.is_model(name[3:])):
        return name
    return f"tu-{name}" if timm.is_model(name) else None


def build_smp(architecture: str, encoder: str, num_classes: int, *, image_size: int, pretrained: bool) -> nn.Module:
    """A network of segmentation-models-pytorch.

    Args:
        architecture: unet, deeplabv3, deeplabv3plus, fpn or pspnet.
        encoder: An encoder of the library, or a timm network.
        num_classes: Outputs.
        image_size: Side of the square input, a multiple of the encoder's stride.
        pretrained: ImageNet weights for the encoder; needs the network or a filled cache.

    Raises:
        ValueError: The encoder cannot be used, or the input size does not fit it.
        OSError: Weights are out of reach.
    """
    import segmentation_models_pytorch as smp

    found = encoder_name(encoder)
    if found is None:
        raise ValueError(f"no encoder is called {encoder!r}")
    try:
        model: Any = smp.create_model(
            architecture, encoder_name=found, encoder_weights="imagenet" if pretrained else None, classes=num_classes
        )
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError) as error:
        # A network without maps of halved sizes fails wherever it is first asked for one.
        raise ValueError(f"{encoder} cannot be the encoder of {architecture}: {error!r}") from error
    stride = int(model.encoder.output_stride)
    if image_size % stride:
        raise ValueError(f"{architecture}-{encoder} takes sizes that are multiples of {stride}, not {image_size}")
    _freeze_unused(model, side=2 * stride)
    built: nn.Module = model
    return built


@torch.enable_grad()
def _freeze_unused(model: nn.Module, side: int) -> None:
    """Take from training what the output does not depend on, as PSPNet does not on its encoder's last stages.

    Processes that train together wait for the gradient of every weight that is to be trained.
    """
    model.eval()
    model(torch.zeros(1, 3, side, side)).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
    model.train()
