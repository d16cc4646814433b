"""What every observer of a watched loop is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.bystanders import Bystanders
from snellen.watching.hooks import Hook, Ledger, StepHook


@dataclass
class Context:
    """What an observer is made with: what the user said, and where the run stands."""

    loss_fn: Callable[..., Any] | None = None
    """As given to `watch`; called as loss_fn(outputs, targets)."""
    task: str | None = None
    """As given to `watch`."""
    trials: bool = True
    """Whether experiments may be run on a copy of the model."""
    run_dir: Path | None = None
    """Folder of the run, if it is written."""
    ledger: Ledger = field(default_factory=Ledger)
    bystanders: Bystanders = field(default_factory=Bystanders)
    """Schedulers, scalers and samplers of the program."""
    gradient_norm: Callable[[int], Tensor | None] = lambda index: None
    """The global gradient norm that the step of optimizer `index` now under way has met, 0-d, on its device."""
    step: int = 0
    """0-based number of the step now under way; `batch` of step i is called while this is still i."""
    sampled: bool = True
    """Whether dear things may be measured in this step."""

    def hook(self, who: str, call: Callable[..., Any]) -> Hook:
        """`call` as a hook for a module, parameter or optimizer: its time counts against the budget, its exception
        becomes an event, what it returns is dropped, and a deep copy of the model does not carry it."""
        return Hook(who, call, self.ledger)

    def step_hook(self, who: str, call: Callable[..., Any]) -> StepHook:
        """The same for what is to run before an optimizer's step, when its gradients are there."""
        return StepHook(who, call, self.ledger)


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
    and replaces no function of torch. It is made with the `Context` of the watch."""

    def __init__(self, context: Context) -> None:
        """Nothing is touched before `attach`."""

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put hooks on. Called once, before the first step. `model` may be several: see `watching.models.roots`."""

    def batch(self, batch: Batch) -> None:
        """After each step that the loop reports, and after each validation forward pass (targets are None then).

        What the loop did not give is taken from the model's last forward pass, where there is one model."""

    def detach(self) -> None:
        """Take every hook off. Calling it again does nothing."""

    def facts(self) -> Mapping[str, Any]:
        """Fields of RunFacts: rows for a table (those of several observers are joined), a value for a scalar."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values that `torch.load(weights_only=True)` reads."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
