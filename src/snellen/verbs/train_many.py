"""`train --folds` and `train --bags`: the same recipe on several parts of the data, and how far the results spread."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.errors import UseError
from snellen.result import Result
from snellen.training.members import FILE, Members, read_members, write_members
from snellen.training.recipe import Recipe
from snellen.verbs.run_folder import new_run_folder
from snellen.verbs.train import train


@dataclass(frozen=True)
class TrainMany:
    """What `train_many` did; prints as a table of the runs with mean and spread."""

    folder: Path
    """Holds the runs, and `members.json`; `snellen predict` takes it for one network."""
    results: Mapping[str, Result]
    """Name of the run's folder -> the run."""
    metric: str
    scores: Mapping[str, float | None]
    """The metric of each run's best epoch on its own validation images; None: no epoch ended."""

    @property
    def mean(self) -> float | None:
        """Of the runs that have a score."""
        known = self._known
        return float(np.mean(known)) if known else None

    @property
    def spread(self) -> float | None:
        """Standard deviation between the runs (n - 1); None for fewer than two."""
        known = self._known
        return float(np.std(known, ddof=1)) if len(known) > 1 else None

    @property
    def _known(self) -> list[float]:
        return [score for score in self.scores.values() if score is not None]

    def __str__(self) -> str:
        lines = [f"{self.metric} of each run's best epoch, on the images held out of it:"]
        width = max(len(name) for name in self.scores)
        lines += [f"  {name:<{width}}  {_number(score)}" for name, score in self.scores.items()]
        spread = f" +- {self.spread:.3f} between runs" if self.spread is not None else ""
        lines.append(f"  {'mean':<{width}}  {_number(self.mean)}{spread}")
        return "\n".join(lines)


def train_many(
    data: str | Path,
    *,
    folds: int = 0,
    bags: int = 0,
    out: str | Path | None = None,
    recipe: Recipe | None = None,
    resume: bool = False,
    preflight: bool = True,
    **options: Any,
) -> TrainMany:
    """Train once for each of `folds` parts, each held out of one run, or of `bags` draws with replacement.

    The runs lie in `out` as fold-1, fold-2, ... or bag-1, ...; with `resume` those that ended are read, and
    the one that was stopped goes on. The preflight is of the first run alone. Other parameters and exceptions as of
    `train`, except that a ready network is not taken, as each run starts anew.
    """
    if bool(folds) == bool(bags) or max(folds, bags) < 2:
        raise UseError(f"several runs are two or more folds, or two or more bags; got folds {folds}, bags {bags}")
    if not isinstance(options.get("model", ""), str):
        raise UseError("several runs start each from new weights: name the model, or train your own run by run")
    members = Members("folds", folds) if folds else Members("bags", bags)
    folder = _folder(data, out, resume, members)
    results: dict[str, Result] = {}
    for number, name in enumerate(members.names):
        begun = (folder / name / "recipe.toml").is_file()
        part: dict[str, Any] = {"folds": folds, "fold": number} if folds else {"bags": bags, "bag": number}
        results[name] = train(
            data, out=folder / name, recipe=recipe, resume=begun, preflight=preflight and number == 0,
            **{**options, **part},
        )  # fmt: skip
    done = TrainMany(folder, results, _metric(results), {name: _best(result) for name, result in results.items()})
    write_members(
        folder, members, {"metric": done.metric, "scores": dict(done.scores), "mean": done.mean, "spread": done.spread}
    )
    return done


def _folder(data: str | Path, out: str | Path | None, resume: bool, members: Members) -> Path:
    if not resume:
        folder = new_run_folder(out, Path(data), False)
        write_members(folder, members)
        return folder
    if out is None:
        raise UseError("name the folder whose runs are to go on: --out")
    found = read_members(Path(out))
    if found != members:
        holds = f"holds {found.count} {found.kind}" if found else f"holds no {FILE}"
        raise UseError(f"{out}: {holds}, not {members.count} {members.kind} to go on with")
    return Path(out)


def _metric(results: Mapping[str, Result]) -> str:
    return next((r.run.metric_name for r in results.values() if r.run and r.run.metric_name), "metric")


def _best(result: Result) -> float | None:
    if result.run is None:
        return None
    metric = result.run.epochs["metric"].drop_nulls()
    return max((float(value) for value in metric if np.isfinite(value)), default=None)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
