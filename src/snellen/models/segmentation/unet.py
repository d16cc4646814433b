"""A small U-Net that trains from scratch on a processor in minutes.

Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image segmentation"
(arXiv:1505.04597), fig. 1: down by max pooling, up again, the maps of the way down joined on by channels. Other than
there, convolutions are padded, so that the output is as large as the input, and each is followed by a BatchNorm.

Shapes: N images, K classes, C channels, H W pixels; `x_NCHW`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

WIDTHS = (16, 32, 64, 128)
HEAD_STD = 0.01
"""Of the last layer's first weights: outputs begin near 0, and the loss near ln K."""


class DoubleConv(nn.Sequential):
    """Twice a 3x3 convolution, BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class Up(nn.Module):
    """Upsample, join the map of the way down, two convolutions."""

    def __init__(self, inputs: int, skipped: int, outputs: int) -> None:
        super().__init__()
        self.conv = DoubleConv(inputs + skipped, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (N, inputs, h, w), skip (N, skipped, H, W) -> (N, outputs, H, W)."""
        x = interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.conv(torch.cat([skip, x], dim=1))
        return out


class UNet(nn.Module):
    """U-Net of any depth; inputs of any size are padded to a multiple of `2 ** (depth - 1)` and cut again."""

    def __init__(self, num_classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stem = DoubleConv(3, widths[0])
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairs)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(Up(b, a, a) for a, b in reversed(pairs))
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        self.multiple = 2 ** (len(widths) - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=HEAD_STD)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, K, H, W)."""
        height, width = x.shape[-2:]
        right, below = -width % self.multiple, -height % self.multiple
        x = pad(x, (0, right, 0, below)) if right or below else x
        x = self.stem(x)
        skips = [x]
        for down in self.down:
            x = down(self.pool(x))
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = up(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits[..., :height, :width] if right or below else logits
