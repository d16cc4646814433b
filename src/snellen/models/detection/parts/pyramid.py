"""A top-down way over a backbone's maps, so that fine cells know what is around them.

Lin et al. 2017, "Feature Pyramid Networks" (arXiv:1612.03144), fig. 3; with batch norms, for training from scratch.

Shapes: N images, C channels, H W pixels of a level.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from snellen.models.backbones import conv_norm


class TopDown(nn.Module):
    """Lateral 1x1, coarse maps upsampled and added to finer ones, a 3x3 on each wanted level (FPN, fig. 3)."""

    def __init__(self, channels: Sequence[int], width: int, wanted: Sequence[int]) -> None:
        super().__init__()
        # A level finer than all wanted ones has no part in the result, and no layer here.
        self.finest = min(wanted)
        self.lateral = nn.ModuleDict(
            {str(i): conv_norm(channels[i], width, 1) for i in range(self.finest, len(channels))}
        )
        self.smooth = nn.ModuleDict(
            {str(i): nn.Sequential(conv_norm(width, width, 3), nn.ReLU(inplace=True)) for i in wanted}
        )

    def forward(self, features: Sequence[Tensor]) -> dict[int, Tensor]:
        """Maps of all levels, finest first -> level: map of `width` channels, for the wanted levels."""
        maps: dict[int, Tensor] = {}
        coarser: Tensor | None = None
        for i in range(len(features) - 1, self.finest - 1, -1):
            merged = self.lateral[str(i)](features[i])
            if coarser is not None:
                merged = merged + interpolate(coarser, size=merged.shape[-2:], mode="nearest")
            coarser = merged
            if str(i) in self.smooth:
                maps[i] = self.smooth[str(i)](merged)
        return maps


class PyramidMaps(nn.Module):
    """A backbone and the top-down way over its maps; `forward` gives the wanted levels, finest first."""

    def __init__(self, body: nn.Module, channels: Sequence[int], width: int, wanted: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.neck = TopDown(channels, width, wanted)
        self.wanted = sorted(wanted)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> maps of `width` channels."""
        maps = self.neck(self.body(x))
        return [maps[i] for i in self.wanted]
