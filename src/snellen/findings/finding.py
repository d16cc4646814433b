"""A finding: one sentence of judgement with its evidence, its place and, where there is one, its fix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from snellen.files import plain_json
from snellen.findings.place import Place
from snellen.findings.severity import Severity


class FixSafety(StrEnum):
    """Whether a fix can change what the labels or the recipe mean."""

    SAFE = "safe"
    """Cannot change the meaning: rounding, exact duplicates, recomputed fields; of a recipe: the same is learned from
    the same data, and the value it replaces taught nothing."""
    UNSAFE = "unsafe"
    """May drop or move something that was meant; of a recipe: changes the loss, the network or the regularisation, or
    rests on a trial alone."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What would mend a finding, as an edit to a copy of the subject."""

    safety: FixSafety
    title: str
    """An instruction in a few words: "clip the box to the image"."""
    edit: Mapping[str, Any] = field(default_factory=dict)
    """The edit as data, for the fixer: `{"op": "clip-box", ...}`. Empty: a person has to do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule says of one place.

    A rule fills `message`, `place`, `evidence`, `affected`, `fix` and `rank`; the engine fills the rest.
    """

    rule: str = ""
    code: str = ""
    severity: Severity = Severity.WARNING
    message: str
    """One sentence: what, the number against the limit, the consequence."""
    place: Place = field(default_factory=Place)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and short lists. `images`, when present, lists example images by path."""
    affected: int = 1
    """How many records (boxes, images, layers, steps) this finding speaks of."""
    of: int | None = None
    """Out of how many; None where a share makes no sense."""
    fix: Fix | None = None
    rank: float = 0.0
    """Order inside the rule: the worst first."""
    caused_by: str | None = None
    """Fingerprint of the finding of which this one is only a consequence."""

    @property
    def fingerprint(self) -> str:
        """Stable across runs: rule and place, not numbers, so a baseline survives a changed value."""
        place = self.place.to_dict()
        place.pop("step", None)
        key = f"{self.rule}\0{sorted(place.items())!r}"
        return blake2b(key.encode(), digest_size=8).hexdigest()

    @property
    def share(self) -> float | None:
        """`affected / of` in 0..1, or None."""
        return self.affected / self.of if self.of else None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON, whatever a rule put into it (see `plain_json`); the schema of `findings.json`."""
        record: dict[str, Any] = {
            "rule": self.rule,
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
            "place": self.place.to_dict(),
            "evidence": dict(self.evidence),
            "affected": self.affected,
            "of": self.of,
            "fix": {"safety": str(self.fix.safety), "title": self.fix.title, "edit": dict(self.fix.edit)}
            if self.fix
            else None,
            "rank": self.rank,
            "caused_by": self.caused_by,
            "fingerprint": self.fingerprint,
        }
        return {name: plain_json(value) for name, value in record.items()}
