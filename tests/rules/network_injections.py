"""Healthy networks, and each rule's defect put into one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from snellen.facts import Facts
from snellen.network.examine import examine
from tests.network.models import SmallNet, TextLstm, UNet

Subject = Callable[[Path], list[Facts]]


def _timm(name: str, side: int = 224) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        return [examine(timm.create_model(name), (1, 3, side, side), name=name, task="classification")]

    return make


def _torchvision(name: str, side: int, **extra: Any) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None, **extra)
        return [examine(model, (1, 3, side, side), name=name)]

    return make


def _own(build: Callable[[], nn.Module], inputs: Any) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        return [examine(build(), inputs)]

    return make


CLEAN: Mapping[str, Subject] = {
    **{
        name: _timm(name)
        for name in (
            "resnet18", "resnet50", "mobilenetv3_small_100", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224",
            "swin_tiny_patch4_window7_224", "densenet121", "repvgg_a0",
        )
    },
    "googlenet": _torchvision("googlenet", 224, init_weights=False),
    "ssdlite": _torchvision("ssdlite320_mobilenet_v3_large", 320, weights_backbone=None),
    "retinanet": _torchvision("retinanet_resnet50_fpn", 320, weights_backbone=None),
    "deeplab": _torchvision("deeplabv3_mobilenet_v3_large", 224, weights_backbone=None, aux_loss=True),
    "lstm": _own(TextLstm, torch.zeros(2, 12, dtype=torch.long)),
    "unet": _own(UNet, (1, 3, 64, 64)),
    "small": _own(SmallNet, (1, 3, 32, 32)),
}  # fmt: skip


def _sick(change: Callable[[SmallNet], None], task: str = "classification", side: int = 32) -> Subject:
    def make(_: Path) -> list[Facts]:
        torch.manual_seed(0)
        model = SmallNet()
        change(model)
        return [examine(model, (1, 3, side, side), task=task)]

    return make


def _hide_a_layer(model: SmallNet) -> None:
    hidden = nn.Conv2d(16, 16, 3, padding=1)
    model.extra = [hidden]  # type: ignore[assignment]
    plain = model.act1
    model.act1 = _Calls(plain, model.extra)  # type: ignore[assignment]


class _Calls(nn.Module):
    """An activation, then the layers of a plain list."""

    def __init__(self, act: nn.Module, layers: Any) -> None:
        super().__init__()
        self.act, self.layers = act, layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        for layer in self.layers:
            x = self.act(layer(x))
        return x


def _add_unused(model: SmallNet) -> None:
    model.spare = nn.Linear(32, 32)


def _freeze(model: SmallNet) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.dim() < 2)


def _constant(model: SmallNet) -> None:
    nn.init.constant_(model.conv2.weight, 0.05)


def _poison(model: SmallNet) -> None:
    model.conv2.weight.data[3, 2, 1, 1] = float("nan")


def _softmax(model: SmallNet) -> None:
    model.last = nn.Softmax(-1)


def _softmax_over_one(model: SmallNet) -> None:
    model.head, model.last = nn.Linear(32, 1), nn.Softmax(-1)


def _norm_behind_bias(model: SmallNet) -> None:
    model.act1 = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU())  # type: ignore[assignment]


def _linear(model: SmallNet) -> None:
    model.act1 = model.act2 = nn.Identity()  # type: ignore[assignment]


def _loud(model: SmallNet) -> None:
    nn.init.normal_(model.conv2.weight, std=50 * (2 / 144) ** 0.5)


def _drop(model: SmallNet) -> None:
    model.drop.p = 0.95


def _even(model: SmallNet) -> None:
    model.conv2 = nn.Conv2d(16, 32, 4, padding=1)


def _drop_before_norm(model: SmallNet) -> None:
    model.drop.p = 0.5
    model.head = nn.Sequential(nn.BatchNorm1d(32), nn.Linear(32, 10))  # type: ignore[assignment]


def _collapsed(folder: Path) -> list[Facts]:
    torch.manual_seed(0)
    return [examine(timm.create_model("resnet18", num_classes=10), (1, 3, 32, 32), task="classification")]


def _flattened(_: Path) -> list[Facts]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 32 * 32, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    return [examine(model, (1, 3, 32, 32), task="classification")]


def _stride_beyond(model: SmallNet) -> None:
    model.conv2 = nn.Conv2d(16, 32, 1, stride=2)


def _shared_norm(model: SmallNet) -> None:
    norm = nn.BatchNorm2d(16)
    middle = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    model.act1 = nn.Sequential(norm, nn.ReLU(), middle, norm, nn.ReLU())  # type: ignore[assignment]


def _doubled(model: SmallNet) -> None:
    model.act2 = nn.Sequential(nn.ReLU(), nn.Identity(), nn.Sigmoid())  # type: ignore[assignment]


def _gridding(model: SmallNet) -> None:
    layers: list[nn.Module] = [nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(16, 16, 3, padding=4, dilation=4), nn.ReLU()]
    model.act1 = nn.Sequential(*layers)  # type: ignore[assignment]


def _checkerboard(model: SmallNet) -> None:
    up = nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1)
    model.act1 = nn.Sequential(nn.ReLU(), up, nn.ReLU())  # type: ignore[assignment]


class _Residual(nn.Module):
    """A branch that ends in ReLU, as written by one who thinks of a stack of conv-norm-act."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.act2(self.conv2(self.act1(self.conv1(x))))
        return out


