"""Feature pyramids: maps of several strides with the same width, and the published networks' backbones under them.

Lin et al. 2017, "Feature Pyramid Networks for Object Detection" (arXiv:1612.03144), sec. 3 and fig. 3: coarse maps are
enlarged and added to finer ones, then smoothed. Lin et al. 2017, "Focal Loss" (arXiv:1708.02002), footnote 2: P6, P7.

Parameters bear torchvision's names, so that its published detectors load. Shapes: N images, C channels, H W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import mobilenet_v3_large, resnet50

Extra = Literal["pool", "p6p7"]
Norm = Callable[[int], nn.Module]


class CoarserLevels(nn.Module):
    """P6 and P7: 3x3 convolutions of stride 2 on the coarsest map, a ReLU between them (Lin 2017, footnote 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(width, width, 3, 2, 1)
        self.p7 = nn.Conv2d(width, width, 3, 2, 1)
        for conv in (self.p6, self.p7):
            _init(conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> maps of half and of a quarter of its size."""
        coarser: Tensor = self.p6(x)
        return [coarser, self.p7(coarser.relu())]


class FeaturePyramid(nn.Module):
    """Lateral 1x1, coarse maps enlarged and added to finer ones, a 3x3 on each level (Lin 2017, fig. 3)."""

    def __init__(
        self, channels: Sequence[int], width: int, extra: Extra | None = None, norm: Norm | None = None
    ) -> None:
        """Channels are those of the backbone's maps, finest first; `extra` adds levels above the coarsest.

        Args:
            channels: Of each map.
            width: Channels of every level.
            extra: "pool": every second cell of the coarsest level (sec. 4.1); "p6p7": two convolutions.
            norm: Makes a normalisation after each convolution; None: none, as in the paper.
        """
        super().__init__()
        self.inner_blocks = nn.ModuleList(_block(c, width, 1, norm) for c in channels)
        self.layer_blocks = nn.ModuleList(_block(width, width, 3, norm) for _ in channels)
        self.extra_blocks: nn.Module | None = None
        if extra == "pool":
            self.extra_blocks = nn.MaxPool2d(1, 2)
        elif extra == "p6p7":
            self.extra_blocks = CoarserLevels(width)
        blocks = [f"{kind}.{i}" for kind in ("inner_blocks", "layer_blocks") for i in range(len(channels))]
        accept_old_names(self, {name: f"{name}.0" for name in blocks})

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The backbone's maps, finest first -> levels, finest first, all of `width` channels."""
        merged = self.inner_blocks[-1](maps[-1])
        levels: list[Tensor] = [self.layer_blocks[-1](merged)]
        for i in range(len(maps) - 2, -1, -1):
            lateral = self.inner_blocks[i](maps[i])
            merged = lateral + interpolate(merged, size=lateral.shape[-2:], mode="nearest")
            levels.insert(0, self.layer_blocks[i](merged))
        if self.extra_blocks is not None:
            coarser = self.extra_blocks(levels[-1])
            levels += [coarser] if isinstance(coarser, Tensor) else coarser
        return levels


class PyramidBackbone(nn.Module):
    """A backbone and the pyramid on it."""

    def __init__(
        self,
        body: nn.Module,
        channels: Sequence[int],
        strides: Sequence[int],
        width: int = 256,
        extra: Extra | None = None,
        norm: Norm | None = None,
    ) -> None:
        """`body` maps x_NCHW to a list of maps with `channels` and `strides`, finest first."""
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramid(channels, width, extra, norm)
        self.width = width
        self.body_strides = tuple(strides)
        """Of the levels that stand on a map of the body."""
        coarser = {None: (), "pool": (2,), "p6p7": (2, 4)}[extra]
        self.strides = (*self.body_strides, *(strides[-1] * factor for factor in coarser))
        """Input pixels per cell of every level."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> [(N, width, H / strides[i], W / strides[i])]."""
        levels: list[Tensor] = self.fpn(self.body(x))
        return levels

    def level_names(self) -> list[str]:
        """Name within this module of what each level comes out of; P6 and P7 share one."""
        own = [f"fpn.layer_blocks.{i}" for i in range(len(self.body_strides))]
        more = len(self.strides) - len(own)
        return [*own, *(["fpn.extra_blocks"] if more == 1 else ["fpn.extra_blocks.p6", "fpn.extra_blocks.p7"][:more])]


class Stages(nn.ModuleDict):
    """Parts of a network one after another, as far as the last map that is wanted."""

    def __init__(self, parts: Mapping[str, nn.Module], taken: Sequence[str]) -> None:
        """`taken`: names of the parts whose output is a map, in their order."""
        names = list(parts)
        super().__init__({name: parts[name] for name in names[: names.index(taken[-1]) + 1]})
        self.taken = tuple(taken)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> the maps after the taken parts."""
        maps = []
        for name, part in self.items():
            x = part(x)
            if name in self.taken:
                maps.append(x)
        return maps

    def freeze_before(self, first: str) -> None:
        """No gradients for the parts before `first`."""
        for name, part in self.items():
            if name == first:
                return
            part.requires_grad_(False)


def resnet50_stages(norm: Norm, stages: Sequence[int] = (1, 2, 3, 4)) -> tuple[Stages, list[int], list[int]]:
    """ResNet-50 with random weights under torchvision's names: parts, channels and strides of the stages' maps.

    Args:
        norm: Makes the normalisation of so many channels.
        stages: Whose maps are taken, of 1..4.
    """
    net = resnet50(weights=None, norm_layer=norm)
    parts = Stages(dict(net.named_children()), [f"layer{i}" for i in stages])
    return parts, [128 * 2**i for i in stages], [2 ** (i + 1) for i in stages]


def mobilenet_stages(norm: Norm) -> tuple[Stages, list[int], list[int]]:
    """MobileNetV3-Large with random weights under torchvision's names: the two maps its detectors use.

    The first comes out of the block that makes stride 32, the second out of the last layer, of stride 32 as well.
    """
    net = mobilenet_v3_large(weights=None, norm_layer=norm)
    return Stages(dict(net.features.named_children()), ["13", "16"]), [160, 960], [32, 32]


def accept_old_names(module: nn.Module, names: Mapping[str, str]) -> None:
    """Let `module` load states in which its parameters bear the names torchvision gave them before its 0.13.

    The checkpoints it publishes are of that time. `names`: old beginning -> new one, both within the module.
    """
    module.register_load_state_dict_pre_hook(partial(_rename, names=dict(names)))


def _rename(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object, names: Mapping[str, str]) -> None:
    for old, new in names.items():
        for last in ("weight", "bias"):
            if f"{prefix}{old}.{last}" in state:
                state[f"{prefix}{new}.{last}"] = state.pop(f"{prefix}{old}.{last}")


def _block(inputs: int, outputs: int, kernel: int, norm: Norm | None) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=norm is None)
    _init(conv)
    return nn.Sequential(conv) if norm is None else nn.Sequential(conv, norm(outputs))


def _init(conv: nn.Conv2d) -> None:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
