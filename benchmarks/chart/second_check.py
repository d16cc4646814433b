"""Train the cases of the second look without a tool: do the healthy ones learn, and what do the faults cost?

    python -m benchmarks.chart.second_check ['second/*'] [--seeds 0 1 2]

Prints a line per case: its score, the least that a healthy one may have, and its time.
"""

import argparse
import fnmatch
import time
import warnings

import torch
from benchmarks.chart.case import all_cases
from benchmarks.chart.harness import Nothing
from benchmarks.chart.second import BARS


def main() -> int:
    """Exit code 1 when a healthy recipe does not learn or a case breaks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["second/*"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    short = 0
    for case in all_cases():
        if not any(fnmatch.fnmatch(case.name, pattern) for pattern in options.cases):
            continue
        for seed in options.seeds:
            began = time.perf_counter()
            try:
                score = case.run(Nothing(), seed)
            except Exception as error:
                print(f"BROKEN  {case.name} seed {seed}: {type(error).__name__}: {error}", flush=True)
                short += 1
                continue
            bar = BARS.get(case.name)
            fails = bar is not None and (score is None or not score >= bar)
            short += fails
            verdict = "SHORT  " if fails else "fault  " if case.faulty else "learns "
            seconds = time.perf_counter() - began
            print(f"{verdict} {case.name} seed {seed}: {score} (bar {bar}) {seconds:.1f} s", flush=True)
    return 1 if short else 0


if __name__ == "__main__":
    raise SystemExit(main())
