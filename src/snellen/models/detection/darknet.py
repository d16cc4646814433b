"""Darknet's backbones, and its `.weights` files read and written.

Redmon 2016 (arXiv:1506.02640), fig. 3: the 24 convolutions of YOLOv1. Redmon 2017 (arXiv:1612.08242), table 6:
Darknet-19. Redmon 2018 (arXiv:1804.02767), table 1: Darknet-53. The tiny one is `yolov3-tiny.cfg`'s.

Modules are registered in the order of the published cfg files, because that is all the order a `.weights` file has.
Those networks saw RGB pixels divided by 255 and nothing else: a recipe that uses them has mean 0 and std 1.

Shapes: N images, C channels, H W pixels.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from snellen.errors import UseError
from snellen.files import written_whole
from snellen.models.backbones import SmallResNet
from snellen.models.features import Features, features

SLOPE = 0.1
"""Of the leaky ReLU below zero (Redmon 2016, eq. 2)."""
SMALL_WIDTHS = (32, 64, 96, 128)
"""Channels of our own small backbone, which is built no deeper than it is used."""
SHORT_HEADER, LONG_HEADER = struct.Struct("<iiiI"), struct.Struct("<iiiQ")
"""Major, minor, revision, and the images seen in training: 32 bits before version 0.2, 64 from there on."""


class WeightsError(UseError):
    """A `.weights` file that is damaged, or another network's."""


