"""The sidecar file that silences single findings, because an image has no comment to put a `noqa` in.

`.snellen-ignore` beside the data holds one suppression a line, and a reason, which is mandatory:

    labels/0001.txt  box-out-of-bounds   # the frame is cut on purpose
    images/night/*   IMG                 # night shots are dark
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from snellen.findings.finding import Finding
from snellen.findings.place import Place
from snellen.findings.registry import UnknownRuleError, find_rules

SIDECAR = ".snellen-ignore"


@dataclass(frozen=True, slots=True)
class Suppression:
    """One usable line of the sidecar."""

    pattern: str
    rules: frozenset[str]
    reason: str
    place: Place

    def covers(self, finding: Finding) -> bool:
        """Whether the finding's rule and one of its paths match."""
        paths = {finding.place.file, finding.place.image} - {None}
        return finding.rule in self.rules and (
            self.pattern == "*" or any(fnmatchcase(str(path), self.pattern) for path in paths)
        )


@dataclass(frozen=True, slots=True)
class BadSuppression:
    """A line of the sidecar that silences nothing, and why."""

    problem: str
    place: Place


def read_suppressions(folder: Path) -> tuple[list[Suppression], list[BadSuppression]]:
    """Read `folder`'s sidecar; a line that cannot be used comes back as a BadSuppression, never as an exception."""
    path = folder / SIDECAR
    if not path.is_file():
        return [], []
    if path.is_symlink():  # it could lead to any file, whose words the findings would then repeat
        return [], [BadSuppression("the file is a link, which is not followed; put a copy there", Place(file=SIDECAR))]
    good: list[Suppression] = []
    bad: list[BadSuppression] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        entry, _, reason = line.partition("#")
        if not entry.strip():
            continue
        place = Place(file=SIDECAR, row=number)
        parts = entry.split()
        if not reason.strip():
            bad.append(BadSuppression("it gives no reason after '#'", place))
        elif len(parts) < 2:
            bad.append(BadSuppression("it names no rule: write `path-pattern rule  # reason`", place))
        else:
            try:
                rules = frozenset(rule.name for selector in parts[1:] for rule in find_rules(selector))
            except UnknownRuleError as error:
                bad.append(BadSuppression(str(error), place))
            else:
                good.append(Suppression(parts[0], rules, reason.strip(), place))
    return good, bad
