"""`snellen.watch`: watch any PyTorch loop, and say what is wrong with the run.

    with snellen.watch(model, optimizer) as watch:
        for x, y in loader:
            out = model(x)
            loss = loss_fn(out, y)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
    print(watch.report())

The recorder takes the norms and activations; observers, each in a file of `watching.observers`, take the rest; their
facts are joined into one RunFacts. What an observer raises becomes an event `observer-failed`; the loop goes on.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import polars as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snellen.facts import table
from snellen.watching.budget import Budget
from snellen.watching.checkpoints import Checkpoints
from snellen.watching.facts import RunFacts
from snellen.watching.hooks import Hook, Ledger
from snellen.watching.models import Models, Optimizers, as_list, as_one, roots
from snellen.watching.observers import ALL
from snellen.watching.observers.observer import Batch, Context, Observer
from snellen.watching.probes import FIRST_STEPS, first_tensor
from snellen.watching.recorder import Recorder, stopped_by
from snellen.watching.run_log import RunLog

if TYPE_CHECKING:
    from snellen.result import Result

EVERY = 20
"""Steps between detailed samples at the start, and between readings of the device."""
BUDGET = 0.015
"""Share of the step's time that watching may take."""
VALIDATION_SAMPLES = 2
"""Forward passes of each validation that are sampled."""


