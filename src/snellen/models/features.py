"""Feature maps of any backbone: ours, timm's or torchvision's, by name.

Shapes: N images, C channels, H W pixels; level i has stride `strides[i]`.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from snellen.models.backbones import SmallResNet


class Features(nn.Module):
    """A backbone's maps at the wanted strides, finest first."""

    def __init__(self, body: nn.Module, taken: Sequence[int], channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.taken = tuple(taken)
        self.channels = tuple(channels)
        self.strides = tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x_NCHW -> [(N, channels[i], H / strides[i], W / strides[i])]."""
        maps = self.body(x)
        maps = list(maps.values()) if isinstance(maps, dict) else maps
        return [maps[i] for i in self.taken]


def features(name: str | None, strides: Sequence[int], pretrained: bool = False) -> Features:
    """The maps of a backbone at `strides`, pixels per cell, finest first.

    Args:
        name: A timm or torchvision classifier; None: a small residual network that trains from scratch.
        strides: Powers of two.
        pretrained: Published weights of the backbone; needs the network or a filled cache.

    Raises:
        ValueError: unknown name, or a backbone without a map at one of the strides.
    """
    if name is None:
        own = SmallResNet()
        taken = _taken("the small backbone", own.strides, strides)
        # Stages behind the last map wanted would be computed, and never learn.
        own.stages = own.stages[: max(taken) + 1]
        return Features(own, taken, [own.channels[i] for i in taken], strides)
    if timm.is_model(name):
        with torch.device("meta"):
            every: Any = timm.create_model(name, features_only=True)
        taken = _taken(name, list(every.feature_info.reduction()), strides)
        net: Any = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=taken)
        return Features(net, range(len(taken)), net.feature_info.channels(), strides)
    if name in torchvision.models.list_models(module=torchvision.models):
        return _torchvision(name, strides, pretrained)
    raise ValueError(f"no backbone is called {name!r}")


def _taken(name: str, reductions: Sequence[int], strides: Sequence[int]) -> list[int]:
    missing = [s for s in strides if s not in reductions]
    if missing:
        raise ValueError(f"backbone {name} has maps at strides {list(reductions)}, needed are {list(strides)}")
    # The last map of a stride is the deepest one.
    return [len(reductions) - 1 - list(reductions)[::-1].index(s) for s in strides]


def _torchvision(name: str, strides: Sequence[int], pretrained: bool) -> Features:
    """The deepest map of each stride, found by tracing a picture of 256 px through the network."""
    net = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None).eval()
    side = 256
    nodes = get_graph_node_names(net)[1]
    with torch.no_grad():
        maps = create_feature_extractor(net, dict(zip(nodes, nodes, strict=True)))(torch.zeros(1, 3, side, side))
    wanted: dict[int, tuple[str, int]] = {}
    for node in nodes:
        x = maps[node]
        if isinstance(x, Tensor) and x.dim() == 4 and x.shape[2] == x.shape[3] > 1 and side % x.shape[2] == 0:
            wanted[side // x.shape[2]] = (node, x.shape[1])
    _taken(name, sorted(wanted), strides)
    chosen = {wanted[s][0]: str(i) for i, s in enumerate(strides)}
    body = create_feature_extractor(net, chosen).train()
    return Features(body, range(len(strides)), [wanted[s][1] for s in strides], strides)
