"""A small residual network that trains from scratch on a processor in seconds.

After He et al. 2016, "Deep Residual Learning for Image Recognition" (arXiv:1512.03385), fig. 3 and eq. 1:
y = ReLU(F(x) + W_s x). Dense 3x3 convolutions: at these widths a CPU runs them faster than depthwise ones.

Shapes: N images, C channels, H W pixels; `x_NCHW`; level i of the features has stride `stem_stride * 2**(i + 1)`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm, no bias: the norm's shift takes its place."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the way around them; the last norm starts at zero, so the block starts as identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_norm(inputs, outputs, 3, stride)
        self.conv2 = conv_norm(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)
        self.act1 = nn.ReLU(inplace=True)
        self.act2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> (N, outputs, H / stride, W / stride), eq. 1 and 2."""
        out: Tensor = self.act2(self.conv2(self.act1(self.conv1(x))) + self.shortcut(x))
        return out


class SmallResNet(nn.Module):
    """Stem and stages of half the size each; `forward` returns the last maps of the stages, finest first."""

    def __init__(
        self, widths: Sequence[int] = (32, 64, 96, 128), blocks: Sequence[int] = (1, 1, 1, 1), stem_stride: int = 2
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, widths[0], 3, stem_stride), nn.ReLU(inplace=True))
        stages: list[nn.Module] = []
        inputs = widths[0]
        for width, count in zip(widths, blocks, strict=True):
            layers = [ResidualBlock(inputs if j == 0 else width, width, 2 if j == 0 else 1) for j in range(count)]
            stages.append(nn.Sequential(*layers))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(widths)
        self.strides = tuple(stem_stride * 2 ** (i + 1) for i in range(len(widths)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> [(N, channels[i], H / strides[i], W / strides[i])]."""
        features = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class SmallResNetClassifier(nn.Module):
    """SmallResNet, global average pooling, one linear layer."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (32, 64, 128), stem_stride: int = 1) -> None:
        super().__init__()
        self.backbone = SmallResNet(widths, [1] * len(widths), stem_stride)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, num_classes)."""
        last = self.backbone(x)[-1]
        logits: Tensor = self.head(torch.flatten(self.pool(last), 1))
        return logits