class Watch:
    """One watched run; made by `watch`. Use it as a context manager, or call `start` and `finish`."""

    def __init__(
        self,
        model: Models,
        optimizer: Optimizers,
        run_dir: str | Path | None = None,
        *,
        loss_fn: Callable[..., Any] | None = None,
        every: int | None = None,
        budget: float = BUDGET,
        task: str | None = None,
        trials: bool = True,
    ) -> None:
        self._share = budget
        self.model, self.optimizers = as_one(model), as_list(optimizer)
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.ledger = Ledger()
        self.context = Context(loss_fn=loss_fn, task=task, trials=trials, run_dir=self.run_dir, ledger=self.ledger)
        self.recorder = Recorder(self.model, self.optimizers, every=every or EVERY, ledger=self.ledger)
        self.context.gradient_norm = self.recorder.gradient_norm
        self._checkpoints = Checkpoints(self.model)
        self.observers: list[Observer] = []
        for kind in ALL:
            made = self._safely(kind, kind, self.context)
            if made is not None:
                self.observers.append(made)
        self._budget = Budget(budget, EVERY) if every is None else None
        self._log: RunLog | None = None
        self._handles: list[RemovableHandle] = []
        self._task = task
        self._metric_name = ""
        self._epochs = 0
        self._losses_from = 0
        self._ended_at: float | None = None
        self._own_before = 0.0
        self._finished = False
        self._entry: nn.Module | None = None
        """The model that is called first in training, of several."""
        self._forget()

    def _forget(self) -> None:
        self._inputs: Any = None
        self._outputs: Any = None
        self._validations = 0

    def _safely(self, who: Any, call: Callable[..., Any], *args: Any) -> Any:
        name = who.__name__ if isinstance(who, type) else type(who).__name__
        return self.ledger.run(name, call, *args)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(stopped_by(error))

    def start(self, **about: Any) -> None:
        """Put the hooks on. `about`: what is known of the run beforehand, fields of RunFacts such as num_classes."""
        self.recorder.start(**{"task": self._task or "", **about})
        if self._handles:
            return
        if self.run_dir is not None:
            self._log = RunLog(self.run_dir, type(self.model).__name__, self._share)
        for _, root in roots(self.model):
            hook = Hook("forward", self._after_forward, self.ledger)
            self._handles.append(root.register_forward_hook(hook, with_kwargs=True))
        for observer in self.observers:
            self._safely(observer, observer.attach, self.model, self.optimizers)

    def _after_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # A detector that is handed its targets, too, has them from the loss's side already.
        alone = (len(args) == 1 and not kwargs) or getattr(module, "needs_targets", False)
        given = args[0] if args and alone else [*args, *kwargs.values()]
        if torch.is_grad_enabled():
            self._inputs, self._outputs = given, _detached(output)
            self._entry = self._entry or module
            return
        if self._entry is not None and module is not self._entry:
            return  # Of several models, what the others get in validation is not what the first one gets in training.
        batch = Batch(
            step=self.context.step,
            phase="validation",
            inputs=given,
            outputs=output,
            sampled=self._validations < VALIDATION_SAMPLES,
        )
        self._validations += 1
        for observer in self.observers:
            self._safely(observer, observer.batch, batch)

    def step(
        self,
        *,
        loss: float | Tensor,
        inputs: Any = None,
        targets: Any = None,
        outputs: Any = None,
        labels: Tensor | None = None,
        epoch: int | None = None,
        batch_size: int | None = None,
        objects: int | None = None,
        **known: Any,
    ) -> None:
        """Record one pass of the loop; call it after `optimizer.step()`, or after `backward` where gradients add up.

        Args:
            loss: Of the batch, a number or a tensor of one; a tensor on a device is not read before the window ends.
            inputs: What the model was given, any nest of tensors; taken from the model's forward pass when left out.
            targets: What the loss was given beside the outputs; any nest of tensors.
            outputs: What the model gave; as `inputs`.
            labels: Class ids of the batch, integers of shape (N,); taken from `targets` where those are such.
            epoch: 0-based; counted by calls of `epoch` when left out.
            batch_size: Samples in the batch; the first length of inputs or targets when left out.
            objects: Objects in the batch, in detection: the column `targets` of STEPS.
            known: Other columns of `watching.facts.STEPS`: grad_norm, clip_limit, positives, skipped, seconds, ...
        """
        now = time.perf_counter()
        inputs = self._inputs if inputs is None else inputs
        outputs = self._outputs if outputs is None else outputs
        batch = Batch(
            step=self.context.step,
            phase="training",
            loss=loss,
            inputs=inputs,
            targets=targets,
            outputs=outputs,
            sampled=self.context.sampled,
        )
        for observer in self.observers:
            self._safely(observer, observer.batch, batch)
        if labels is None and _are_labels(targets):
            labels = targets
        if batch_size is None:
            batch_size = _length(inputs, targets)
        step_seconds = 0.0 if self._ended_at is None else now - self._ended_at
        known.setdefault("seconds", step_seconds)
        epoch = self._epochs if epoch is None else epoch
        self.ledger.run(
            "recorder",
            lambda: self.recorder.step(
                loss=loss, labels=labels, epoch=epoch, batch_size=batch_size, targets=objects, **known
            ),
        )
        if self._log is not None:
            self.ledger.run("run folder", self._write, self._log)
        own, self._own_before = self.ledger.own_seconds - self._own_before, self.ledger.own_seconds
        # The first steps are not typical: they set buffers up, here and in the loop.
        if self._budget is not None and self.context.step >= FIRST_STEPS and step_seconds:
            total = step_seconds + time.perf_counter() - now
            self._budget.spend(own, total, self.context.sampled)
            self.recorder.save_time(self._budget.every, self._budget.thin)
        self.context.step += 1
        self.context.sampled = self.recorder.sampling
        self._forget()
        self._ended_at = time.perf_counter()

    def _write(self, log: RunLog) -> None:
        rows = self.recorder.read() if log.is_late else self.recorder.fresh()
        if rows:
            log.append(rows)
            log.save(self.facts)

    def epoch(
        self,
        train: Mapping[str, Any] | float | None = None,
        val: Mapping[str, Any] | float | None = None,
        *,
        epoch: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Record the end of an epoch.

        Args:
            train: Name -> value over the epoch's training batches; "loss" is the loss (the mean of the steps when left
                out), and the first other name the metric. A single number is the loss.
            val: The same over the validation set.
            epoch: 0-based; counted when left out.
            seconds: Wall time.
        """
        train, val = _numbers(train), _numbers(val)
        name = next((n for n in (*val, *train) if n != "loss"), "")
        sign = -1.0 if _smaller_is_better(name) else 1.0
        self._metric_name = self._metric_name or name
        self.recorder.epoch(
            epoch=self._epochs if epoch is None else epoch,
            train_loss=train["loss"] if "loss" in train else self.recorder.mean_loss(self._losses_from),
            val_loss=val.get("loss"),
            metric=sign * val[name] if name in val else None,
            train_metric=sign * train[name] if name in train else None,
            seconds=seconds,
        )
        self._safely(self._checkpoints, self._checkpoints.epoch)
        if self._log is not None:
            self.ledger.run("run folder", self._write, self._log)
        self._epochs += 1
        self._losses_from = self.context.step
        self._ended_at = None

    def finish(self, stop_reason: str = "") -> None:
        """End the watch: every hook off. Calling it again does nothing."""
        if self._finished:
            return
        self._finished = True
        self.recorder.finish(stop_reason)
        self._safely(self._checkpoints, self._checkpoints.finish)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for observer in self.observers:
            self._safely(observer, observer.detach)
        if self._log is not None:
            self._log.append(self.recorder.read())
            self._log.save(self.facts, final=True)

    def facts(self) -> RunFacts:
        """Everything recorded so far, of the recorder and of all observers."""
        base = self.recorder.facts()
        scalars = base.scalars()
        if self._metric_name and not scalars["metric_name"]:
            scalars["metric_name"] = self._metric_name
        rows: dict[str, list[Any]] = {name: [] for name in RunFacts.TABLES}
        for observer in self.observers:
            for name, value in (self._safely(observer, observer.facts) or {}).items():
                if name in rows:
                    rows[name] += value.to_dicts() if isinstance(value, pl.DataFrame) else list(value)
                elif name in scalars:
                    scalars[name] = value
                else:
                    self.ledger.failures.setdefault(type(observer).__name__, f"gave {name}, which is no fact of a run")
        rows["events"] += [*self._checkpoints.events(), *self._failures()]
        if any(row["kind"] == "non-finite" for row in rows["events"]):
            base = replace(base, events=base.events.filter(pl.col("kind") != "non-finite"))
        tables: dict[str, Any] = {}
        for name, schema in RunFacts.TABLES.items():
            more = self._safely(name, table, schema, rows[name]) if rows[name] else None
            known: pl.DataFrame = getattr(base, name)
            tables[name] = known if more is None else pl.concat([known, more])
        return RunFacts(**tables, **scalars)

    def state_dict(self) -> dict[str, Any]:
        """What was recorded, as plain values that `torch.load(weights_only=True)` reads."""
        return {
            "recorder": self.recorder.state_dict(),
            "observers": {type(o).__name__: self._safely(o, o.state_dict) or {} for o in self.observers},
            "checkpoints": self._checkpoints.state_dict(),
            "step": self.context.step,
            "epochs": self._epochs,
            "losses_from": self._losses_from,
            "metric_name": self._metric_name,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; call it after `start`."""
        self.recorder.load_state_dict(state["recorder"])
        for observer in self.observers:
            known = state["observers"].get(type(observer).__name__)
            if known:
                self._safely(observer, observer.load_state_dict, known)
        self._checkpoints.load_state_dict(state.get("checkpoints", []))
        self.context.step, self.context.sampled = state["step"], self.recorder.sampling
        self._epochs, self._losses_from = state["epochs"], state["losses_from"]
        self._metric_name = state["metric_name"]

    def _failures(self) -> Iterator[dict[str, Any]]:
        for who, message in self.ledger.failures.items():
            yield {
                "step": None,
                "kind": "observer-failed",
                "layer": None,
                "message": f"{who}: {message}",
                "value": None,
            }

    def report(self) -> "Result":
        """What the rules find in the run so far: root causes first, then by severity.

        With a `run_dir`, findings and the HTML page are written there too.
        """
        from snellen.verbs.judge import judge
        from snellen.verbs.run_folder import write_run

        result = judge(self.facts(), subject=type(self.model).__name__)
        if self._log is not None:
            result = replace(result, folder=self._log.folder)
            write_run(result)
        return result


