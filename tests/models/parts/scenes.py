"""Boxes to test parts on."""

import numpy as np
import torch
from torch import Tensor


def boxes(count: int, seed: int, size: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * size / 2], dim=1)


def clustered(count: int, seed: int, objects: int | None = None, size: float = 640.0) -> tuple[Tensor, Tensor]:
    """Boxes (count, 4) scattered about objects, as a detector gives them, and scores; float32."""
    rng = np.random.default_rng(seed)
    objects = objects or max(1, count // 20)
    centre, side = rng.uniform(0, size, (objects, 2)), np.exp(rng.normal(3.6, 0.7, (objects, 2)))
    own = rng.integers(0, objects, count)
    middle = centre[own] + rng.normal(0, 0.12, (count, 2)) * side[own]
    wh = side[own] * np.exp(rng.normal(0, 0.15, (count, 2)))
    xyxy = np.concatenate([middle - wh / 2, middle + wh / 2], axis=1).astype(np.float32)
    return torch.from_numpy(xyxy), torch.from_numpy(rng.random(count).astype(np.float32))
