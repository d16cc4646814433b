"""What every detector is: raw outputs, and beside them the functions that assign, cost and decode them.

Shapes: N images of side S, K classes, M objects and D detections of one image, A anchors (or cells, points, regions).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snellen.models.loss import LossTerm


@dataclass(frozen=True)
class Target:
    """The objects of one image; M may be 0."""

    boxes: Tensor
    """(M, 4) float32, xyxy input pixels."""
    labels: Tensor
    """(M,), int64 in 0..K-1; background is no class."""
    masks: Tensor | None = None
    """(M, S, S) bool; None where the dataset draws none."""
    seed: int | None = None
    """Of what is drawn at random for this image in training; None: torch's global generator draws."""


@dataclass(frozen=True)
class Found:
    """The detections of one image, best first."""

    boxes: Tensor
    """(D, 4) float32, xyxy input pixels."""
    scores: Tensor
    """(D,), 0..1."""
    labels: Tensor
    """(D,), int64 in 0..K-1."""
    masks: Tensor | None = None
    """(D, S, S) bool, of a network that draws masks."""


@dataclass(frozen=True)
class Assignment:
    """Which anchor answers for which object of its image, and how well they fit."""

    rows: Tensor
    """(N, A): row of the object, -1 background, -2 ignored; int64."""
    level_sizes: tuple[int, ...]
    """Anchors of each level, finest first; they add up to A."""
    matched_iou: Tensor
    """IoU of each positive anchor with its object, image by image."""
    objects: int
    objects_without_positive: int

    @property
    def positives(self) -> int:
        """Positive anchors of all levels."""
        return len(self.matched_iou)

    @property
    def positives_per_level(self) -> list[int]:
        """Positive anchors, finest level first."""
        return [int((part >= 0).sum()) for part in self.rows.split(list(self.level_sizes), dim=1)]

    @property
    def ignored(self) -> int:
        """Anchors that cost nothing: too good for background, not good enough for an object."""
        return int((self.rows == -2).sum())


class Detector(nn.Module):
    """A network whose loss and suppression stand beside its forward pass, so that validation has a loss, too.

    Input is a normalised batch of square images. `forward` returns raw outputs; what they are is the detector's own
    affair, and `assign`, `loss` and `detect` of the same detector understand them.
    """

    task = "detection"
    needs_targets: ClassVar[bool] = False
    """`forward` is to be given the targets where a loss is wanted: the detector samples regions by them."""

    num_classes: int
    image_size: int

    def forward(self, x: Tensor, targets: Sequence[Target] | None = None) -> Any:
        """x_NCHW -> raw outputs."""
        raise NotImplementedError

    def assign(self, outputs: Any, targets: Sequence[Target]) -> Assignment:
        """Which anchors answer for which objects: evidence, and what the loss is computed from."""
        raise NotImplementedError

    def loss(
        self, outputs: Any, targets: Sequence[Target], assignment: Assignment | None = None
    ) -> dict[str, LossTerm]:
        """The terms of the loss; `assignment` as `assign` gave it, else made anew."""
        raise NotImplementedError

    @torch.no_grad()
    def detect(self, outputs: Any, *, min_score: float = 0.02, nms_iou: float = 0.5, limit: int = 100) -> list[Found]:
        """Detections of each image: scores of at least `min_score`, suppressed within each class, at most `limit`."""
        raise NotImplementedError

    def feature_levels(self) -> list[tuple[str, list[float]]]:
        """(module whose output feeds a head, anchor sides w1, h1, w2, h2 ... in input pixels), finest first."""
        return []