class ConvBlock(nn.Module):
    """`[convolutional]`: convolution, BatchNorm (or a bias in its place), leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.act = nn.LeakyReLU(SLOPE, inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, a=SLOPE)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class Residual(nn.Module):
    """1x1 to half the channels, 3x3 back, and the sum with the input (Redmon 2018, table 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = ConvBlock(channels, channels // 2, 1)
        self.wide = ConvBlock(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> the same shape."""
        out: Tensor = x + self.wide(self.narrow(x))
        return out


class SamePool(nn.Module):
    """`[maxpool]` of size 2 and stride 1: the last row and column are repeated, so that the map keeps its size."""

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> the same shape."""
        return max_pool2d(pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)


Layer = tuple[int, int] | tuple[int, int, int] | str
"""(kernel, channels[, stride]), "pool" (2x2, stride 2), "same-pool", or "residual"."""
LAYOUTS: dict[str, list[list[Layer]]] = {
    "darknet": [
        [(3, 16)], ["pool", (3, 32)], ["pool", (3, 64)], ["pool", (3, 128)], ["pool", (3, 256)],
        ["pool", (3, 512), "same-pool", (3, 1024)],
    ],
    "darknet19": [
        [(3, 32)],
        ["pool", (3, 64)],
        ["pool", (3, 128), (1, 64), (3, 128)],
        ["pool", (3, 256), (1, 128), (3, 256)],
        ["pool", (3, 512), *[(1, 256), (3, 512)] * 2],
        ["pool", (3, 1024), *[(1, 512), (3, 1024)] * 2],
    ],
    "darknet53": [
        [(3, 32)],
        [(3, 64, 2), "residual"],
        [(3, 128, 2), *["residual"] * 2],
        [(3, 256, 2), *["residual"] * 8],
        [(3, 512, 2), *["residual"] * 8],
        [(3, 1024, 2), *["residual"] * 4],
    ],
    "darknet24": [
        [(7, 64, 2)],
        ["pool", (3, 192)],
        ["pool", (1, 128), (3, 256), (1, 256), (3, 512)],
        ["pool", *[(1, 256), (3, 512)] * 4, (1, 512), (3, 1024)],
        ["pool", *[(1, 512), (3, 1024)] * 2, (3, 1024)],
        [(3, 1024, 2), (3, 1024), (3, 1024)],
    ],
}  # fmt: skip
"""Name -> stages, each at half the resolution of the one before."""


class Darknet(nn.Module):
    """One of `LAYOUTS`, as deep as the coarsest wanted stride; the 24 convolutions of YOLOv1 have no BatchNorm."""

    def __init__(self, name: str, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = tuple(strides)
        stages: list[nn.Module] = []
        channels, stride = 3, 1
        found: dict[int, int] = {}
        for stage in LAYOUTS[name]:
            layers: list[nn.Module] = []
            for layer in stage:
                if isinstance(layer, tuple):
                    step = layer[2] if len(layer) == 3 else 1
                    layers.append(ConvBlock(channels, layer[1], layer[0], step, norm=name != "darknet24"))
                    channels, stride = layer[1], stride * step
                elif layer == "pool":
                    layers.append(nn.MaxPool2d(2))
                    stride *= 2
                else:
                    layers.append(SamePool() if layer == "same-pool" else Residual(channels))
            if stride > max(strides):
                break
            stages.append(nn.Sequential(*layers))
            found[stride] = channels
        missing = [s for s in strides if s not in found]
        if missing:
            raise ValueError(f"backbone {name} has maps at strides {list(found)}, needed are {list(strides)}")
        self.stages = nn.ModuleList(stages)
        self.taken = tuple(list(found).index(s) for s in strides)
        self.channels = tuple(found[s] for s in strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> [(N, channels[i], H / strides[i], W / strides[i])], finest first."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[i] for i in self.taken]


def body_of(name: str | None, strides: Sequence[int], pretrained: bool = False) -> nn.Module:
    """Darknet's backbone of that name, else timm's or torchvision's, else (None) our small one.

    A module with `channels` and `strides`, that returns its maps at `strides`, finest first.

    Raises ValueError: unknown name, no map at one of the strides, or published weights that are not there by name.
    """
    if name is None:
        depth = max(strides).bit_length() - 2  # the small network's stages have strides 4, 8, 16, 32
        own = SmallResNet(SMALL_WIDTHS[:depth], [1] * depth)
        taken = [own.strides.index(s) for s in strides]
        return Features(own, taken, [own.channels[i] for i in taken], strides)
    if name not in LAYOUTS:
        return features(name, strides, pretrained)
    if pretrained:
        raise ValueError(f"{name} has no weights by name: read a Darknet file with darknet.load_weights")
    return Darknet(name, strides)


@dataclass(frozen=True)
class Header:
    """What a `.weights` file says of itself."""

    major: int
    minor: int
    revision: int
    seen: int
    """Images seen in training."""


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a `.weights` file holds of `model`, in its order: (name, tensor).

    Convolution by convolution: BatchNorm's shift, scale, mean and variance, or the bias, and then the weight
    (outputs, inputs, height, width).
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, ConvBlock) and isinstance(owner.norm, nn.BatchNorm2d):
            beside = name.removesuffix("conv") + "norm"
            for part in ("bias", "weight", "running_mean", "running_var"):
                yield f"{beside}.{part}", getattr(owner.norm, part)
        elif module.bias is not None:
            yield f"{name}.bias", module.bias
        yield f"{name}.weight", module.weight


def count(model: nn.Module) -> int:
    """Numbers of `model` in a `.weights` file. Raises WeightsError for a network that is not made as Darknet's are."""
    held = {name: tensor.numel() for name, tensor in tensors(model)}
    whole = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    if set(held) != whole:
        odd = min(whole.symmetric_difference(held))
        raise WeightsError(f"{odd} has no place in a .weights file: only networks on a Darknet backbone have one")
    return sum(held.values())


@torch.no_grad()
def load_weights(model: nn.Module, path: str | Path) -> Header:
    """Read a Darknet `.weights` file into `model`: a whole detector, or its `backbone` alone.

    Nothing is changed unless the whole file fits. Raises WeightsError, or OSError when it cannot be read.
    """
    path = Path(path)
    needed = count(model)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LONG_HEADER.size)
        if len(start) < SHORT_HEADER.size:
            raise WeightsError(f"{path}: {size} bytes are no .weights file: its header has {SHORT_HEADER.size} or more")
        major, minor, _, _ = SHORT_HEADER.unpack_from(start)
        # As Darknet decides it; files of other programs have been seen with a version of thousands and a short count.
        layout = LONG_HEADER if major * 10 + minor >= 2 and major < 1000 and minor < 1000 else SHORT_HEADER
        expected = layout.size + 4 * needed
        if size != expected:
            short = "is cut off" if size < expected else "goes on"
            raise WeightsError(
                f"{path}: {short}: {size:,} bytes where this network needs {expected:,} ({needed:,} numbers); "
                "another number of classes, another cfg, or a damaged file"
            )
        header = Header(*layout.unpack_from(start))
        file.seek(layout.size)
        values = torch.from_numpy(np.fromfile(file, "<f4", needed).astype(np.float32, copy=False))
    parts = list(zip(tensors(model), values.split([t.numel() for _, t in tensors(model)]), strict=True))
    for (name, _), part in parts:
        if not torch.isfinite(part).all() or (name.endswith("running_var") and (part < 0).any()):
            raise WeightsError(f"{path}: {name} holds NaN, infinity or a negative variance: a damaged file")
    for (_, tensor), part in parts:
        tensor.copy_(part.view_as(tensor))
    return header


@torch.no_grad()
def save_weights(model: nn.Module, path: str | Path, *, seen: int = 0) -> None:
    """Write `model` as a `.weights` file of version 0.2.0, whole or not at all. Raises WeightsError or OSError."""
    count(model)
    with written_whole(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(LONG_HEADER.pack(0, 2, 0, seen))
        for _, tensor in tensors(model):
            file.write(tensor.detach().cpu().float().numpy().astype("<f4").tobytes())
