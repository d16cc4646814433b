"""Experiments on a copy of the watched model: once at the first step, and once when the watch ends.

Everything happens on a deep copy, without the watch's hooks, in eval or train mode of its own, on at most 8 (train
against eval: 32) samples of the batch that the loop reported; the generators of random numbers get back their state.
What cannot be copied, or refuses the batch, becomes an event `trials-left-out` with the reason.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.experiments.dependence import input_dependence
from snellen.experiments.fitting import overfit_one_batch
from snellen.experiments.nest import mapped
from snellen.experiments.run import FEWEST, SAMPLES, at_most, output_level
from snellen.experiments.snapshot import copy_without_hooks, generators_kept
from snellen.experiments.subject import CannotRunError, Clock, Row, Subject, first_line
from snellen.watching.models import SeveralModels
from snellen.watching.observers.observer import Batch, Context

FIRST_SECONDS = 20.0
"""Most that the look at the first step may take; it takes about five forward passes of 8 samples each."""
SLOW_SECONDS = 0.04
"""Processor time of a forward pass of the few samples beyond which the look at the first step is a short one: the rest
of it, fifteen passes, is left to the last look."""
LAST_SHARE = 0.02
"""Share of the run's time that the last look may take for learning a batch by heart ..."""
LAST_LEAST, LAST_MOST = 10.0, 30.0
"""... but at least so many seconds, though never longer than the run itself took, and at most so many."""
LAST_STEPS = 120
"""Steps of learning a batch by heart at the end; healthy networks of the chart need 10 to 80."""
LAST_SAMPLES = 12
"""... and samples of it."""
OWNER = "snellen.watching"


class Trials:
    """Runs the experiments of `snellen.experiments` beside the loop; see the module."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.rows: list[Row] = []
        self.events: list[dict[str, Any]] = []
        self._model: nn.Module | None = None
        self._last: Batch | None = None
        self._first_done = False
        self._last_done = False
        self._began = time.perf_counter()
        self._first_loss: Any = None

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Remember the model; several models at once have no one forward pass, and are left alone."""
        self._began = time.perf_counter()
        self._model = None if isinstance(model, SeveralModels) else _inner(model)

    def batch(self, batch: Batch) -> None:
        """Look once, at the first training step with inputs; later keep the newest batch for the last look."""
        if batch.phase != "training" or not self.context.trials or self._model is None or batch.inputs is None:
            return
        if not self._first_done:
            self._first_done = True
            self._first_loss = _number(batch.loss)
            self._look(batch, FIRST_SECONDS, modes=False)
        # Without graphs, which would otherwise live on until the next step.
        self._last = replace(
            batch, loss=_number(batch.loss), inputs=mapped(batch.inputs, _alone), targets=mapped(batch.targets, _alone),
            outputs=None,
        )  # fmt: skip

    def detach(self) -> None:
        """Look again, at the trained model."""
        batch, self._last = self._last, None
        if batch is None or self._last_done or batch.step == 0 or self._model is None:
            return
        self._last_done = True
        self._look(batch, FIRST_SECONDS, modes=True)
        self._model = None

    def _look(self, batch: Batch, seconds: float, *, modes: bool) -> None:
        try:
            with generators_kept():
                self._experiment(batch, Clock(seconds), modes)
        except CannotRunError as error:
            self._leave_out(batch.step, str(error))
        except Exception as error:
            self._leave_out(batch.step, f"{type(error).__name__}: {first_line(error)}")

    def _experiment(self, batch: Batch, clock: Clock, modes: bool) -> None:
        assert self._model is not None
        _room_for(self._model)
        model = copy_without_hooks(self._model, OWNER)
        inputs = mapped(batch.inputs, _alone)
        targets = mapped(batch.targets, _alone)
        subject = Subject(model, inputs, targets, self.context.loss_fn, step=batch.step)
        few = at_most(subject, SAMPLES)
        began = time.process_time()
        taken = _as_the_model_takes_it(few)
        slow = time.process_time() - began > SLOW_SECONDS
        if taken is not few:
            subject = replace(subject, inputs=tuple(subject.inputs))
        # Outside of an autocast region that the loop may be in: the copy computes in its own precision.
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            if slow and not modes:
                self.rows += input_dependence(at_most(subject, FEWEST))
                return
            self.rows += output_level(subject, clock, modes=modes)
            if modes and self.context.loss_fn is not None and self._not_fitted(batch):
                ran = time.perf_counter() - self._began
                limit = min(LAST_MOST, max(LAST_SHARE * ran, min(LAST_LEAST, ran)))
                self.rows += list(overfit_one_batch(subject, clock.part(limit), steps=LAST_STEPS, samples=LAST_SAMPLES))

    def _not_fitted(self, batch: Batch) -> bool:
        """Whether the loss is still above a third of the first: then it is worth asking whether it could be fitted."""
        try:
            first, last = float(self._first_loss), float(batch.loss)
        except (TypeError, ValueError, RuntimeError):
            return False
        return first > 0 and last > 0.3 * first

    def _leave_out(self, step: int, reason: str) -> None:
        self.events.append(
            {
                "step": step,
                "kind": "trials-left-out",
                "layer": None,
                "message": f"no experiments: {reason}",
                "value": None,
            }
        )

    def facts(self) -> Mapping[str, Any]:
        """Rows of TRIALS and, where they were left out, of EVENTS."""
        return {"trials": self.rows, "events": self.events}

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows, "events": self.events, "first_done": self._first_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after a resume: the first look was taken."""
        self.rows, self.events = list(state["rows"]), list(state["events"])
        self._first_done = bool(state["first_done"])


def _inner(model: nn.Module) -> nn.Module:
    """The module within wrappers of compilation and of several devices, which a copy does not need."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and type(model).__name__ in WRAPPERS:
            return _inner(inner)
    return model


WRAPPERS = ("OptimizedModule", "DistributedDataParallel", "DataParallel")


def _room_for(model: nn.Module) -> None:
    """Raises CannotRunError where a copy of the model would take more than half of what its GPU has free."""
    first = next(model.parameters(), None)
    if first is not None and first.is_cuda:
        size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
        if 2 * size > torch.cuda.mem_get_info(first.device)[0]:
            raise CannotRunError(f"no room on the GPU for a copy of {size / 2**30:.1f} GiB")


def _number(loss: Any) -> Any:
    """The loss without its graph; not read from its device yet."""
    return loss.detach() if isinstance(loss, Tensor) else loss


def _alone(tensor: Tensor) -> Tensor:
    """Without graph; experiments copy it before anything writes to it."""
    return tensor.detach()


def _as_the_model_takes_it(subject: Subject) -> Subject:
    """The subject with inputs as the model takes them: a list of arguments may stand for a tuple of them."""
    with torch.no_grad():
        try:
            subject.outputs()
        except CannotRunError:
            if not isinstance(subject.inputs, list):
                raise
            subject = Subject(subject.model, tuple(subject.inputs), subject.targets, subject.loss_fn, step=subject.step)
            subject.outputs()
    return subject
