"""From a subject to RunFacts: the experiments, and what model and optimizer are before the first step."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.experiments.modes import in_mode
from snellen.experiments.reach import group_rows, parameter_rows
from snellen.experiments.run import at_most, everything
from snellen.experiments.snapshot import generators_kept, restored
from snellen.experiments.subject import CannotRunError, LossFunction, Row, Subject, subject_of
from snellen.facts import table
from snellen.progress import Progress, silent
from snellen.watching.facts import RunFacts

SHARE = 0.85
"""Part of the time that the experiments get; judging and drawing take some too, and a last step may be slow."""
BATCHES = 4
"""Batches of a loader that the sweep of learning rates takes in turn."""


def preflight_facts(
    model: nn.Module,
    batch_or_loader: Any,
    loss_fn: LossFunction | None = None,
    optimizer: Optimizer | None = None,
    *,
    seconds: float = 60.0,
    progress: Progress = silent,
) -> tuple[RunFacts, list[Subject]]:
    """RunFacts of a training that has not begun: trials, groups, parameters, and one row of steps; and the subjects.

    Model, optimizer and generators are bit for bit as before. What stops the model from running at all becomes an event
    `preflight-refused` with the reason, and the facts hold what can be said without running it.
    """
    inner = getattr(optimizer, "optimizer", None)
    optimizer = inner if isinstance(inner, Optimizer) else optimizer
    subjects: list[Subject] = []
    events: list[Row] = []
    rows: list[Row] = []
    began = time.perf_counter()
    try:
        with generators_kept():
            subjects = [subject_of(model, b, loss_fn, optimizer) for b in _batches(batch_or_loader)]
        subjects = _as_it_runs(subjects)
        rows = everything(subjects[0], SHARE * seconds - (time.perf_counter() - began), progress, subjects)
    except (CannotRunError, ValueError) as error:
        events.append({"kind": "preflight-refused", "message": f"the experiments cannot be made: {error}"})
    subject = subjects[0] if subjects else Subject(model, None, None, loss_fn, optimizer)
    return _facts(subject, rows, events), subjects


def _batches(given: Any) -> list[Any]:
    """The first batches of a loader, or the one batch that was given."""
    if isinstance(given, Tensor | Mapping | list | tuple):
        return [given]
    found = list(islice(iter(given), BATCHES))
    if not found:
        raise CannotRunError("the loader is empty")
    return found


def _as_it_runs(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, called in the way that their model accepts: by position, by keyword, or with the targets.

    Raises:
        CannotRunError: In none of the ways does the model run on the first batch.
    """
    first = subjects[0]
    ways: list[dict[str, Any]] = [{}, {"takes_targets": True}] if first.targets is not None else [{}]
    if getattr(first.model, "needs_targets", False):
        # It runs without them, too, but its loss is of the regions that it samples by them.
        ways.reverse()
    if isinstance(first.inputs, Mapping):
        only = next(iter(first.inputs.values()), None)
        ways.append({"inputs": only})
    reasons: list[CannotRunError] = []
    for way in ways:
        with restored(first.model, first.optimizer), in_mode(first.model, True), torch.no_grad():
            try:
                # Two samples, or the batch where it cannot be cut: enough to see whether it runs.
                subject = at_most(replace(first, **way), 2)
                outputs = subject.outputs()
                if subject.loss_fn is not None or way.get("takes_targets"):
                    subject.loss(outputs)
                return [replace(s, **way) for s in subjects]
            except CannotRunError as error:
                reasons.append(error)
    raise reasons[0]


def _facts(subject: Subject, rows: list[Row], events: list[Row]) -> RunFacts:
    reach = [r for r in rows if r["trial"] == "gradient-reach" and r.get("layer")]
    parameters = parameter_rows(subject, reach)
    events += list(_not_reached(reach))
    begin = next((r for r in rows if r["trial"] == "initial-loss" and r["value"] is not None), None)
    optimizer = subject.optimizer
    rate = max((g["lr"] for g in optimizer.param_groups if "lr" in g), default=None) if optimizer else None
    steps: list[Row] = []
    if begin is not None and math.isfinite(begin["value"]):
        steps.append(
            {
                "step": 0, "epoch": 0, "loss": begin["value"], "lr": None if rate is None else float(rate),
                "batch_size": subject.count, "training_mode": True,
            }
        )  # fmt: skip
    trainable = [p for p in parameters if p["trainable"]]
    held = [p for p in trainable if p["optimizers"]]
    sizes = dict.fromkeys((p["name"] for p in trainable), 0) | {p["name"]: math.prod(p["shape"]) for p in trainable}
    plain = {k: v for k, v in (optimizer.param_groups[0].items() if optimizer else ()) if isinstance(v, int | float)}
    tables: dict[str, Any] = dict(RunFacts.empty_tables())
    tables |= {
        "steps": table(RunFacts.TABLES["steps"], steps),
        "events": table(RunFacts.TABLES["events"], events),
        "groups": table(RunFacts.TABLES["groups"], group_rows(subject)),
        "parameters": table(RunFacts.TABLES["parameters"], parameters),
        "trials": table(RunFacts.TABLES["trials"], rows),
    }
    return RunFacts(
        **tables,
        loss_kind=begin["detail"] if begin is not None and begin["expected"] is not None else "",
        initial_loss_expected=begin["expected"] if begin is not None and begin["detail"] != "mse" else None,
        trainable_params=sum(sizes.values()),
        optimizer_params=sum(sizes[p["name"]] for p in held) if optimizer else sum(sizes.values()),
        optimizer=type(optimizer).__name__ if optimizer else "",
        options=plain,
        missing_from_optimizer=[p["name"] for p in trainable if not p["optimizers"]] if optimizer else [],
        without_gradient=[r["layer"] for r in reach if r["value"] is None],
        finished=False,
    )


def _not_reached(reach: list[Row]) -> Iterator[Row]:
    for row in reach:
        if row["value"] is None and row["detail"] == "called":
            message = f"{row['layer']} took part in the forward pass and received no gradient"
            yield {"step": 0, "kind": "gradient-not-reached", "layer": row["layer"], "message": message}


def with_trials(run: RunFacts, before: RunFacts | None) -> RunFacts:
    """The facts of a run with the trials of its preflight in front."""
    return run if before is None else replace(run, trials=pl.concat([before.trials, run.trials]))
