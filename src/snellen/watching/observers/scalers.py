"""Gradient scalers of mixed precision: how often they lowered their scale, which they do at every step they skip."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from snellen.watching.bystanders import FIRST_STEP, START
from snellen.watching.observers.observer import Batch, Context

CALIBRATION = 20
"""First steps, in which a scaler may search for its scale."""


class Scalers:
    """Events `scaler-lowered` (step: the first; value: steps after calibration at which the scale had fallen) and
    `scaler-used` (value: the first scale, above 1, of a scaler that scaled its first loss under the watch, where the
    optimizers do not unscale by themselves)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._scales: list[Tensor] = []
        self._last: float | None = None
        self._lowered = [0, 0]
        self._used: float | None = None

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Find the scalers there are."""
        self._plain = not any(getattr(o, "_step_supports_amp_scaling", False) for o in optimizers)
        # One that was used before may be left over from another training, as in a notebook.
        self._before = {id(s) for s in self._context.bystanders.alive(GradScaler, START) if s._scale is not None}
        self._find(START)

    def _find(self, moment: str) -> None:
        self._scalers = [s for s in self._context.bystanders.alive(GradScaler, moment) if s.is_enabled()]

    def _scales_in_use(self) -> tuple[list[Tensor], bool]:
        """Scales on their device, those that were first used under the watch if there are any, and whether they are."""
        used = [s for s in self._scalers if s._scale is not None]
        new = [s for s in used if id(s) not in self._before]
        return [s._scale for s in new or used if s._scale is not None], bool(new)

    def batch(self, batch: Batch) -> None:
        """Keep the scale, on its device."""
        if batch.phase != "training":
            return
        if batch.step == 0:
            self._find(FIRST_STEP)
        scales, new = self._scales_in_use()
        if new and self._used is None and self._plain:
            self._used = float(scales[0])
        if len(scales) == 1 and batch.step >= CALIBRATION:
            self._scales.append(scales[0].detach().clone())
            if len(self._scales) >= 64:
                self._read()

    def detach(self) -> None:
        """Nothing was put on."""
        self._read()
        self._scalers = []

    def facts(self) -> Mapping[str, Any]:
        """Events."""
        self._read()
        first, count = self._lowered
        events = []
        if count:
            message = f"the gradient scaler lowered its scale at {count} steps, last to {self._last:g}"
            events.append(
                {"step": first, "kind": "scaler-lowered", "layer": None, "message": message, "value": float(count)}
            )
        if self._used is not None and self._used > 1:
            message = f"a gradient scaler multiplied the loss by {self._used:g}"
            events.append({"step": None, "kind": "scaler-used", "layer": None, "message": message, "value": self._used})
        return {"events": events}

    def state_dict(self) -> dict[str, Any]:
        """Counts so far."""
        self._read()
        return {"lowered": list(self._lowered), "last": self._last, "used": self._used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on."""
        self._lowered, self._last, self._used = list(state["lowered"]), state["last"], state.get("used")

    def _read(self) -> None:
        scales, self._scales = self._scales, []
        for scale in torch.stack(scales).reshape(-1).tolist() if scales else []:
            if self._last is not None and scale < self._last:
                self._lowered = [self._lowered[0] or self._context.step, self._lowered[1] + 1]
            self._last = scale
