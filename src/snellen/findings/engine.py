"""Runs the chosen rules over the facts there are: plan, judge, silence, group by cause."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from snellen.findings.baseline import read_baseline
from snellen.findings.finding import Finding
from snellen.findings.place import Place
from snellen.findings.registry import find_rule, find_rules
from snellen.findings.rule import Rule
from snellen.findings.settings import LoadedSettings, chosen_rules
from snellen.findings.severity import Severity, Tier
from snellen.findings.suppression import SIDECAR, read_suppressions


@dataclass(frozen=True)
class Verdict:
    """Everything the rules said of one subject."""

    findings: tuple[Finding, ...]
    """Root causes first, then by severity, rule and rank."""
    ran: tuple[str, ...]
    """Names of the rules that ran."""
    skipped: Mapping[str, str]
    """Rule name -> why it did not run."""
    suppressed: int = 0
    """Findings silenced by settings or sidecar."""
    in_baseline: int = 0
    """Findings silenced by the baseline."""
    fail_on: str = "error"
    settings_origin: str = "defaults"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Rule name -> the options it ran with."""

    @property
    def roots(self) -> tuple[Finding, ...]:
        """Findings that are not the consequence of another."""
        return tuple(f for f in self.findings if f.caused_by is None)

    def consequences(self, finding: Finding) -> tuple[Finding, ...]:
        """The findings folded under `finding`."""
        return tuple(f for f in self.findings if f.caused_by == finding.fingerprint)

    def count(self, severity: Severity) -> int:
        """How many findings have exactly this severity."""
        return sum(f.severity == severity for f in self.findings)

    def fails(self, fail_on: str | None = None) -> bool:
        """Whether a finding is at least as severe as `fail_on` (default: the settings')."""
        level = fail_on or self.fail_on
        return level != "never" and any(f.severity >= Severity.parse(level) for f in self.findings)


def required_tier(rules: Iterable[Rule]) -> Tier:
    """The dearest dataset facts that any of `rules` reads."""
    return max((rule.tier for rule in rules), default=Tier.LABELS)


def judge(
    facts: Sequence[object],
    settings: LoadedSettings,
    *,
    rules: Sequence[Rule] | None = None,
    data_root: Path | None = None,
    on_rule: Callable[[str], None] | None = None,
) -> Verdict:
    """Run the rules the settings choose over `facts`, one object per facts class.

    `data_root` is where the sidecar of suppressions lies; `on_rule` is told each rule's name before it runs. A rule
    that raises becomes a `rule-crashed` finding; the others go on.
    """
    chosen = list(rules) if rules is not None else chosen_rules(settings.values)
    by_type = {type(f): f for f in facts}
    findings: list[Finding] = []
    ran: list[str] = []
    skipped: dict[str, str] = {}
    for rule in chosen:
        needs = rule.needs()
        if not needs:
            continue
        reason = _why_not(rule, needs, by_type)
        if reason:
            skipped[rule.name] = reason
            continue
        if on_rule:
            on_rule(rule.name)
        ran.append(rule.name)
        findings += _run(rule, {name: by_type[kind] for name, kind in needs.items()})
    findings, suppressed = _silence(findings, chosen, settings, data_root)
    baseline = read_baseline(settings.folder / settings.values.baseline) if settings.values.baseline else frozenset()
    fresh = [f for f in findings if f.fingerprint not in baseline]
    return Verdict(
        findings=tuple(sorted(link_causes(fresh), key=_order)),
        ran=tuple(ran),
        skipped=skipped,
        suppressed=suppressed,
        in_baseline=len(findings) - len(fresh),
        fail_on=settings.values.fail_on,
        settings_origin=settings.origin,
        options={rule.name: rule.options.model_dump() for rule in chosen if rule.name in ran},
    )


def _why_not(rule: Rule, needs: Mapping[str, type], by_type: Mapping[type, object]) -> str:
    absent = [kind.__name__ for kind in needs.values() if kind not in by_type]
    if absent:
        return f"needs {' and '.join(absent)}"
    for kind in needs.values():
        gathered = getattr(by_type[kind], "tier", None)
        if isinstance(gathered, Tier) and rule.tier > gathered:
            return f"needs {rule.tier.name.lower()}, only {gathered.name.lower()} were read"
    return ""


