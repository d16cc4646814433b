"""Findings gathered by rule and file, for readers that show them beside the file: SARIF and workflow commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from snellen.findings.finding import Finding
from snellen.findings.severity import Severity
from snellen.report.plain import plain
from snellen.result import Result

RECORD_FORMATS = {".json", ".xml"}
"""Where `Place.row` counts records, not lines."""


@dataclass(frozen=True)
class FileFindings:
    """All findings of one rule in one file."""

    rule: str
    code: str
    severity: Severity
    path: str | None
    """Relative to the dataset's root; None when the finding is about no file."""
    findings: tuple[Finding, ...]
    """The worst first."""

    @property
    def line(self) -> int | None:
        """1-based line of the worst finding; None where the file has no lines."""
        row = self.findings[0].place.row
        ends = Path(self.path or "").suffix.lower()
        return row if self.path and row and row > 0 and ends not in RECORD_FORMATS else None

    @property
    def message(self) -> str:
        """The worst finding's message, where it is when no file says so, and how many there are more."""
        worst = self.findings[0]
        where = "" if self.path else plain(worst.place)
        more = len(self.findings) - 1
        text = f"{where}: {worst.message}" if where else worst.message
        return plain(text, 1000) + (f" (+ {more:,} more in this file)" if more and self.path else _others(more))

    @property
    def fingerprint(self) -> str:
        """Stable across runs: rule and file, not rows and numbers."""
        where = self.path if self.path else str(self.findings[0].place)
        return blake2b(f"{self.rule}\0{where}".encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _others(more: int) -> str:
    return f" (+ {more:,} more)" if more else ""


def by_rule_and_file(findings: Sequence[Finding]) -> list[FileFindings]:
    """Most severe first, then in the verdict's order. Findings about no file keep one entry per place."""
    grouped: dict[tuple[str, str | None, str], list[Finding]] = {}
    for finding in findings:
        exam = finding.code.startswith("EXM") and finding.place.row is None
        path = None if exam else finding.place.file or finding.place.image
        grouped.setdefault((finding.rule, path, "" if path else str(finding.place)), []).append(finding)
    entries = [
        FileFindings(
            rule, items[0].code, max(f.severity for f in items), path, tuple(sorted(items, key=lambda f: -f.rank))
        )
        for (rule, path, _), items in grouped.items()
    ]
    return sorted(entries, key=lambda e: -e.severity.level)


def from_working_folder(result: Result, path: str) -> str:
    """`path` as seen from the working folder where the dataset lies below it, else below the dataset's own root."""
    if result.data is None:
        return path
    root = Path(result.data.root).absolute()
    whole = root / path
    return whole.relative_to(Path.cwd()).as_posix() if whole.is_relative_to(Path.cwd()) else whole.as_posix()
