"""Features and an estimator behind the face of a network, so that everything that takes a classifier takes it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from snellen.models.classical.estimators import estimator, logits
from snellen.models.classical.features import FEATURES, Features, FrozenNetwork


class ClassicalClassifier(nn.Module):
    """A fitted estimator on features; its parameters are none, its weights those of the estimator.

    The input is normalised as a network's is, and turned back to pixels: both sides of a comparison see the same.
    """

    task = "classification"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        num_classes: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        pretrained: bool = False,
        c: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        *parts, last = name.split("+")
        self.name = name
        self.num_classes = num_classes
        self.extractors: list[Callable[[Tensor], Features]] = [
            FEATURES[part] if part in FEATURES else FrozenNetwork(part, pretrained) for part in parts
        ]
        self.estimator: Pipeline = estimator(last, c, seed)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def features(self, images: Tensor) -> Features:
        """(N, 3, H, W) uint8 -> (N, D), features of each kind side by side."""
        return np.concatenate([extract(images) for extract in self.extractors], axis=1)

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW, normalised -> (N, K): log-probabilities, or decision values of an SVM."""
        pixels = (x * self.std + self.mean).round().clamp(0, 255).to(torch.uint8).cpu()
        found = logits(self.estimator, self.features(pixels), self.num_classes)
        return torch.from_numpy(found).to(x.device)
