"""Other linters on the same sets: each `with_<peer>.py` is run by that peer's Python, and says what its issues mean.

A module has `FORMATS`, `FITS` (number of the check -> the peer's kinds of issue that speak of it) and `issues(form,
root)`, which yields severity, kind and text of each issue. Run as a script it is a server: a line of format and root
in, a line of JSON out.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

Issue = tuple[str, str, str]
"""Severity (error, warning, info), kind, and everything else that was said."""
PEERS = ("cvflow", "labellint", "cleanvision", "datumaro", "panlabel")


@dataclass
class Answer:
    """What a peer said of one set."""

    issues: list[Issue]
    error: str | None
    """Why it stopped; None when it did not."""


def serve(issues: Callable[[str, str], Iterable[Issue]]) -> None:
    """Answer the sets named on standard input, until it ends; what the peer prints itself is thrown away."""
    out = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for line in sys.stdin:
        form, root = line.rstrip("\n").split("\t")
        found: list[Issue] = []
        error = None
        try:
            found.extend(issues(form, root))
        except (Exception, SystemExit) as raised:  # whatever a peer dies of is its answer
            error = f"{type(raised).__name__}: {raised}"[:300]
        out.write(json.dumps([found, error]) + "\n")
        out.flush()


@dataclass
class Peer:
    """A running peer, to be used as a context."""

    name: str
    python: Path
    module: ModuleType = field(init=False)
    scratch: tempfile.TemporaryDirectory[str] = field(init=False)
    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> "Peer":
        self.module = import_module(f"benchmarks.planted_defects.peers.with_{self.name}")
        self.scratch = tempfile.TemporaryDirectory()
        self._start()
        return self

    def _start(self) -> None:
        root = Path(__file__).resolve().parents[3]
        environment = {
            "PYTHONPATH": str(root),
            "HOME": self.scratch.name,
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
        }
        self.process = subprocess.Popen(
            [str(self.python), "-m", self.module.__name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.scratch.name,
            env=environment,
        )  # fmt: skip

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.scratch.cleanup()

    def ask(self, form: str, root: Path) -> Answer:
        """Have it look at the set of format `form` at `root`."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError(f"{self.name} has no pipes")
        self.process.stdin.write(f"{form}\t{root}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self._start()
            return Answer([], f"ended with code {code}")
        found, error = json.loads(line)
        return Answer([tuple(issue) for issue in found], error)

    def fits(self, check: int) -> frozenset[str]:
        """Kinds of issue that count for a check."""
        table: dict[int, str] = self.module.FITS
        return frozenset(table.get(check, "").split())


def run_json(command: list[str]) -> Any:
    """What a command-line peer prints, as JSON. Raises RuntimeError with its message when that is none."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    try:
        return json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(said[-1] if said else f"code {done.returncode}") from None


def coco_names(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Image id -> file name, and annotation id -> file name, of a COCO file; empty where it is broken."""
    try:
        document = json.loads(path.read_text())
        images = {i["id"]: i["file_name"] for i in document["images"]}
        return images, {a["id"]: images.get(a["image_id"], "") for a in document["annotations"]}
    except (ValueError, KeyError, TypeError):
        return {}, {}
