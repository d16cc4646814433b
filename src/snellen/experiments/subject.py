"""What is experimented on: a model, one batch, and the loss that joins them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.experiments.modes import in_mode
from snellen.experiments.nest import chosen, mapped, samples, table_of, tensors

Row = dict[str, Any]
"""One row of `watching.facts.TRIALS`."""

LossFunction = Callable[[Any, Any], Any]
"""(outputs, targets) -> a scalar tensor, or several by name that are added up."""


class CannotRunError(Exception):
    """An experiment that this model or batch does not allow; the message is a clause for people."""


@dataclass
class Clock:
    """How long experiments may still take."""

    seconds: float
    cost: float = 0.0
    """Seconds that one sample takes through one forward pass, as far as known."""
    began: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds that remain; below 0 when they are used up."""
        return self.began + self.seconds - time.perf_counter()

    def part(self, seconds: float) -> "Clock":
        """A clock for one experiment: at most `seconds`, and never more than is left."""
        return Clock(max(0.0, min(seconds, self.left)), self.cost)

    def passes(self, samples: int) -> float:
        """How many forward passes of so many samples still fit."""
        return self.left / max(self.cost * samples, 1e-9)


@dataclass(frozen=True)
class Subject:
    """A model with one batch.

    `inputs` is a tensor, a tuple of positional arguments, a mapping of keyword arguments, or a list of one tensor a
    sample; `targets` is what `loss_fn(outputs, targets)` takes. Without `loss_fn` the model's own loss counts: the
    outputs, when they are one scalar, a mapping with "loss", or scalars by name, as detectors of torchvision give them
    in train mode, to which targets are handed for that.
    """

    model: nn.Module
    inputs: Any
    targets: Any = None
    loss_fn: LossFunction | None = None
    optimizer: Optimizer | None = None
    step: int = 0
    takes_targets: bool = False
    """The model's forward pass is handed the targets beside the inputs."""

    @property
    def count(self) -> int:
        """Samples of the batch. Raises CannotRunError when the tensors do not agree on it."""
        found = samples(self.inputs)
        if found is None:
            raise CannotRunError("the inputs do not agree on the number of samples")
        return found

    @property
    def float_inputs(self) -> list[Tensor]:
        """The floating-point tensors among the inputs."""
        return [t for t in tensors(self.inputs) if t.is_floating_point()]

    def of(self, rows: Sequence[int]) -> "Subject":
        """The same with the samples `rows` only. Raises CannotRunError when the batch cannot be cut."""
        try:
            targets = self.targets if self.targets is None else chosen(self.targets, rows)
            return replace(self, inputs=chosen(self.inputs, rows), targets=targets)
        except (ValueError, IndexError, TypeError) as error:
            raise CannotRunError(f"the batch cannot be cut: {first_line(error)}") from error

    def smaller(self, most: int) -> "Subject":
        """The first `most` samples, or all when there are fewer."""
        return self if self.count <= most else self.of(range(most))

    def outputs(self, inputs: Any = None) -> Any:
        """The model's outputs. Raises CannotRunError when the model does."""
        given = self.inputs if inputs is None else inputs
        # A first layer may work in place; the batch is not ours to change.
        x = mapped(given, lambda t: t.clone() if not t.requires_grad else t)
        try:
            if self.takes_targets and self.targets is not None:
                return self.model(x, self.targets)
            if isinstance(x, Mapping):
                return self.model(**x)
            return self.model(*x) if isinstance(x, tuple) else self.model(x)
        except Exception as error:
            raise CannotRunError(f"the model refuses: {type(error).__name__}: {first_line(error)}") from error

    def loss(self, outputs: Any = None) -> Tensor:
        """The loss, a scalar tensor. Raises CannotRunError when it cannot be computed."""
        outputs = self.outputs() if outputs is None else outputs
        try:
            value = outputs if self.loss_fn is None else self.loss_fn(outputs, self.targets)
            return _scalar(value)
        except CannotRunError:
            raise
        except Exception as error:
            raise CannotRunError(f"the loss refuses: {type(error).__name__}: {first_line(error)}") from error

    def table(self, inputs: Any = None) -> Tensor:
        """The outputs as (N, K) float32 without graph. Raises CannotRunError when they are not one row a sample."""
        with torch.no_grad():
            found = self.by_sample(self.outputs(inputs))
        if found is None:
            raise CannotRunError("the outputs are not one row of numbers a sample")
        if not bool(found.isfinite().all()):
            raise CannotRunError("the outputs are not finite")
        return found

    def by_sample(self, outputs: Any) -> Tensor | None:
        """`outputs` of this batch as (N, K) float32; None when no tensor has N samples on its first or second axis."""
        square = [t for t in tensors(outputs) if t.dim() >= 3 and t.shape[0] == t.shape[1] == self.count]
        return table_of(outputs, self.count, self._axis if square else None)

    @cached_property
    def _axis(self) -> int | None:
        """Axis of the samples where two are as long, as a batch with one sample less tells; None where it does not."""
        try:
            with in_mode(self.model, False), torch.no_grad():
                fewer = tensors(self.of(range(self.count - 1)).outputs())
        except CannotRunError:
            return None
        return next((t.shape[:2].index(self.count - 1) for t in fewer if self.count - 1 in t.shape[:2]), None)

    def row(self, trial: str, value: float | None = None, **more: Any) -> Row:
        """A row of TRIALS at this subject's step."""
        return {"trial": trial, "step": self.step, "value": value, **more}


