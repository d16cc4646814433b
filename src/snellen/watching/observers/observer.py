"""What every observer of a watched loop is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Batch:
    """What the loop told of one step; anything but the number may be missing (None)."""

    step: int
    """0-based; a validation batch bears the number of the step it came after."""
    phase: str
    """"training" or "validation"."""
    loss: Any = None
    """A number or a 0-d tensor, perhaps still with its graph."""
    inputs: Any = None
    """Any nest of tensors, as are the next two."""
    targets: Any = None
    outputs: Any = None
    sampled: bool = False
    """Whether this is one of the steps at which dear things are measured."""


class Observer(Protocol):
    """Looks at one side of a run. It may keep device tensors; it never writes to one of the run, draws no random number
    and replaces no function of torch."""

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put hooks on. Called once, before the first step."""

    def batch(self, batch: Batch) -> None:
        """After each step that the loop reports."""

    def detach(self) -> None:
        """Take every hook off. Calling it again does nothing."""

    def facts(self) -> Mapping[str, Any]:
        """Fields of RunFacts: rows for a table (those of several observers are joined), a value for a scalar."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values that `torch.load(weights_only=True)` reads."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
