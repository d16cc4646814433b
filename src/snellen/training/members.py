"""A folder of several runs, folds or bags, and what it says of itself in `members.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.errors import UseError
from snellen.files import to_json, write_text

FILE = "members.json"


@dataclass(frozen=True)
class Members:
    """What the folder holds."""

    kind: str
    """folds or bags."""
    count: int

    @property
    def names(self) -> list[str]:
        """The runs' folders: fold-1, fold-2, ..."""
        return [f"{self.kind.removesuffix('s')}-{number}" for number in range(1, self.count + 1)]


def write_members(folder: Path, members: Members, scores: dict[str, Any] | None = None) -> None:
    """Write what `folder` holds and, in the end, what the runs reached."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"kind": members.kind, "count": members.count, "runs": members.names, **(scores or {})}
    write_text(folder / FILE, to_json(about), durable=True)


def read_members(folder: Path) -> Members | None:
    """What `folder` holds; None where it is no folder of several runs. Raises UseError when it cannot be read."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind, count = values["kind"], values["count"]
        if kind not in ("folds", "bags") or not isinstance(count, int) or not 1 <= count <= 1000:
            raise ValueError(f"kind {kind!r}, count {count!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UseError(f"{path}: does not say which runs lie there: {error}") from error
    return Members(kind, count)
