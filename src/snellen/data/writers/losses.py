"""The ledger of a conversion: what the target cannot hold, how often, and where."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5
"""Most examples kept of one kind of loss."""


@dataclass
class Loss:
    """One kind of thing that is not in the target as it was in the source."""

    what: str
    """After the count: "polygons became boxes"."""
    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Where: `file:row`, an image, or a class."""


class Losses:
    """Kind -> Loss, in order of appearance. A writer adds to it whatever it changes, leaves out or cannot vouch for."""

    def __init__(self) -> None:
        self._losses: dict[str, Loss] = {}

    def add(self, kind: str, what: str, example: str, count: int = 1) -> None:
        """Count `count` records of `kind` (kebab-case); the first `what` of a kind stands."""
        loss = self._losses.setdefault(kind, Loss(what))
        loss.count += count
        if len(loss.examples) < EXAMPLES:
            loss.examples.append(example)

    def __len__(self) -> int:
        return len(self._losses)

    def __iter__(self) -> Iterator[tuple[str, Loss]]:
        return iter(self._losses.items())

    def __contains__(self, kind: str) -> bool:
        return kind in self._losses

    def count(self, kind: str) -> int:
        """How many records of `kind` were counted."""
        return self._losses[kind].count if kind in self._losses else 0

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON object a kind."""
        return [{"kind": k, "count": x.count, "what": x.what, "examples": x.examples} for k, x in self]
