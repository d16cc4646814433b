"""What goes into the network, what comes out and what it is compared with: BATCHES, CLASSES and accuracy."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.batch_measures import describe
from snellen.watching.loss_forms import class_rows
from snellen.watching.nests import named_tensors
from snellen.watching.observers.observer import Batch, Context

MOST_TENSORS = 4
"""Tensors of one role that are described."""
MOST_CLASSES = 4096
"""Outputs with more classes are not counted per class."""
CHUNKS = 64
"""Stretches of the run for which classes are counted; two neighbours become one when there are twice as many."""
LATE = 4
"""The last quarter of them tells what is predicted in the end."""
PLACES = 4096
"""Positions of a dense output (pixels, tokens) that are counted in a sampled step."""
TOGETHER = 16
"""Steps whose classes are counted in one go: right after a backward pass the processor's caches hold nothing of the
code, and counting would take five times as long."""
ALARMS = 3
"""Batches with a non-finite loss that are described beyond the sampled ones."""


@dataclass
class Chunk:
    """Counts over some consecutive steps; tensors stay on their device. Shapes (C + 2,): the classes, ids below 0,
    ids of C and above."""

    last: int
    targets: Tensor
    predicted: Tensor
    right: Tensor
    steps: int = 1

    def __add__(self, other: "Chunk") -> "Chunk":
        return Chunk(
            other.last,
            self.targets + other.targets,
            self.predicted + other.predicted,
            self.right + other.right,
            self.steps + other.steps,
        )


class BatchObserver:
    """Describes batches at sampled steps, and counts classes at every step without waiting for the device."""

    def __init__(self, context: Context) -> None:
        self._rows: list[dict[str, Any]] = []
        self._chunks: list[Chunk] = []
        self._waiting: list[tuple[int, Tensor, Tensor, int]] = []
        self._width = 1
        self._classes = 0
        self._alarms = 0
        self._binary: bool | None = None
        self._known: dict[str, list[dict[str, Any]]] = {}

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Nothing to hook: everything it sees comes with `batch`."""

    def detach(self) -> None:
        """Nothing to take off."""

    def batch(self, batch: Batch) -> None:
        """Describe the batch when it is a sampled one or its loss is not finite; count its classes."""
        alarm = self._alarms < ALARMS and _not_finite(batch.loss)
        self._alarms += alarm
        if batch.sampled or alarm:
            for role in ("input", "target", "output"):
                nest = getattr(batch, role + "s")
                for _, (name, tensor) in zip(range(MOST_TENSORS), named_tensors(nest), strict=False):
                    if tensor.layout == torch.strided:
                        row = {"step": batch.step, "phase": batch.phase, "role": role, "name": name}
                        self._rows.append(row | describe(tensor, role))
        if batch.phase == "training" and isinstance(batch.targets, Tensor):
            self._count(batch)

    def _count(self, batch: Batch) -> None:
        out = next((t for n, t in named_tensors(batch.outputs) if t.is_floating_point() and t.dim()), None)
        targets = batch.targets.detach()
        if not targets.numel() or out is None:
            return
        out = out.detach()
        with torch.no_grad():
            pair = self._ids(out, targets, batch.sampled)
            if pair is None:
                return
            guess, ids, classes = pair
            # Ids may be the loop's own tensor, which it may use again for the next batch.
            self._waiting.append((batch.step, guess, ids.clone(), classes))
            if len(self._waiting) >= TOGETHER:
                self._count_waiting()

    def _count_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for step, guess, ids, classes in waiting:
            if self._chunks and classes != self._classes:
                continue
            self._classes = classes
            valid = (ids >= 0) & (ids < classes)
            slot = torch.where(valid, ids, torch.where(ids < 0, classes, classes + 1))
            zeros = torch.zeros(classes + 2, dtype=torch.int64, device=ids.device)
            one = torch.ones_like(slot)
            seen, said = zeros.scatter_add(0, slot, one), zeros.scatter_add(0, guess, one)
            right = ((guess == ids) & valid).sum()
            self._add(Chunk(step, seen, said, right))

    def _ids(self, out: Tensor, targets: Tensor, sampled: bool) -> tuple[Tensor, Tensor, int] | None:
        """Predicted and true class ids (M,), and the number of classes; None where targets are no class ids."""
        if out.numel() == targets.numel() and out.dim() <= 2 and (out.dim() == 1 or out.shape[1] == 1):
            if self._binary is None:
                t = targets.float()
                self._binary = bool(((t == 0) | (t == 1)).all())
            if not self._binary:
                return None
            out = out.reshape(-1).float()
            probabilities = (out.min() >= 0) & (out.max() <= 1)
            return (out > torch.where(probabilities, 0.5, 0.0)).long(), targets.reshape(-1).long(), 2
        if targets.is_floating_point() or targets.dtype == torch.bool or targets.is_complex():
            return None
        if out.dim() > 2 and not sampled:
            return None
        rows = class_rows(out, targets)
        if rows is None or not 2 <= rows[0].shape[1] <= MOST_CLASSES:
            return None
        scores, ids = rows
        stride = max(len(ids) // PLACES, 1) if out.dim() > 2 else 1
        return scores[::stride].argmax(1), ids[::stride].long(), scores.shape[1]

    def _add(self, chunk: Chunk) -> None:
        if self._chunks and self._chunks[-1].steps < self._width:
            self._chunks[-1] = self._chunks[-1] + chunk
        else:
            self._chunks.append(chunk)
        if len(self._chunks) >= 2 * CHUNKS:
            pairs = zip(self._chunks[::2], self._chunks[1::2], strict=True)
            self._chunks = [a + b for a, b in pairs]
            self._width *= 2

    def facts(self) -> Mapping[str, Any]:
        """Rows of `batches`, `classes`, and of `signals` (layer output, signal accuracy)."""
        self._count_waiting()
        found: dict[str, list[dict[str, Any]]] = {"batches": list(self._rows)}
        if self._chunks:
            late = self._chunks[-max(len(self._chunks) // LATE, 1) :]
            parts = [torch.stack([c.targets for c in self._chunks]).sum(0)]
            parts += [torch.stack([c.predicted for c in late]).sum(0), torch.stack([c.targets for c in late]).sum(0)]
            counts = torch.stack(parts).tolist()
            found["classes"] = list(self._class_rows(counts))
            shares = [(c.last, c.right, c.targets[: self._classes].sum()) for c in self._chunks]
            flat = torch.stack([v for _, right, total in shares for v in (right, total)]).tolist()
            found["signals"] = [
                {"step": step, "layer": "output", "signal": "accuracy", "value": right / total}
                for (step, _, _), right, total in zip(shares, flat[::2], flat[1::2], strict=True)
                if total
            ]
        for name, rows in self._known.items():
            found[name] = rows + found.get(name, []) if name != "classes" else found.get(name, rows)
        return found

    def _class_rows(self, counts: list[list[int]]) -> Iterator[dict[str, Any]]:
        classes = self._classes
        for slot, (targets, predicted, recent) in enumerate(zip(*counts, strict=True)):
            if slot >= classes and not targets:
                continue
            yield {
                "phase": "training",
                "class_id": -1 if slot == classes else classes if slot > classes else slot,
                "targets": targets,
                "predicted": predicted,
                "recent_targets": recent,
            }

    def state_dict(self) -> dict[str, Any]:
        """The rows so far; classes are counted anew after a resumption, and the old count is kept until then."""
        return {"known": {name: [dict(r) for r in rows] for name, rows in self.facts().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._known = {name: [dict(r) for r in rows] for name, rows in state["known"].items()}


def _not_finite(loss: Any) -> bool:
    """Whether the loss is known to be NaN or infinite without waiting for a device."""
    if isinstance(loss, Tensor):
        return loss.device.type == "cpu" and loss.numel() == 1 and not bool(torch.isfinite(loss.detach()).all())
    return isinstance(loss, float) and not math.isfinite(loss)
