"""Findings put in the order a person wants them: root causes by rule, the worst first, consequences folded under."""

from collections.abc import Sequence
from dataclasses import dataclass

from snellen.findings.engine import Verdict
from snellen.findings.finding import Finding
from snellen.findings.severity import Severity
from snellen.findings.words import plural
from snellen.report.plain import plain, share

LABELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
"""What a severity is called in reports for people."""

NEEDS = {
    "DataFacts": "a dataset", "NetworkFacts": "a network", "RunFacts": "a training run", "ScoreFacts": "predictions",
}  # fmt: skip
"""What a facts class is called in reports for people."""


@dataclass(frozen=True)
class Cause:
    """All findings of one rule that no other finding explains, and those that they explain."""

    rule: str
    code: str
    severity: Severity
    findings: tuple[Finding, ...]
    """The worst first."""
    consequences: tuple[tuple[Finding, ...], ...]
    """One tuple per rule."""

    @property
    def label(self) -> str:
        """The severity, for people."""
        return LABELS[self.severity]

    @property
    def worst(self) -> Finding:
        """The finding that speaks for the others."""
        return self.findings[0]

    @property
    def affected(self) -> int:
        """Records concerned, over all findings."""
        return sum(f.affected for f in self.findings)

    @property
    def of(self) -> int | None:
        """Out of how many; None where the findings do not share one total or overlap."""
        totals = {f.of for f in self.findings}
        total = next(iter(totals)) if len(totals) == 1 else None
        return total if total and self.affected <= total else None

    @property
    def share(self) -> float | None:
        """`affected / of`, 0..1."""
        return self.affected / self.of if self.of else None

    @property
    def extent(self) -> str:
        """How much is concerned, in words: "12 of 480 (2.5 %)"; empty for one finding about one thing."""
        if self.of and self.of > 1:
            return f"{self.affected:,} of {self.of:,} ({share(self.share)})"
        return f"{self.affected:,} affected" if self.affected > len(self.findings) else ""


def group(findings: Sequence[Finding]) -> list[tuple[Finding, ...]]:
    """By rule, in order of first appearance; inside a rule the highest rank first."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    return [tuple(sorted(items, key=lambda f: (-f.severity.level, -f.rank))) for items in by_rule.values()]


def skipped_by_reason(verdict: Verdict) -> list[tuple[str, list[str]]]:
    """Why rules did not run, in words, and their names; the commonest reason first."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in sorted(verdict.skipped.items()):
        for kind, words in NEEDS.items():
            reason = reason.replace(kind, words)
        by_reason.setdefault(plain(reason), []).append(name)
    return sorted(by_reason.items(), key=lambda item: -len(item[1]))


def root_causes(verdict: Verdict) -> list[Cause]:
    """Root causes: by severity, then by the kinds of consequences they explain, share of records and their number.

    So a fault that spoiled the training comes before one bad box of the same severity.
    """
    under: dict[str, list[Finding]] = {}
    for finding in verdict.findings:
        if finding.caused_by is not None:
            under.setdefault(finding.caused_by, []).append(finding)
    causes: list[Cause] = []
    for items in group(verdict.roots):
        fingerprints = dict.fromkeys(f.fingerprint for f in items)
        follow = [c for fingerprint in fingerprints for c in under.pop(fingerprint, ())]
        worst = items[0]
        causes.append(
            Cause(worst.rule, worst.code, max(f.severity for f in items), items, tuple(group(follow)))
        )  # fmt: skip
    causes.sort(key=lambda c: (-c.severity.level, -len(c.consequences), -(c.share or 0.0), -c.affected, c.code))
    return causes


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence that needs no glossary."""
    ran = plural(len(verdict.ran), "rule")
    if not verdict.findings:
        if not verdict.ran:
            return "Nothing was judged: no rule could run on these facts."
        return f"Healthy: {ran} looked and found nothing wrong."
    causes = root_causes(verdict)
    counts = [
        plural(n, word) for severity, word in LABELS.items() if (n := sum(c.severity == severity for c in causes))
    ]
    if all(c.severity == Severity.INFO for c in causes):
        return f"Healthy, with {counts[0]}: {ran} looked and found no error and no warning."
    total = len(verdict.findings)
    behind = f" behind {total:,} findings" if total > len(causes) else ""
    return f"{plural(len(causes), 'root cause')}{behind}: {', '.join(counts)}."
