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
    """Events `scaler-lowered` (step: the first; value: steps after calibration at which the scale had fallen),
    `scaler-used` (value: the first scale, above 1, of a scaler that scaled its first loss under the watch, where the
    optimizers do not unscale by themselves) and `scaler-fell` (value: the scale it was made with, which was lower
    after its first step: that step was skipped)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._scales: list[Tensor] = []
        self._last: float | None = None
        self._lowered = [0, 0]
        self._used: float | None = None
        self._fell: float | None = None

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Find the scalers there are."""
        self._plain = not any(getattr(o, "_step_supports_amp_scaling", False) for o in optimizers)
        # One that was used before may be left over from another training, as in a notebook.
        self._before = {id(s) for s in self._context.bystanders.alive(GradScaler, START) if s._scale is not None}
        self._find(START)

    def _find(self, moment: str) -> None:
        self._scalers = [s for s in self._context.bystanders.alive(GradScaler, moment) if s.is_enabled()]

    def _in_use(self) -> tuple[list[tuple[Tensor, float]], bool]:
        """Scale on its device and the one it began with, of those first used under the watch if there are any, and
        whether there are."""
        used = [s for s in self._scalers if s._scale is not None]
        new = [s for s in used if id(s) not in self._before]
        return [(s._scale, s._init_scale) for s in new or used if s._scale is not None], bool(new)

    def batch(self, batch: Batch) -> None:
        """Keep the scale, on its device."""
        if batch.phase != "training":
            return
        if batch.step == 0:
            self._find(FIRST_STEP)
        scalers, new = self._in_use()
        if new and self._used is None and self._plain:
            scale, begun = scalers[0]
            self._used = float(scale)
            self._fell = begun if self._used < begun else None
        if len(scalers) == 1 and batch.step >= CALIBRATION:
            self._scales.append(scalers[0][0].detach().clone())
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
        if self._fell is not None:
            message = f"a gradient scaler made with a scale of {self._fell:g} lowered it at its first step"
            events.append({"step": 0, "kind": "scaler-fell", "layer": None, "message": message, "value": self._fell})
        return {"events": events}

    def state_dict(self) -> dict[str, Any]:
        """Counts so far."""
        self._read()
        return {"lowered": list(self._lowered), "last": self._last, "used": self._used, "fell": self._fell}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on."""
        self._lowered, self._last = list(state["lowered"]), state["last"]
        self._used, self._fell = state.get("used"), state.get("fell")

    def _read(self) -> None:
        scales, self._scales = self._scales, []
        for scale in torch.stack(scales).reshape(-1).tolist() if scales else []:
            if self._last is not None and scale < self._last:
                self._lowered = [self._lowered[0] or self._context.step, self._lowered[1] + 1]
            self._last = scale