def _scalar(value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    inner = value.get("loss") if isinstance(value, Mapping) else getattr(value, "loss", None)
    if isinstance(inner, Tensor) and inner.numel() == 1:
        return inner.reshape(())
    if isinstance(value, Mapping) and value and all(isinstance(v, Tensor) and v.numel() == 1 for v in value.values()):
        return torch.stack([v.reshape(()).float() for v in value.values()]).sum()
    raise CannotRunError(f"the loss is a {type(value).__name__}, not one number")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut to 160 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def subject_of(
    model: nn.Module,
    batch: Any,
    loss_fn: LossFunction | None = None,
    optimizer: Optimizer | None = None,
    step: int = 0,
) -> Subject:
    """A subject from a batch as a loader gives it: (inputs, targets), (a, b, ..., targets), a mapping, or a tensor.

    A mapping is cut at the usual names of targets (labels, target, y, mask, ...) when a `loss_fn` is given; with one
    other member that member is the input. A single tensor is input and target at once, as autoencoders have it.
    """
    if isinstance(batch, Mapping) and not isinstance(batch, Tensor):
        wanted = next((k for k in TARGET_NAMES if k in batch), None)
        if loss_fn is None or wanted is None:
            return Subject(model, dict(batch), batch[wanted] if wanted else None, loss_fn, optimizer, step)
        rest = {k: v for k, v in batch.items() if k not in TARGET_NAMES and isinstance(v, Tensor | list | tuple)}
        only = next((rest[k] for k in INPUT_NAMES if k in rest and k != "input_ids"), None)
        inputs = only if only is not None else next(iter(rest.values())) if len(rest) == 1 else rest
        return Subject(model, inputs, batch[wanted], loss_fn, optimizer, step)
    if isinstance(batch, Tensor):
        return Subject(model, batch, batch, loss_fn, optimizer, step)
    if isinstance(batch, list | tuple) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        inputs = list(inputs) if isinstance(inputs, tuple) and len(batch) == 2 and _per_sample(inputs) else inputs
        targets = batch[-1]
        targets = list(targets) if isinstance(targets, tuple) else targets
        return Subject(model, inputs, targets, loss_fn, optimizer, step)
    raise CannotRunError(f"the batch is a {type(batch).__name__}; expected (inputs, targets)")


def _per_sample(nest: tuple[Any, ...]) -> bool:
    """A tuple that `zip(*batch)` made of the samples, as loaders of detectors do, and no tuple of arguments."""
    return all(isinstance(t, Tensor) and t.dim() == 3 for t in nest)


TARGET_NAMES = ("labels", "label", "targets", "target", "y", "masks", "mask")
INPUT_NAMES = ("pixel_values", "images", "image", "inputs", "input", "x", "input_ids")
