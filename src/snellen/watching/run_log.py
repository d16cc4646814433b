"""The folder of a watched run: steps as they come, everything else now and then, readable at any moment.

RUN/result.json    what is watched, on what machine: from the first step on
    steps.jsonl    one line a step, appended as they are read from the device
    facts/run/     all facts; written again when that costs little of the time since the last writing, and at the end
    blame/         what `snellen replay` needs, when the run became non-finite
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snellen.environment import environment
from snellen.errors import UseError
from snellen.files import to_json, write_text
from snellen.watching.facts import RunFacts

SECONDS = 10.0
"""Steps are written at least this often, however long a step takes."""


class RunLog:
    """Writes one watched run.

    Raises:
        UseError: The folder holds a run already.
    """

    def __init__(self, folder: Path, subject: str, share: float) -> None:
        if (folder / "result.json").exists() or (folder / "steps.jsonl").exists():
            raise UseError(f"{folder}: holds a run already; name another run_dir")
        self.folder, self._share = folder, share
        self._last_lines = self._last_save = time.perf_counter()
        self._cost = 0.0
        self._saved = False
        folder.mkdir(parents=True, exist_ok=True)
        about = {"subject": subject, "recipe": {}, "environment": environment(), "seconds": {}}
        write_text(folder / "result.json", to_json(about))
        self._lines = folder / "steps.jsonl"
        self._lines.touch()

    @property
    def is_late(self) -> bool:
        """Whether steps have waited long enough."""
        return time.perf_counter() - self._last_lines > SECONDS

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a line for each step, columns of `watching.facts.STEPS`."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self._last_lines = time.perf_counter()

    def save(self, facts: Callable[[], RunFacts], *, final: bool = False) -> None:
        """Write all facts, if the last writing cost little beside the time since, or always when `final`."""
        begin = time.perf_counter()
        if self._saved and not final and self._cost > self._share / 2 * (begin - self._last_save):
            return
        facts().save(self.folder / "facts" / "run")
        self._saved, self._last_save = True, time.perf_counter()
        self._cost = self._last_save - begin
