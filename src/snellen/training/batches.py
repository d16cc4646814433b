"""One image with its targets, and several of them together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Sample(NamedTuple):
    """One image and its targets. S: side of the square input, M: objects, K: classes."""

    image: Tensor
    """(3, S, S) uint8."""
    boxes: Tensor
    """(M, 4) float32 xyxy pixels of the input; empty in classification and segmentation."""
    labels: Tensor
    """(M,) int64 in detection, empty in segmentation; in classification (1,) int64, or (1, K) float32 of shares that
    add up to 1 where images are mixed."""
    masks: Tensor | None = None
    """(M, S, S) bool in detection with masks; (S, S) uint8 of class ids, 255 = ignored, in segmentation."""
    seed: int | None = None
    """Of what a network draws at random for this image; None: its own affair."""


class Batch(NamedTuple):
    """Samples together: one tensor of images, lists of one member an image."""

    images: Tensor
    """(N, 3, S, S) uint8."""
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor | None]
    seeds: list[int | None]

    def to(self, device: torch.device | str) -> "Batch":
        """The same on `device`."""
        return Batch(
            self.images.to(device),
            [b.to(device) for b in self.boxes],
            [k.to(device) for k in self.labels],
            [m if m is None else m.to(device) for m in self.masks],
            self.seeds,
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of `samples`, in their order; colour varies fastest in memory, as a CNN computes best."""
    images, boxes, labels, masks, seeds = zip(*samples, strict=True)
    together = torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return Batch(together, list(boxes), list(labels), list(masks), list(seeds))
