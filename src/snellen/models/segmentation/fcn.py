"""The fully convolutional network with skips, FCN-8s, on any backbone.

Long, Shelhamer and Darrell 2015, "Fully convolutional networks for semantic segmentation" (arXiv:1411.4038), fig. 3:
scores at strides 32, 16 and 8, each upsampled to the next finer one and summed, then upsampled to the input.

Shapes: N images, K classes, H W pixels; `x_NCHW`.
"""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from snellen.models.features import Features, features

STRIDES = (8, 16, 32)
HEAD_STD = 0.001


class Fcn8s(nn.Module):
    """Backbone, one 1x1 convolution a map for the scores, and sums; upsampling is bilinear and not learned."""

    def __init__(self, num_classes: int, backbone: Features) -> None:
        super().__init__()
        self.backbone = backbone
        scores = [nn.Conv2d(channels, num_classes, 1) for channels in backbone.channels]
        self.scores = nn.ModuleList(scores)
        for score in scores:
            # Scores begin near zero, so that the first loss is that of an even guess.
            nn.init.normal_(score.weight, std=HEAD_STD)
            if score.bias is not None:
                nn.init.zeros_(score.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> logits (N, K, H, W)."""
        maps = [score(m) for score, m in zip(self.scores, self.backbone(x), strict=True)]
        total = maps.pop()
        while maps:
            finer = maps.pop()
            total = finer + interpolate(total, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        return interpolate(total, size=x.shape[-2:], mode="bilinear", align_corners=False)


def build_fcn(num_classes: int, *, backbone: str | None, pretrained: bool) -> nn.Module:
    """FCN-8s; without a backbone's name on the small one of our own."""
    return Fcn8s(num_classes, features(backbone, STRIDES, pretrained))
