"""Runs cases under one tool: `python -m benchmarks.chart.worker TOOL`, with requests and answers as lines of JSON.

A request is {"case": name, "seed": n}. The answer holds the score, the steps, what the tool said at the end and early,
and the error, where the run ended with one. A worker imports no more than the cases and its tool need, so that it runs
in a peer's own environment.
"""

import importlib
import json
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.harness import LOOKS, Nothing, Said, Snellen, Tool
from benchmarks.chart.repair import RECIPE_FAULTS, repair

FACTS = "SNELLEN_CHART_FACTS"
"""Environment variable: the folder that keeps the facts of Snellen's runs, for `rejudge`."""


def facts_folder(root: Path, case: str, seed: int) -> Path:
    """Where the facts of one run are kept."""
    return root / case.replace("/", "--") / str(seed)


def tool_class(name: str) -> type[Tool]:
    """The harness of the tool `name`.

    Raises:
        ValueError: there is no such tool.
    """
    own = {"none": Nothing, "snellen": Snellen}
    if name in own:
        return own[name]
    from benchmarks.chart.peers import MODULES

    if name not in MODULES:
        raise ValueError(f"{name}: no such tool; there are {', '.join([*own, *MODULES])}")
    return importlib.import_module(f"benchmarks.chart.peers.{MODULES[name]}").Peer


class Guarded:
    """A tool whose failure does not end the run: it is asked no more, and the row says that it failed."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.failure: str | None = None

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        if self.failure is None:
            try:
                return getattr(self.tool, name)(*args, **options)
            except Exception as problem:  # Whatever a foreign tool raises.
                self.failure = f"tool: {type(problem).__name__}: {problem}"[:300]
        return None

    def begin(self, *args: Any, **options: Any) -> None:
        """See case.Harness."""
        self._call("begin", *args, **options)

    def step(self, **options: Any) -> None:
        """See case.Harness."""
        self._call("step", **options)

    def epoch(self, **options: Any) -> None:
        """See case.Harness."""
        self._call("epoch", **options)


def run_case(case: Case, tool: Tool, seed: int) -> dict[str, Any]:
    """One run under one tool, as a row."""
    began = time.perf_counter()
    score, error, said = None, None, list[Said]()
    tool.problem = None
    tool.steps, tool.early, tool.looks = 0, {}, LOOKS if seed == 0 else ()
    guarded = Guarded(tool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score = case.run(guarded, seed)
        except Exception as problem:  # A fault may well end a run; the tool still has its say.
            error = f"{type(problem).__name__}: {problem}"[:300]
            tool.problem = problem
        try:
            said = tool.findings()
        except Exception as problem:  # A tool that fails has said nothing; the row tells that it failed.
            error = f"tool: {type(problem).__name__}: {problem}"[:300]
        error = guarded.failure or error
    if isinstance(tool, Snellen) and FACTS in os.environ:
        folder = facts_folder(Path(os.environ[FACTS]), case.name, seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tool.watch.facts().save(folder)
    mending = None
    if isinstance(tool, Snellen) and case.change is not None and case.fault_number in RECIPE_FAULTS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mending = repair(case, seed, said, Snellen, Nothing())
    return {
        "repair": mending,
        "case": case.name,
        "seed": seed,
        "score": score,
        "steps": tool.steps,
        "seconds": round(time.perf_counter() - began, 3),
        "error": error,
        "said": [s.to_dict() for s in said],
        "early": {str(step): [s.to_dict() for s in found] for step, found in tool.early.items()},
    }


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a tool prints must not stand among the answers.
    torch.set_num_threads(1)
    kind = tool_class(sys.argv[1])
    cases = {case.name: case for case in all_cases()}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(run_case(cases[request["case"]], kind(), request["seed"])) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
