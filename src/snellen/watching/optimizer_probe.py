"""The hooks of one watched optimizer: gradients as they arrive, as its step meets them, and what the step does."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from snellen.watching.hooks import Hook, Ledger, StepHook

GRADIENT_PROBES = 4
"""Parameters whose gradient is watched as it arrives, spread evenly over the network."""

ARRIVED_NUMBERS = 4096
"""Numbers of an arriving gradient that are looked at: whether it is nothing but zeros shows in them."""
MOST_NUMBERS = 16_384
"""Numbers of a tensor from which its update is taken, spread evenly over it: a copy of all would cost as much as the
step of the optimizer. A norm over that many is off by about 1 %."""
RUN = 16
"""Numbers that memory gives at once: 64 bytes of float32."""
THIN_NUMBERS = 2048
"""The same for gradient norms where time is short; what a number costs is the line of memory it lies on."""

THIN_TENSORS = 16
"""Tensors whose gradient norm is taken where time is short, evenly spread, the first and the last among them: what is
not finite in one place of the backward pass is so in all that comes before it, down to the first layer."""

Pair = tuple[nn.Parameter, Tensor]
"""A parameter and its gradient."""
Norms = tuple[tuple[str, ...], str, Tensor]
"""Names, signal, and one number for each name, not yet read from the device."""


class OptimizerProbe:
    """Observes one optimizer. What it saw goes on from record to record until the optimizer steps."""

    def __init__(self, optimizer: Optimizer, names: Mapping[int, str], ledger: Ledger) -> None:
        self.optimizer, self.names, self.ledger = optimizer, names, ledger
        self.tell: Callable[[], None] | None = None
        """Called before a step that has gradients."""
        self.sampling = False
        self.thin = False
        """Take gradient norms from `THIN_NUMBERS` of `THIN_TENSORS` tensors in steps that are not sampled."""
        self.steps = 0
        self.norms: list[Norms] = []
        self._before: list[Tensor] | None = None
        self._rest: tuple[int, Tensor] | None = None
        """Number of gradients at the last step with exact norms; the norm of all over that of the `THIN_TENSORS`."""
        self._clear()

    def _clear(self) -> None:
        self.seen: dict[str, Any] = {"arrived": 0, "stepped": False}
        self._alive: dict[int, Tensor] = {}
        self._cleared = False
        self._added = False
        self._produced: list[Tensor] = []

    def held(self) -> list[nn.Parameter]:
        """Every parameter the optimizer holds now."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def attach(self) -> list[RemovableHandle]:
        """Put the hooks on and return what takes them off."""
        mine = [p for p in self.held() if p.requires_grad and id(p) in self.names]
        chosen = evenly(len(mine), GRADIENT_PROBES)
        self.has_probes = bool(chosen)
        hook = self._hook
        return [
            self.optimizer.register_step_pre_hook(StepHook("gradients", self._before_step, self.ledger)),
            self.optimizer.register_step_post_hook(hook(self._after_step)),
            *(mine[i].register_hook(hook(self._arrival(mine[i]))) for i in chosen),
            *(mine[i].register_post_accumulate_grad_hook(hook(self._stored)) for i in chosen[:1]),
        ]

    def _hook(self, call: Any) -> Hook:
        return Hook("gradients", call, self.ledger)

    def taken(self) -> dict[str, Any]:
        """What was seen since the last step of the optimizer that an earlier call told of."""
        seen = dict(self.seen)
        if self._cleared:
            seen["alive"] = False
        elif self._alive and self._added:
            seen["alive"] = stacked(list(self._alive.values())).any()
        if not seen["stepped"]:  # one of several batches whose gradients are added up
            return {"arrived": seen["arrived"], "stepped": False}
        if self._produced:
            seen["produced"] = stacked(self._produced).sum()
        self._clear()
        return seen

    def _stored(self, parameter: nn.Parameter) -> None:
        # Gradients that `torch.autograd.grad` hands out arrive, too, and are added to nothing.
        self._added = True

    def _arrival(self, parameter: nn.Parameter) -> Any:
        def arrived(gradient: Tensor) -> None:
            # Runs before autograd adds `gradient` to `.grad`, so what is there is left from earlier.
            self.seen["arrived"] += 1
            old = parameter.grad
            if old is None:
                self._cleared = True
            elif old.layout == torch.strided and not self._cleared:
                # One backward that met cleared gradients is enough, whatever other backward passes the loop has.
                alive = old.detach().count_nonzero() > 0
                known = self._alive.get(id(parameter))
                self._alive[id(parameter)] = alive if known is None else known & alive
            # A number for each arrival is dear where hundreds of batches are added up before a step.
            if gradient.layout == torch.strided and self.seen["arrived"] <= 4 * GRADIENT_PROBES:
                self._produced.append(torch.linalg.vector_norm(blocks(gradient.detach(), ARRIVED_NUMBERS)))

        return arrived

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        seen = self.seen
        first = optimizer.param_groups[0]
        seen["lr"] = float(first["lr"]) if "lr" in first else None
        held = self.held()
        pairs = [(p, p.grad) for p in held if p.grad is not None and p.grad.layout == torch.strided]
        seen["grads_at_step"] = any(p.grad is not None for p in held)
        if pairs:
            with torch.no_grad():
                pairs, each, norm = self._norms(pairs)
            names = tuple(self.names.get(id(p), "?") for p, _ in pairs)
            seen["grad_norms"], seen["grad_names"], seen["grad_norm"] = each, names, norm
            if self.sampling:
                self.norms.append((names, "grad_norm", each))
        if seen["arrived"] and pairs and self.tell is not None:
            self.tell()
        if self.sampling:
            self._before = [spread(p.detach(), MOST_NUMBERS).clone() for p in held if p.requires_grad]

    def _norms(self, pairs: list[Pair]) -> tuple[list[Pair], Tensor, Tensor]:
        """The pairs that were measured, the norm of each one's gradient, and that of all gradients."""
        count = len(pairs)
        many = count > THIN_TENSORS
        known = self._rest is not None and self._rest[0] == count
        if self.sampling or not self.thin or (many and not known):
            each = stacked(torch._foreach_norm([g for _, g in pairs]))
            norm = each.norm()
            if many:
                rest = norm / each[evenly(count, THIN_TENSORS)].norm()
                self._rest = count, torch.where(rest.isfinite(), rest, 1.0)
            return pairs, each, norm
        pairs = [pairs[i] for i in evenly(count, THIN_TENSORS)]
        some = [blocks(g, THIN_NUMBERS) for _, g in pairs]
        share = [math.sqrt(g.numel() / max(s.numel(), 1)) for (_, g), s in zip(pairs, some, strict=True)]
        each = stacked(torch._foreach_norm(some)) * some[0].new_tensor(share, dtype=torch.float32)
        norm = each.norm()
        return pairs, each, norm * self._rest[1] if many and self._rest is not None else norm

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.steps += 1
        self.seen["stepped"] = True
        before, self._before = self._before, None
        if not before:
            return
        with torch.no_grad():
            held = [p for p in self.held() if p.requires_grad]
            share = [math.sqrt(p.numel() / max(b.numel(), 1)) for p, b in zip(held, before, strict=True)]
            whole = before[0].new_tensor(share, dtype=torch.float32)
            size = stacked(torch._foreach_norm(before)) * whole
            torch._foreach_sub_(before, [spread(p.detach(), MOST_NUMBERS) for p in held])
            moved = stacked(torch._foreach_norm(before)) * whole
            self.seen["moved"], self.seen["size"] = moved.norm(), size.norm()
            names = tuple(self.names.get(id(p), "?") for p in held)
            self.norms.append((names, "update_ratio", moved / size.clamp_min(1e-12)))
            self.norms.append((names, "weight_norm", size))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread, with the first and the last."""
    most = min(most, count)
    return sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)})


def spread(values: Tensor, most: int) -> Tensor:
    """A view of at most about `most` numbers, evenly spread over the memory of `values`; all of a small tensor."""
    step = values.numel() // most
    if step < 2 or not _dense(values):
        return values
    step |= 1  # even strides would meet the same columns again and again
    return values.as_strided((values.numel() // step,), (step,))


def blocks(values: Tensor, most: int) -> Tensor:
    """As `spread`, in runs of `RUN` neighbours: numbers far apart cost a read of memory each."""
    count = most // RUN
    step = values.numel() // count
    if step < 2 * RUN or not _dense(values):
        return values
    step |= 1
    return values.as_strided(((values.numel() - RUN) // step + 1, RUN), (step, 1))


def _dense(values: Tensor) -> bool:
    # The first question is answered five times as fast as the second.
    return values.is_contiguous() or bool(torch.ops.aten.is_non_overlapping_and_dense(values))


def stacked(values: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """0-d tensors of any device as one vector of float32 on the first one's."""
    device, dtypes = values[0].device, {v.dtype for v in values}
    if len(dtypes) == 1 and all(v.device == device for v in values):
        return torch.stack(tuple(values)).float() if values[0].dtype != torch.bool else torch.stack(tuple(values))
    return torch.stack([v.to(device, torch.float32) for v in values])
