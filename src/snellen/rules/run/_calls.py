"""What several run rules read from the order of calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snellen.watching.facts import RunFacts


@dataclass(frozen=True)
class Sequence:
    """One order of calls between two steps of an optimizer."""

    optimizer: int
    calls: tuple[str, ...]
    first_step: int
    steps: int

    def before(self, first: str, second: str) -> bool:
        """Whether both were called and the last `first` came before the first `second`."""
        if first not in self.calls or second not in self.calls:
            return False
        last = len(self.calls) - 1 - self.calls[::-1].index(first)
        return last < self.calls.index(second)


def sequences(run: RunFacts) -> Iterator[Sequence]:
    """Every order that was seen."""
    for row in run.calls.iter_rows(named=True):
        calls = tuple(part.strip(",") for part in row["sequence"].replace(">", " ").split())
        yield Sequence(row["optimizer"], calls, row["first_step"] or 0, row["steps"] or 0)


def groups(run: RunFacts) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Row of each parameter group and its options."""
    for row in run.groups.iter_rows(named=True):
        yield row, json.loads(row["options"] or "{}")


def family(kind: str) -> str:
    """adam-decoupled, adam, rmsprop or sgd, from the class name of the optimizer; "" for others."""
    name = kind.lower()
    if "adamw" in name or name in ("lamb", "lion", "adan"):
        return "adam-decoupled"
    if "adam" in name:
        return "adam"
    if "rmsprop" in name:
        return "rmsprop"
    return "sgd" if "sgd" in name else ""
