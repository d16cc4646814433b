"""Which epoch's weights a run ends with: those of the last one, or of a checkpoint that was loaded at the end."""

from typing import Any

import torch
from torch import nn

from snellen.watching.optimizer_probe import spread, stacked

SAMPLE = 64
"""Numbers of each parameter that are looked at."""
MOST = 10_000
"""Epochs whose prints are kept."""


class Checkpoints:
    """Prints of the weights at the end of each epoch and of the run; event `weights-restored` (value: 0-based number of
    the epoch whose weights, bit for bit, the run ends with, where that is not the last)."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._prints: list[list[float]] = []
        self._last: list[float] | None = None

    def epoch(self) -> None:
        """Take a print at the end of an epoch."""
        if len(self._prints) < MOST:
            self._prints.append(self._take())

    def finish(self) -> None:
        """Take the last print."""
        if len(self._prints) > 1:
            self._last = self._take()

    def _take(self) -> list[float]:
        held = [spread(p.detach(), SAMPLE).float() for p in self._model.parameters() if p.numel()]
        if not held:
            return []
        values: list[float] = stacked(torch._foreach_norm(held)).tolist()
        return values

    def events(self) -> list[dict[str, Any]]:
        """Rows of the table `events`."""
        if not self._last or self._last == self._prints[-1] or self._last not in self._prints:
            return []
        # Of equal ones, as before the first step that moves a weight, the latest.
        epoch = len(self._prints) - 1 - self._prints[::-1].index(self._last)
        message = f"the run ends with the weights of epoch {epoch} of {len(self._prints)}"
        return [{"step": None, "kind": "weights-restored", "layer": None, "message": message, "value": float(epoch)}]

    def state_dict(self) -> list[list[float]]:
        """Prints so far."""
        return [list(p) for p in self._prints]

    def load_state_dict(self, prints: list[list[float]]) -> None:
        """Go on from what `state_dict` returned."""
        self._prints = [list(p) for p in prints]
