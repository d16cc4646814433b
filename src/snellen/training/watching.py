"""What the trainer tells whoever watches; `snellen.watching.Recorder` is one such."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


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
    ) -> Any:
        """Right after each optimizer step."""

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
