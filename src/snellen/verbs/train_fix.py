"""`train --fix`: train again with what the findings offer to change in the recipe, and keep the better run."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.errors import UseError
from snellen.result import Result
from snellen.training.recipe import Recipe
from snellen.training.repair import Repair, repairs
from snellen.verbs.train import train
from snellen.watching.facts import RunFacts

if TYPE_CHECKING:
    from torch import nn

ROUNDS = 3
"""Trainings after the first one; a rate that is far off may take two."""


@dataclass(frozen=True)
class Attempt:
    """A training with one change, compared with the best run before it."""

    rule: str
    changes: Mapping[str, tuple[Any, Any]]
    """Field of the recipe -> its value before and after."""
    before: float | None
    """Validation metric of the best epoch, or minus the validation loss; None: no epoch ended."""
    after: float | None
    folder: Path
    """The run with the change."""

    @property
    def better(self) -> bool:
        """Whether the run with the change is the one to keep."""
        return self.after is not None and (self.before is None or self.after > self.before)


@dataclass(frozen=True)
class TrainFix:
    """What `train_and_fix` did; prints as a table of before and after."""

    result: Result
    """Of the run that is kept."""
    metric: str
    attempts: tuple[Attempt, ...] = ()
    left: tuple[Repair, ...] = ()
    """What the findings of the kept run offer and was not made, because it is unsafe or there was no round left."""

    def __str__(self) -> str:
        lines = []
        if self.attempts:
            rows = [
                (a.rule, _edit(a.changes), _number(a.before), _number(a.after), f"{a.folder}{' *' if a.better else ''}")
                for a in self.attempts
            ]
            table = [("finding", "edit", "before", "after", "run (* better)"), *rows]
            widths = [max(len(row[i]) for row in table) for i in range(4)]
            lines.append(f"fixes of the recipe, by the {self.metric} of each run's best epoch:")
            for rule, edit, before, after, run in table:
                lines.append(
                    f"  {rule:<{widths[0]}}  {edit:<{widths[1]}}  {before:>{widths[2]}}  {after:>{widths[3]}}  {run}"
                )
            lines.append(f"kept: {self.result.folder}")
        elif not self.left:
            lines.append("nothing in the recipe to fix")
        for repair in self.left:
            how = "" if repair.safe else " (unsafe: with --unsafe-fixes)"
            lines.append(f"not tried: {repair.title}, for {repair.finding.rule}{how}")
        return "\n".join(lines)


def train_and_fix(
    data: str | Path,
    *,
    model: "str | nn.Module | None" = None,
    unsafe: bool = False,
    recipe: Recipe | None = None,
    resume: bool = False,
    **options: Any,
) -> TrainFix:
    """Train, change the recipe as the findings offer, train again from the start, and keep the better run.

    Safe changes are made at once, unsafe ones with `unsafe`; one at a time, at most `ROUNDS`, each on top of the best
    run so far and each into a new folder beside the first: NAME-fixed, NAME-fixed-2, ... A network of the caller's own
    starts each time from the weights it came with, and holds those of the kept run in the end. Other parameters as in
    `train`, whose exceptions are raised too.
    """
    pristine = copy.deepcopy(model) if model is not None and not isinstance(model, str) else None
    best = train(data, model=model, recipe=recipe, resume=resume, **options)
    if best.folder is None or best.run is None:
        raise UseError(f"{data}: the training left no run to fix")
    first, metric = best.folder, best.run.metric_name or "minus validation loss"
    learned: Any = None
    common = {name: options[name] for name in ("loss", "settings", "preflight", "progress") if name in options}
    attempts: list[Attempt] = []
    tried = [Recipe.build(dict(best.recipe))]
    while len(attempts) < ROUNDS:
        now = Recipe.build(dict(best.recipe))
        offered = [r for r in repairs(best.findings, now, tried) if r.safe or unsafe]
        if not offered:
            break
        repair = offered[0]
        tried.append(repair.recipe)
        network: Any = copy.deepcopy(pristine) if pristine is not None else model
        run = train(data, model=network, recipe=repair.recipe, out=_beside(first), **common)
        attempt = Attempt(
            rule=repair.finding.rule,
            changes={name: (getattr(now, name), value) for name, value in repair.changes.items()},
            before=_merit(best.run),
            after=_merit(run.run),
            folder=run.folder or first,
        )
        attempts.append(attempt)
        if attempt.better:
            best, learned = run, network
    if learned is not None and model is not None and not isinstance(model, str):
        model.load_state_dict(learned.state_dict())
    left = repairs(best.findings, Recipe.build(dict(best.recipe)), tried)
    return TrainFix(best, metric, tuple(attempts), tuple(left))


def _merit(run: RunFacts | None) -> float | None:
    """As the trainer chooses its best epoch: by the metric, and without one by the validation loss."""
    if run is None:
        return None
    rows = run.epochs.select("metric", "val_loss").iter_rows()
    values = [metric if metric is not None else -loss for metric, loss in rows if (metric, loss) != (None, None)]
    return max((float(v) for v in values if math.isfinite(v)), default=None)


def _beside(folder: Path) -> Path:
    number, place = 1, folder.with_name(f"{folder.name}-fixed")
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}-fixed-{number}")
    return place


def _edit(changes: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{name} {_plain(old)} -> {_plain(new)}" for name, (old, new) in changes.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
