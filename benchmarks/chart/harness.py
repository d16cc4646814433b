"""What every tool is to the chart: a harness around a run that says in the end what it found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

LOOKS = (1, 5, 10, 20, 40, 80)
"""Steps after which a tool that can report at any time is asked, to learn how early it knows."""


@dataclass(frozen=True)
class Said:
    """One thing that a tool said of a run."""

    rule: str
    """The tool's own name of what it found."""
    severity: str
    """"error", "warning" or "info"."""
    message: str
    place: str = ""
    """Layer, parameter or other place, as text; empty where the tool names none."""
    step: int | None = None
    """Step of the alarm, where the tool gives one."""
    causes: tuple[str, ...] = ()
    """Rules of which the tool calls this a consequence, nearest first; empty for a root cause."""
    edit: Mapping[str, Any] = field(default_factory=dict)
    """The change that the tool offers to make, as data; empty where it offers none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Tool:
    """A harness that judges. Subclasses fill what they need; findings come in the tool's own order of importance."""

    name = ""
    looks: Sequence[int] = LOOKS
    """Steps after which it is asked."""
    problem: Exception | None = None
    """What ended the run early."""

    def begin(
        self,
        model: nn.Module | Sequence[nn.Module],
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        loss_fn: Callable[..., Any] | None = None,
    ) -> None:
        """See case.Harness."""
        self.models: list[nn.Module] = [model] if isinstance(model, nn.Module) else list(model)
        self.optimizers = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)
        self.model: nn.Module = self.models[0] if len(self.models) == 1 else nn.ModuleList(self.models)
        self.loss_fn = loss_fn
        self.steps = 0
        self.early: dict[int, list[Said]] = {}
        """What it said when it was asked before the end."""
        self.start()

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """See case.Harness."""
        self.after_step(float(loss.detach()) if isinstance(loss, torch.Tensor) else float(loss), inputs)
        self.steps += 1

    def epoch(self, *, train: Mapping[str, float] | None = None, val: Mapping[str, float] | None = None) -> None:
        """See case.Harness."""

    def start(self) -> None:
        """Before the first step."""

    def after_step(self, loss: float, inputs: Any) -> None:
        """After each step."""

    def findings(self) -> list[Said]:
        """Everything found in the run, when it has ended or crashed; called once."""
        raise NotImplementedError


class Nothing(Tool):
    """Looks at nothing: gives the scores and the times of the runs themselves."""

    name = "none"

    def findings(self) -> list[Said]:
        """None."""
        return []


class Snellen(Tool):
    """`snellen.watch` at its defaults: it is not told the loss function, either."""

    name = "snellen"

    def start(self) -> None:
        """Put the hooks on."""
        import snellen

        model = self.models[0] if len(self.models) == 1 else self.models
        optimizer = self.optimizers[0] if len(self.optimizers) == 1 else self.optimizers
        self.watch = snellen.watch(model, optimizer)
        self.watch.start()

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """Hand on what the loop tells."""
        self.watch.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
        self.steps += 1
        if self.steps in self.looks:
            self.early[self.steps] = self._said()

    def epoch(self, *, train: Mapping[str, float] | None = None, val: Mapping[str, float] | None = None) -> None:
        """Hand on what the loop tells."""
        self.watch.epoch(train=train, val=val)

    def findings(self) -> list[Said]:
        """What the rules find at the end."""
        from snellen.watching.recorder import stopped_by

        self.watch.finish(stopped_by(self.problem))
        return self._said()

    def _said(self) -> list[Said]:
        return said_of(self.watch.report().findings)


def said_of(found: Sequence[Any]) -> list[Said]:
    """Findings of a report, each with the rules it is a consequence of."""
    by_print = {f.fingerprint: f for f in found}
    out = []
    for f in found:
        causes, cause = [], by_print.get(f.caused_by or "")
        while cause is not None and cause.rule not in causes:
            causes.append(cause.rule)
            cause = by_print.get(cause.caused_by or "")
        place = f.place.to_dict()
        out.append(
            Said(
                rule=f.rule,
                severity=str(f.severity),
                message=f.message,
                place=" ".join(str(v) for v in place.values()),
                step=place.get("step"),
                causes=tuple(causes),
                edit=dict(f.fix.edit) if f.fix else {},
            )
        )
    return out
