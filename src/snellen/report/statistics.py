"""How many findings each rule has: `snellen check --statistics`."""

from snellen.findings.engine import Verdict
from snellen.findings.finding import FixSafety
from snellen.findings.words import plural


def render_statistics(verdict: Verdict) -> str:
    """A line a rule, the most findings first: count, records affected, code, name, and how many can be fixed."""
    rules: dict[str, list[int]] = {}
    codes: dict[str, str] = {}
    for finding in verdict.findings:
        row = rules.setdefault(finding.rule, [0, 0, 0, 0])
        codes[finding.rule] = finding.code
        row[0] += 1
        row[1] += finding.affected
        if finding.fix and finding.fix.edit:
            row[2 if finding.fix.safety is FixSafety.SAFE else 3] += 1
    if not rules:
        return f"nothing found; {plural(len(verdict.ran), 'rule')} ran\n"
    lines = [f"{'findings':>9} {'records':>9}  {'code':<7} rule"]
    for rule, (count, affected, safe, unsafe) in sorted(rules.items(), key=lambda item: (-item[1][0], item[0])):
        fixes = [f"{safe:,} fixable"] * bool(safe) + [f"{unsafe:,} with --unsafe-fixes"] * bool(unsafe)
        lines.append(
            f"{count:>9,} {affected:>9,}  {codes[rule]:<7} {rule}{'  [' + ', '.join(fixes) + ']' if fixes else ''}"
        )
    total = sum(row[0] for row in rules.values())
    lines.append(f"{total:>9,} {sum(row[1] for row in rules.values()):>9,}  in {plural(len(rules), 'rule')}")
    return "\n".join(lines) + "\n"
