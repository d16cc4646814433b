"""Whether the targets of images that come mirrored are mirrored with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.prints import row_prints
from snellen.watching.probes import first_tensor

ROWS = 5_000
"""Images that are followed."""
PLACES = 4
"""Places along each side of a quarter of the image; with their mirror images they make up its print."""
SMALLEST = 8
"""Pixels along the shorter side of images and maps."""


class Turns:
    """The measure `unturned-targets`: of the images that came in more than one orientation (of: how many), the share
    whose target was the same in all (detail: "maps" or "boxes").

    An image is known again by the sums over pixels that mirror images of each other bear: no flip changes them, and any
    other augmentation does, so that only flips without another random change are judged. Targets are maps of at least
    8 x 8 that differ from their own mirror images, or one box a image by its corners.
    """

    def __init__(self, context: Context) -> None:
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._rows = 0

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Nothing to hook: everything it sees comes with `batch`."""

    def detach(self) -> None:
        """Nothing to take off."""

    def batch(self, batch: Batch) -> None:
        """Prints of the images and targets of one training batch."""
        if batch.phase != "training" or self._rows >= ROWS:
            return
        x, y = first_tensor(batch.inputs), first_tensor(batch.targets)
        if x is None or y is None or x.dim() != 4 or len(x) != len(y) or min(x.shape[2:]) < SMALLEST:
            return
        if y.dim() in (3, 4) and min(y.shape[-2:]) >= SMALLEST:
            target = _corners(y.reshape(len(y), -1, *y.shape[-2:]))
        elif y.shape[1:] == (4,) and y.is_floating_point():
            target = y.detach().clone()
        else:
            return
        self._rows += len(x)
        self._seen.append((_corners(x), target))

    def facts(self) -> Mapping[str, Any]:
        """A row of `measures`. Reads the device."""
        parts = [_judgeable(image, target) for image, target in self._seen]
        if not parts:
            return {}
        rows = np.unique(np.concatenate(parts), axis=0)
        images, at = np.unique(rows[:, 0], return_index=True)
        turned = stayed = 0
        for mine in np.split(rows, at[1:]) if len(images) else []:
            if len(np.unique(mine[:, 1])) > 1:
                turned += 1
                stayed += len(np.unique(mine[:, 2])) == 1
        if not turned:
            return {}
        kind = "boxes" if self._seen[0][1].dim() == 2 else "maps"
        found = {"measure": "unturned-targets", "phase": "training", "detail": kind}
        return {"measures": [found | {"value": stayed / turned, "of": float(turned)}]}

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, on the CPU."""
        return {"seen": [(x.cpu(), y.cpu()) for x, y in self._seen], "rows": self._rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._seen, self._rows = [(x, y) for x, y in state["seen"]], state["rows"]


def _corners(x: Tensor) -> Tensor:
    """Of images (N, C, H, W): places of the upper left quarter and their mirror images, (N, 4, k)."""
    x = x.detach()[:, :3]
    high, wide = x.shape[2:]
    rows = torch.linspace(0, high // 2 - 1, PLACES, device=x.device).round().long()
    columns = torch.linspace(0, wide // 2 - 1, PLACES, device=x.device).round().long()
    halves = x.index_select(2, rows), x.index_select(2, high - 1 - rows)
    return torch.stack(
        [half.index_select(3, places).flatten(1) for half in halves for places in (columns, wide - 1 - columns)], 1
    )


def _judgeable(image: Tensor, target: Tensor) -> np.ndarray:
    """Rows of three prints: of the image in any orientation, in this one, and of the target; of the targets that are
    not their own mirror images."""
    a, b, c, d = image.float().unbind(1)
    either = row_prints((a + b) + (c + d))
    own = row_prints(image.float().flatten(1))
    if target.dim() == 2:
        labels, usable = row_prints(target.float()), (target[:, 2:] > target[:, :2]).all(1)
    else:
        labels = row_prints(target.float().flatten(1))
        flipped = [row_prints(target.float()[:, order].flatten(1)) for order in ([1, 0, 3, 2], [2, 3, 0, 1])]
        usable = (labels != flipped[0]) & (labels != flipped[1])
    found: np.ndarray = torch.stack([either, own, labels], 1)[usable].cpu().numpy()
    return found
