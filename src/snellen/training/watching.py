"""What the trainer tells whoever watches; `WatchedTraining` is a `snellen.Watch` as one such."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.facts import RunFacts
from snellen.watching.watch import EVERY, Watch


class Watcher(Protocol):
    """Called by the trainer. It may attach its own hooks to the model and the optimizer it was made with."""

    def start(
        self,
        *,
        task: str,
        num_classes: int,
        loss_kind: str,
        initial_loss_expected: float | None,
        metric_name: str,
        baseline_metric: float | None,
    ) -> Any:
        """Before the first step, and again after a resume."""

    def step(
        self,
        *,
        loss: float,
        epoch: int,
        batch_size: int,
        targets: int | None,
        positives: int | None,
        grad_norm: float | None,
        clip_limit: float | None,
        seconds: float,
        data_seconds: float,
        skipped: bool,
        labels: Tensor | None,
        wanted: Any,
    ) -> Any:
        """Right after each optimizer step. `targets`: objects in the batch; `wanted`: what the loss was given."""

    def epoch(
        self,
        *,
        epoch: int,
        train_loss: float,
        val_loss: float | None,
        metric: float | None,
        train_metric: float | None,
        seconds: float,
    ) -> Any:
        """After each epoch's validation."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: tensors and primitives."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Put back what `state_dict` gave."""

    def finish(self, stop_reason: str) -> Any:
        """After the last epoch, an interruption or a divergence."""


WatcherFactory = Callable[[nn.Module, Optimizer], Watcher]
"""Makes the watcher once the model and its optimizer stand."""


class WatchedTraining:
    """A `Watch` of the trainer's loop.

    Samples are taken every so many steps whatever they cost, so that a resumed run has the facts of one that was never
    stopped. Experiments are left to the preflight.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, folder: Path) -> None:
        self.watch = Watch(model, optimizer, every=EVERY, trials=False)
        self.watch.context.run_dir = folder
        self.start = self.watch.start
        self.finish = self.watch.finish
        self.state_dict = self.watch.state_dict
        self.load_state_dict = self.watch.load_state_dict

    def step(self, *, loss: float, targets: int | None, wanted: Any, **known: Any) -> None:
        """As `Watcher.step`. Inputs and outputs are those of the model's forward pass."""
        self.watch.step(loss=loss, targets=wanted, objects=targets, **known)

    def epoch(
        self,
        *,
        epoch: int,
        train_loss: float,
        val_loss: float | None,
        metric: float | None,
        train_metric: float | None,
        seconds: float,
    ) -> None:
        """As `Watcher.epoch`."""
        train = {"loss": train_loss, "metric": train_metric}
        val = {"loss": val_loss, "metric": metric}
        self.watch.epoch(
            {name: v for name, v in train.items() if v is not None},
            {name: v for name, v in val.items() if v is not None},
            epoch=epoch,
            seconds=seconds,
        )

    def facts(self) -> RunFacts:
        """Everything recorded so far."""
        return self.watch.facts()
