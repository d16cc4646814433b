"""RunFacts from a log that is already written: our `steps.jsonl`, or a CSV of epochs from any program.

A log holds fewer facts than a watched run, so fewer rules can speak; none guesses what it does not see. Lines that
cannot be read become `unreadable-line` events, each with its number.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from snellen.errors import UseError
from snellen.facts import Schema, table
from snellen.watching.facts import EPOCHS, EVENTS, SIGNALS, STEPS, RunFacts

LONGEST_LINE = 1_000_000
"""Characters; a longer line is no log line."""


class LogError(UseError):
    """A log that cannot be read at all."""


def read_steps(path: Path, **about: Any) -> RunFacts:
    """Read a JSON-lines log, one optimizer step a line with the columns of `watching.facts.STEPS` (others are ignored).

    `about`: further scalar fields of RunFacts. Raises LogError when the file is missing or no line has a loss.
    """
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            record = json.loads(line)
            rows.append(_row(record, STEPS, len(rows), "step", "loss"))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            bad.append((number, f"{type(error).__name__}: {error}"))
    if not rows:
        raise LogError(f"{path}: no line holds a step with a loss")
    return _facts(rows, [], bad, about)


def with_later_steps(facts: RunFacts, log: Path) -> RunFacts:
    """`facts`, and the steps after its last one that stand in the JSON-lines `log` of the same run, if there are any.

    A line cut off by a crash is left out; other unreadable lines become events, as in `read_steps`.
    """
    try:
        more = read_steps(log)
    except LogError:
        return facts
    known = -1 if facts.steps.is_empty() else int(facts.steps["step"].max())  # type: ignore[arg-type]
    later = more.steps.filter(pl.col("step") > known)
    return replace(facts, steps=pl.concat([facts.steps, later]), events=pl.concat([facts.events, more.events]))


def read_epochs(path: Path, **about: Any) -> RunFacts:
    """Read a CSV with columns `epoch`, `train_loss` and any of `val_loss`, `metric`, `train_metric`, `seconds`.

    Raises LogError when the file is missing or a needed column is.
    """
    reader = csv.DictReader(_lines(path))
    names = [str(n).strip() for n in reader.fieldnames or ()]
    if absent := {"epoch", "train_loss"} - set(names):
        raise LogError(f"{path}: no column {' and '.join(sorted(absent))}; found {', '.join(names) or 'nothing'}")
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for record in reader:
        try:
            clean = {str(k).strip(): v for k, v in record.items() if isinstance(v, str) and v.strip()}
            rows.append(_row(clean, EPOCHS, len(rows), "epoch", "train_loss"))
        except (ValueError, TypeError, KeyError) as error:
            bad.append((reader.line_num, f"{type(error).__name__}: {error}"))
    return _facts([], rows, bad, about)


def _lines(path: Path) -> Iterable[str]:
    if not path.is_file():
        raise LogError(f"{path}: no such file")
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        for line in iter(lambda: lines.readline(LONGEST_LINE), ""):
            if line.strip():
                yield line


def _row(record: Mapping[str, Any], schema: Schema, index: int, key: str, needed: str) -> dict[str, Any]:
    """The documented columns of `record`, converted; `key` defaults to the running index. Raises when one is odd."""
    if not isinstance(record, Mapping):
        raise TypeError(f"expected an object, got {type(record).__name__}")
    row: dict[str, Any] = {}
    for name, (dtype, _) in schema.items():
        value = record.get(name)
        if value is None:
            row[name] = None
        elif dtype == pl.Float64():
            row[name] = float(value)
        elif dtype == pl.Boolean():
            row[name] = value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1")
        else:
            number = float(value)
            if not math.isfinite(number) or abs(number) >= 2**53:
                raise ValueError(f"{name} = {value!r} is not a whole number")
            row[name] = int(number)
    if row[needed] is None:
        raise KeyError(needed)
    row[key] = index if row[key] is None else row[key]
    return row


def _facts(
    steps: list[dict[str, Any]], epochs: list[dict[str, Any]], bad: list[tuple[int, str]], about: Mapping[str, Any]
) -> RunFacts:
    events = [
        {"step": None, "kind": "unreadable-line", "layer": None, "message": f"line {n}: {why}", "value": float(n)}
        for n, why in bad
    ]
    return RunFacts(
        steps=table(STEPS, steps),
        epochs=table(EPOCHS, epochs),
        signals=table(SIGNALS),
        events=table(EVENTS, events),
        **about,
    )