def _run(rule: Rule, facts: Mapping[str, object]) -> list[Finding]:
    found: list[Finding] = []
    check: Callable[..., Iterable[Finding]] = getattr(rule, "check")  # noqa: B009  # each rule's has its own signature
    try:
        for finding in check(**facts):
            found += [replace(finding, rule=rule.name, code=rule.code, severity=rule.severity)]
    except Exception as error:  # a rule's bug must not cost the user the other rules: it becomes a finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        crash = Finding(
            message=f"{rule.name} stopped with {type(error).__name__}: {error} "
            f"({Path(last.filename).name}:{last.lineno}); its {len(found)} findings stand, the other rules went on",
            place=Place(file=rule.name),
            evidence={"traceback": "".join(traceback.format_exception(error)[-3:])},
        )
        found.append(_stamp(crash, "rule-crashed"))
    return found


def _stamp(finding: Finding, name: str) -> Finding:
    rule = find_rule(name)
    return replace(finding, rule=rule.name, code=rule.code, severity=rule.category.severity)


def _silence(
    findings: list[Finding], chosen: Sequence[Rule], settings: LoadedSettings, data_root: Path | None
) -> tuple[list[Finding], int]:
    """Drop what settings and sidecar silence; add a finding for each suppression that is bad or matched nothing."""
    ignores = [
        (pattern, {rule.name for selector in selectors for rule in find_rules(selector)})
        for pattern, selectors in settings.values.per_path_ignores.items()
    ]
    good, bad = read_suppressions(data_root) if data_root else ([], [])
    used: set[int] = set()
    kept: list[Finding] = []
    for finding in findings:
        paths = [p for p in (finding.place.file, finding.place.image) if p]
        silent = any(finding.rule in names and any(fnmatchcase(p, g) for p in paths) for g, names in ignores)
        for index, suppression in enumerate(good):
            if suppression.covers(finding):
                used.add(index)
                silent = True
        if not silent:
            kept.append(finding)
    silenced = len(findings) - len(kept)
    ran = {rule.name for rule in chosen}
    if "unused-suppression" in ran:
        for index, suppression in enumerate(good):
            if index not in used and suppression.rules & ran:
                message = (
                    f"{SIDECAR} silences {suppression.pattern!r}, where nothing is found any more: remove the line"
                )
                kept.append(_stamp(Finding(message=message, place=suppression.place), "unused-suppression"))
    if "unusable-suppression" in ran:
        for line in bad:
            message = f"{SIDECAR} line silences nothing: {line.problem}"
            kept.append(_stamp(Finding(message=message, place=line.place), "unusable-suppression"))
    return kept, silenced


def link_causes(findings: Sequence[Finding]) -> list[Finding]:
    """Set `caused_by` where a finding's rule names another's and both could be about the same record.

    A chain is followed to its root, so that consequences fold under one finding, not under each other.
    """
    # By rule and image, so that a hundred thousand findings are linked in one pass, not in a square.
    by_place: dict[tuple[str, str | None], list[Finding]] = {}
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_place.setdefault((finding.rule, finding.place.image), []).append(finding)
        by_rule.setdefault(finding.rule, []).append(finding)
    cause: dict[int, Finding] = {}
    for finding in findings:
        image = finding.place.image
        for name in find_rule(finding.rule).causes:
            near = by_rule.get(name, []) if image is None else [
                *by_place.get((name, image), []), *by_place.get((name, None), [])
            ]  # fmt: skip
            match = next((c for c in near if c is not finding and _could_cause(c, finding)), None)
            if match:
                cause[id(finding)] = match
                break
    linked: list[Finding] = []
    for finding in findings:
        root, seen = finding, {id(finding)}
        while id(root) in cause and id(cause[id(root)]) not in seen:
            root = cause[id(root)]
            seen.add(id(root))
        linked.append(finding if root is finding else replace(finding, caused_by=root.fingerprint))
    return linked


def _could_cause(cause: Finding, finding: Finding) -> bool:
    """Whether both could speak of the same record. In a training a fault of one layer shows in all others."""
    if "RUN" in (cause.code[:3], finding.code[:3]):
        return replace(cause.place, layer=None).meets(finding.place)
    return cause.place.meets(finding.place)


def _order(finding: Finding) -> tuple[object, ...]:
    return (finding.caused_by is not None, -finding.severity.level, finding.code, -finding.rank, str(finding.place))
