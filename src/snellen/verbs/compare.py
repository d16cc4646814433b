"""`compare`: which differences between finished runs are real and what each costs; or networks side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from snellen.errors import UseError
from snellen.result import Result
from snellen.verbs.run_folder import read_run

if TYPE_CHECKING:
    from torch import nn

    from snellen.evaluation.comparison import Comparison
    from snellen.network.comparison import NetworkComparison
    from snellen.network.facts import NetworkFacts


def compare(
    *subjects: "str | Path | Result | nn.Module", replicates: int = 1000, seed: int = 0, inputs: Any = None,
    input_size: int | None = None, batch: int = 32, num_classes: int | None = None, time: bool = False,
) -> "Comparison | NetworkComparison":  # fmt: skip
    """Compare every run with the first one on the same images; or, where not all are runs, networks before training.

    Runs are run folders, or results of `exam` and `evaluate`; `replicates` draws of the images decide what is real.

    Networks are what `inspect` takes: names, modules, `.onnx` and `.pt2` files; each is examined on one input of shape
    `inputs` or `input_size`, and the memory of a training step told for `batch` images. With `time` each is run on this
    machine. A run among them brings its own network and score; of the others the accuracy published under their name
    is told, where there is one.

    Raises UseError when a run holds no scores, or when they cannot be compared: other images, labels, classes or task;
    on unknown names, and on fewer than two subjects.
    """
    if len(subjects) < 2:
        raise UseError("compare takes two or more runs or networks")
    if not all(_is_run(subject) for subject in subjects):
        return _networks(subjects, inputs, input_size, batch, num_classes, time)
    runs = [subject for subject in subjects if isinstance(subject, (str, Path, Result))]
    return _runs(runs, replicates, seed)


def _is_run(subject: object) -> bool:
    """A result, a folder, or a path that could only be one."""
    from snellen.network.files import is_network_file

    if isinstance(subject, Result):
        return True
    if not isinstance(subject, (str, Path)) or is_network_file(str(subject)):
        return False
    return Path(subject).is_dir() or (":" not in str(subject) and len(Path(subject).parts) > 1)


def _networks(
    subjects: Sequence[Any], inputs: Any, input_size: int | None, batch: int, num_classes: int | None, time: bool
) -> "NetworkComparison":
    from snellen.network.comparison import compare_networks
    from snellen.report.totals import headline_rows
    from snellen.verbs.inspect import inspect

    named: list[tuple[str, NetworkFacts]] = []
    scores: list[tuple[float, str] | None] = []
    for subject in subjects:
        if _is_run(subject):
            result = subject if isinstance(subject, Result) else read_run(subject)
        else:
            result = inspect(subject, inputs, input_size=input_size, num_classes=num_classes, time=time)
        if result.network is None:
            raise UseError(f"{result.subject}: holds no facts of a network")
        told = headline_rows(result.scores) if result.scores is not None else []
        scores.append(
            (told[0].value, f"{told[0].metric} of the run {result.subject}") if told and told[0].value else None
        )
        named.append((str(result.folder.name) if result.folder is not None else result.subject, result.network))
    return compare_networks(named, scores, batch=batch)


def _runs(runs: Sequence[str | Path | Result], replicates: int, seed: int) -> "Comparison":
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