def watch(
    model: Models,
    optimizer: Optimizers,
    run_dir: str | Path | None = None,
    *,
    loss_fn: Callable[..., Any] | None = None,
    every: int | None = None,
    budget: float = BUDGET,
    task: str | None = None,
    trials: bool = True,
) -> Watch:
    """Watch the training of `model` by `optimizer`; nothing in the loop changes, and losses stay bit for bit the same.

    Args:
        model: One module, or a sequence or dict of those trained together.
        optimizer: One optimizer, or a sequence or dict.
        run_dir: Folder to write the run to, step by step; `snellen report RUN_DIR` reads it while the run goes on.
        loss_fn: Called as loss_fn(outputs, targets); experiments need it.
        every: Steps between detailed samples; chosen from the budget when left out.
        budget: Share of the step's time that watching may take, 0..1.
        task: classification, detection, regression, ...; found from targets and outputs when left out.
        trials: Whether a few experiments are run on a copy of the model at the first step.

    Raises:
        TypeError: `model` holds something that is no module, or `optimizer` something that is no optimizer.
    """
    return Watch(model, optimizer, run_dir, loss_fn=loss_fn, every=every, budget=budget, task=task, trials=trials)


def _detached(value: Any) -> Any:
    """The nest with every tensor detached, so that holding it holds no graph."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _detached(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_detached(v) for v in value]
    return value


def _are_labels(targets: Any) -> bool:
    """Whether these are class ids, one a sample."""
    return isinstance(targets, Tensor) and targets.dim() == 1 and targets.dtype in (torch.int64, torch.int32)


def _length(*nests: Any) -> int | None:
    tensors = (first_tensor(nest) for nest in nests)
    return next((len(t) for t in tensors if t is not None and t.dim()), None)


def _numbers(values: Mapping[str, Any] | float | None) -> dict[str, float]:
    if values is None:
        return {}
    return {str(k): float(v) for k, v in values.items()} if isinstance(values, Mapping) else {"loss": float(values)}


SMALLER = ("loss", "error", "err", "mae", "mse", "rmse", "mape", "perplexity", "ppl", "wer", "cer", "fid", "nll")


def _smaller_is_better(metric: str) -> bool:
    words = metric.lower().replace("-", "_").split("_")
    return any(word in SMALLER for word in words)
