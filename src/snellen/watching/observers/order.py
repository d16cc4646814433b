"""Whether every epoch brings the same batches in the same order."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data.distributed import DistributedSampler

from snellen.watching.bystanders import FIRST_STEP
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.probes import first_tensor

MOST = 4096
"""Batches whose print is kept."""
SHORTEST = 4
"""Batches that an epoch must have: one batch used again and again has no order."""
ELEMENTS = 64
"""Numbers of a batch that its print is made of."""


class Order:
    """Events: `same-order` (value: batches until all repeat in order; step: where the first repetition began) and
    `sampler-epoch` (value: the highest epoch that a shuffling DistributedSampler was told of)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """No hook is needed."""
        self._prints: list[Tensor] = []
        self._read: list[float] = []
        self._told: int | None = None

    def batch(self, batch: Batch) -> None:
        """Keep one number of the batch, on its device, and the epoch of the sampler: both end with their loop."""
        for sampler in self._context.bystanders.alive(DistributedSampler, FIRST_STEP):
            if sampler.shuffle:
                self._told = max(self._told or 0, sampler.epoch)
        if batch.phase != "training" or len(self._prints) + len(self._read) >= MOST:
            return
        # Targets first: augmentation changes inputs at every pass.
        parts = [t for t in (first_tensor(batch.targets), first_tensor(batch.inputs)) if t is not None and t.numel()]
        if not parts:
            return
        values = parts[0].detach().reshape(-1)
        values = values[:: max(values.numel() // ELEMENTS, 1)][:ELEMENTS].double()
        self._prints.append((values * torch.arange(1, len(values) + 1, device=values.device)).sum())

    def detach(self) -> None:
        """Nothing was put on."""

    def facts(self) -> Mapping[str, Any]:
        """Events."""
        self._collect()
        events = []
        period = _period(self._read)
        if period:
            message = f"batches repeat in the same order every {period} steps"
            events.append(
                {"step": period, "kind": "same-order", "layer": None, "message": message, "value": float(period)}
            )
            if self._told is not None:
                message = f"a shuffling DistributedSampler is at epoch {self._told}"
                events.append(
                    {
                        "step": None,
                        "kind": "sampler-epoch",
                        "layer": None,
                        "message": message,
                        "value": float(self._told),
                    }
                )
        return {"events": events}

    def state_dict(self) -> dict[str, Any]:
        """The prints."""
        self._collect()
        return {"prints": list(self._read)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._read = list(state["prints"])

    def _collect(self) -> None:
        if self._prints:
            device = self._prints[0].device
            self._read += torch.stack([p.to(device) for p in self._prints]).tolist()
            self._prints = []


def _period(prints: list[float]) -> int:
    """The least number of steps after which all prints repeat, seen at least once in full; 0 when they do not."""
    for period in range(SHORTEST, len(prints) // 2 + 1):
        if prints[period] == prints[0] and prints[period:] == prints[:-period]:
            return period if len(set(prints[:period])) > period // 2 else 0
    return 0
