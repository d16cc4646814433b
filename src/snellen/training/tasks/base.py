"""What the trainer asks of a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from snellen.models.loss import LossTerm
from snellen.training.samples import Batch

LossFunction = Callable[[Any, Any], Mapping[str, LossTerm] | Tensor]
"""(outputs of the model, targets of the batch) -> terms, or the mean over the batch's images as one scalar.

Targets are labels (N,) int64 in classification and a list of `Target` in detection.
"""


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one process's part of a batch, and what is counted beside it."""

    terms: Mapping[str, LossTerm]
    counts: Mapping[str, float] = field(default_factory=dict)
    """Summed over processes by the trainer: correct, targets, positives."""


class Task(Protocol):
    """One per task; holds no state of a run."""

    loss_kind: str
    """Name of the default loss, as facts give it."""
    metric_name: str
    """Validation metric, higher is better."""
    initial_loss_expected: float | None
    """The loss before learning, where theory gives it."""
    baseline_metric: float | None
    """The metric of the best constant guess."""

    def targets(self, batch: Batch) -> Any:
        """Targets of a batch as the loss wants them, on the batch's device."""

    def loss(self, outputs: Any, targets: Any, replacement: LossFunction | None) -> BatchLoss:
        """The loss of one batch."""

    def judgeable(self, outputs: Any, targets: Any, images: Sequence[str]) -> list[Any]:
        """What `metric` needs of each image of a validation batch: small and plain."""

    def metric(self, gathered: Sequence[Any]) -> float | None:
        """The validation metric of all images; None when it cannot be computed."""


def forward_arguments(model: nn.Module, x: Tensor, targets: Any) -> tuple[Any, ...]:
    """What `model` is called with: its input, and the targets where it samples regions by them."""
    return (x, targets) if getattr(model, "needs_targets", False) else (x,)


def forward(net: nn.Module, model: nn.Module, x: Tensor, targets: Any) -> Any:
    """Outputs of `net`, which is `model` or wraps it."""
    return net(*forward_arguments(model, x, targets))


def as_terms(value: Mapping[str, LossTerm] | Tensor, images: int) -> Mapping[str, LossTerm]:
    """A scalar mean as one term, terms as they are."""
    if isinstance(value, Tensor):
        return {"loss": LossTerm(value * images, value.new_tensor(float(images)).detach())}
    return value
