"""`compare`: which differences between finished runs are real, and what each run costs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from snellen.errors import UseError
from snellen.result import Result
from snellen.verbs.run_folder import read_run

if TYPE_CHECKING:
    from snellen.evaluation.comparison import Comparison


def compare(*runs: str | Path | Result, replicates: int = 1000, seed: int = 0) -> "Comparison":
    """Compare every run with the first one on the same images.

    `runs` are run folders, or results of `exam` and `evaluate`; `replicates` draws of the images decide what is real.
    Raises UseError when a run holds no scores, or when they cannot be compared: other images, labels, classes or task.
    """
    from snellen.evaluation.comparison import compare_scores

    results = [run if isinstance(run, Result) else read_run(run) for run in runs]
    names = _names([str(run.folder or run.subject) if isinstance(run, Result) else str(run) for run in runs])
    scored = []
    for name, result in zip(names, results, strict=True):
        if result.scores is None:
            raise UseError(f"{name}: holds no scores; `snellen evaluate {name} --data DATA` makes them")
        scored.append((name, result.scores))
    found = compare_scores(scored, replicates=replicates, seed=seed)
    costs = pl.DataFrame([_cost(result) for result in results], schema={n: found.runs.schema[n] for n in _COSTS})
    return replace(found, runs=found.runs.with_columns(costs))


_COSTS = ("parameters", "flops", "input", "training_seconds", "seconds_per_image")


def _cost(result: Result) -> dict[str, Any]:
    network = result.network
    return {
        "parameters": network.total_params if network else None,
        "flops": 2 * network.macs if network else None,
        "input": " x ".join(map(str, network.input_shape)) if network else None,
        "training_seconds": result.seconds.get("train"),
        "seconds_per_image": result.scores.seconds_per_image if result.scores else None,
    }


def _names(paths: list[str]) -> list[str]:
    """The folders' names, or the paths as given where two would be alike; bytes that are no text as escapes."""
    paths = [path.encode("utf-8", "backslashreplace").decode() for path in paths]
    short = [Path(path).name or path for path in paths]
    return short if len(set(short)) == len(short) else paths