def _positive_residual(model: SmallNet) -> None:
    model.act1 = nn.Sequential(nn.ReLU(), _Residual(16), _Residual(16))  # type: ignore[assignment]


def _norm_without_shift(model: SmallNet) -> None:
    model.act1 = nn.Sequential(nn.BatchNorm2d(16, affine=False), nn.ReLU())  # type: ignore[assignment]


def _no_head_bias(model: SmallNet) -> None:
    model.head = nn.Linear(32, 10, bias=False)


def _full_resolution(model: SmallNet) -> None:
    model.pool = nn.MaxPool2d(8)


def _unaligned(model: SmallNet) -> None:
    model.conv1, model.conv2 = nn.Conv2d(3, 27, 3, padding=1), nn.Conv2d(27, 32, 3, padding=1)


def _deep_without_norm(model: SmallNet) -> None:
    layers: list[nn.Module] = [nn.ReLU()]
    for _ in range(14):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model.act1 = nn.Sequential(*layers)  # type: ignore[assignment]


SICK: Mapping[str, Subject] = {
    "unregistered-module": _sick(_hide_a_layer),
    "unused-layer": _sick(_add_unused),
    "frozen-parameters": _sick(_freeze),
    "symmetric-initialisation": _sick(_constant),
    "non-finite-weights": _sick(_poison),
    "activation-on-output": _sick(_softmax),
    "bias-before-norm": _sick(_norm_behind_bias),
    "missing-nonlinearity": _sick(_linear),
    "feature-map-collapsed": _collapsed,
    "initial-scale-off": _sick(_loud),
    "dropout-too-high": _sick(_drop),
    "even-kernel": _sick(_even),
    "softmax-over-one": _sick(_softmax_over_one),
    "oversized-layer": _flattened,
    "dropout-before-norm": _sick(_drop_before_norm),
    "stride-beyond-kernel": _sick(_stride_beyond),
    "shared-batchnorm": _sick(_shared_norm),
    "repeated-activation": _sick(_doubled),
    "gridding-dilation": _sick(_gridding),
    "checkerboard-upsampling": _sick(_checkerboard),
    "relu-before-residual-sum": _sick(_positive_residual),
    "norm-without-shift": _sick(_norm_without_shift),
    "head-without-bias": _sick(_no_head_bias),
    "early-layers-fill-memory": _sick(_full_resolution),
    "unaligned-channels": _sick(_unaligned),
    "variance-lost-through-depth": _sick(_deep_without_norm),
}

ALSO: Mapping[str, set[str]] = {}
