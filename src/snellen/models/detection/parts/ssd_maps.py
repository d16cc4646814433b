"""The maps SSD predicts on: those of a backbone and smaller ones after them.

Liu et al. 2016, "SSD" (arXiv:1512.02325), sec. 2.1 and fig. 2; sec. 3.1 for the dilated fc6 and the scaled conv4_3
(Liu 2015, "ParseNet", arXiv:1506.04579).

Shapes: N images, C channels, H W pixels of a map.
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import normalize

from snellen.models.backbones import conv_norm
from snellen.models.features import Features


class HalvedMaps(nn.Module):
    """A backbone's maps and, after the last, maps of half the size each (sec. 2.1, with batch norms)."""

    def __init__(self, body: Features, extra: int, width: int = 128) -> None:
        super().__init__()
        self.body = body
        inputs = [body.channels[-1], *[width] * extra]
        self.extra = nn.ModuleList(
            nn.Sequential(
                conv_norm(inputs[i], width // 2, 1),
                nn.ReLU(inplace=True),
                conv_norm(width // 2, width, 3, stride=2),
                nn.ReLU(inplace=True),
            )
            for i in range(extra)
        )
        self.channels = [*body.channels, *inputs[1:]]
        # A name for each of the backbone's maps, whatever it calls the layers they come out of.
        self.taps = nn.ModuleList(nn.Identity() for _ in body.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> maps, finest first."""
        maps = [tap(level) for tap, level in zip(self.taps, self.body(x), strict=True)]
        for block in self.extra:
            maps.append(block(maps[-1]))
        return maps


class VggMaps(nn.Module):
    """VGG-16 up to conv5_3, fc6 and fc7 as convolutions, and the extra layers (fig. 2; names as torchvision's).

    Args:
        large: SSD512: five extra layers, the fourth and fifth of stride 2, too, the last with a 4x4 kernel, as in the
            authors' code; else SSD300, whose last two have stride 1 and no padding.
        pretrained: The ImageNet weights of the convolutions that torchvision has for SSD.
    """

    def __init__(self, large: bool, pretrained: bool) -> None:
        super().__init__()
        weights = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES if pretrained else None
        layers = list(torchvision.models.vgg16(weights=weights).features)
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[pools[2]].ceil_mode = True  # 75 cells become 38, as in the paper
        self.scale_weight = nn.Parameter(torch.full((512,), 20.0))
        self.features = nn.Sequential(*layers[: pools[3]])
        fc6_fc7 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(inplace=True),
        )
        halved = {"kernel_size": 3, "stride": 2, "padding": 1}
        late = [halved, halved, {"kernel_size": 4, "padding": 1}] if large else [{"kernel_size": 3}] * 2
        widths = [(1024, 256, 512), (512, 128, 256), *[(256, 128, 256)] * len(late)]
        extra = [
            nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU(inplace=True), nn.Conv2d(b, c, **shape), nn.ReLU(inplace=True))  # type: ignore[arg-type]
            for (a, b, c), shape in zip(widths, [halved, halved, *late], strict=True)
        ]
        for part in (fc6_fc7, *extra):
            xavier(part)
        self.extra = nn.ModuleList([nn.Sequential(*layers[pools[3] : -1], fc6_fc7), *extra])
        self.channels = [512, 1024, *(c for _, _, c in widths)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> maps, finest first; the first scaled to a learned length in each cell (ParseNet, eq. 2)."""
        x = self.features(x)
        maps = [self.scale_weight.view(1, -1, 1, 1) * normalize(x)]
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return maps


def xavier(module: nn.Module) -> nn.Module:
    """Start the convolutions within `module` as the authors did; returns it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
