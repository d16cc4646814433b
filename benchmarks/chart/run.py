"""Run the chart: every case, under every tool, with every seed.

    python -m benchmarks.chart.run                                         Snellen, all cases, three seeds
    python -m benchmarks.chart.run --cases 'loop/*' 'healthy/*' --seeds 0  some of them
    python -m benchmarks.chart.run --tools torchmortem guardtower --peer-python /tmp/peers/bin/python
    python -m benchmarks.chart.run --page                                  and write the tables

Rows go to a file, one line each, as they come; runs that stand in it are not run again, so that an interrupted chart
goes on where it stopped. Peers need an environment of their own:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch torchvision scikit-learn torch-audit torchmortem \
        guardtower trainpulse neural-observatory torchdiag
"""

import argparse
import fnmatch
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.peers import MODULES
from benchmarks.chart.worker import FACTS

OWN = ("snellen", "none")
"""Tools that run in this environment."""
ROWS = Path("build/chart/rows.jsonl")
Job = tuple[str, str, int]
"""Tool, case, seed."""


class Worker:
    """A process that runs cases under one tool, started when first asked and again after a timeout or a crash."""

    def __init__(self, tool: str, python: str) -> None:
        self.tool, self.python = tool, python
        self.process: subprocess.Popen[str] | None = None

    def ask(self, case: str, seed: int, timeout: float) -> dict[str, Any]:
        """The row of one run; a run that takes longer than `timeout` seconds, or kills the process, is a row, too."""
        if self.process is None:
            self.process = subprocess.Popen(
                [self.python, "-m", "benchmarks.chart.worker", self.tool],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is ours to handle.
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        failure = f"no answer in {timeout:.0f} s"
        try:
            self.process.stdin.write(json.dumps({"case": case, "seed": seed}) + "\n")
            self.process.stdin.flush()
            with selectors.DefaultSelector() as ready:
                ready.register(self.process.stdout, selectors.EVENT_READ)
                line = self.process.stdout.readline() if ready.select(timeout) else None
            if line:
                return dict(json.loads(line))
            if line == "":
                failure = f"the worker ended with code {self.process.wait()}"
        except BrokenPipeError:
            failure = f"the worker ended with code {self.process.wait()}"
        self.stop()
        return {
            "case": case, "seed": seed, "score": None, "steps": 0, "seconds": timeout, "error": failure, "said": [],
            "early": {},
        }  # fmt: skip

    def _environment(self) -> dict[str, str]:
        root = str(Path(__file__).parents[2])
        return os.environ | {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONPATH": f"{root}/src{os.pathsep}{root}",
        }

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()  # Waits, and closes the pipes.
            self.process = None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows written so far; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a line that was cut off is left out", file=sys.stderr)
    return rows


def chosen(patterns: Sequence[str]) -> list[Case]:
    """Cases whose names fit one of the patterns."""
    return [c for c in all_cases() if any(fnmatch.fnmatch(c.name, p) for p in patterns)]


class Chart:
    """Runs jobs in several threads, each with a worker of its own per tool, and writes the rows."""

    def __init__(self, jobs: Sequence[Job], path: Path, pythons: dict[str, str], timeout: float) -> None:
        self.waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self.waiting.put(job)
        self.total, self.done, self.began = len(jobs), 0, time.monotonic()
        self.path, self.pythons, self.timeout = path, pythons, timeout
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.workers: list[Worker] = []

    def run(self, threads: int) -> bool:
        """Run everything; False when it was interrupted."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pool = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in pool:
            thread.start()
        try:
            while any(thread.is_alive() for thread in pool):
                for thread in pool:
                    thread.join(0.2)
        except KeyboardInterrupt:
            self.stopped.set()
        for worker in self.workers:
            worker.stop()
        print(file=sys.stderr)
        return not self.stopped.is_set()

    def _work(self) -> None:
        mine: dict[str, Worker] = {}
        while not self.stopped.is_set():
            try:
                tool, case, seed = self.waiting.get_nowait()
            except queue.Empty:
                return
            if tool not in mine:
                mine[tool] = Worker(tool, self.pythons[tool])
                self.workers.append(mine[tool])
            row = {"tool": tool, **mine[tool].ask(case, seed, self.timeout)}
            if self.stopped.is_set():
                return  # The worker was ended under it.
            with self.lock:
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                self.done += 1
                self._show(f"{tool} {case}")

    def _show(self, what: str) -> None:
        took = time.monotonic() - self.began
        left = took / self.done * (self.total - self.done)
        print(
            f"\r{self.done}/{self.total} runs, {took:.0f} s, about {left:.0f} s left  {what[:60]:60s}",
            end="",
            file=sys.stderr,
            flush=True,
        )


def main() -> int:
    """Read the command line, run, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", default=["snellen"], choices=[*OWN, *MODULES])
    parser.add_argument("--cases", nargs="+", default=["*"], help="patterns of names such as 'loop/*'")
    parser.add_argument("--one-subject", action="store_true", help="each fault in the first of its subjects only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one run")
    parser.add_argument("--peer-python", help="python of the environment that holds the peers")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--facts", type=Path, help="folder to keep the facts of Snellen's runs in, for `rejudge`")
    parser.add_argument("--again", action="store_true", help="run the chosen runs anew")
    parser.add_argument("--page", action="store_true", help="write the tables as Markdown and HTML beside the rows")
    options = parser.parse_args()
    if any(tool in MODULES for tool in options.tools) and not options.peer_python:
        parser.error("peers need --peer-python")
    cases = chosen(options.cases)
    if options.one_subject:
        cases = list({c.name.rsplit("/", 1)[0] if c.faulty else c.name: c for c in reversed(cases)}.values())[::-1]
    jobs = [(t, c.name, s) for s in options.seeds for c in cases for t in options.tools]
    rows = read_rows(options.rows)
    if options.again:
        wanted = set(jobs)
        rows = [row for row in rows if (row["tool"], row["case"], row["seed"]) not in wanted]
        options.rows.parent.mkdir(parents=True, exist_ok=True)
        options.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = {(row["tool"], row["case"], row["seed"]) for row in rows}
    left = [job for job in jobs if job not in done]
    if not jobs:
        parser.error(f"no case fits {' '.join(options.cases)}")
    print(f"{len(jobs)} runs, {len(jobs) - len(left)} of them done before", file=sys.stderr)
    if options.facts:
        os.environ[FACTS] = str(options.facts.resolve())
    pythons = {t: sys.executable if t in OWN else options.peer_python for t in options.tools}
    if left and not Chart(left, options.rows, pythons, options.timeout).run(options.jobs):
        print(f"interrupted; the same command goes on from {options.rows}", file=sys.stderr)
        return 130
    from benchmarks.chart.page import summary, write_page

    rows = read_rows(options.rows)
    print(summary(rows))
    if options.page:
        for path in write_page(rows, options.rows.parent):
            print(f"wrote {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
