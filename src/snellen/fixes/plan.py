"""Which fixes of a verdict are to be made now, and why the others are not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from snellen.data.facts import DataFacts
from snellen.findings.engine import Verdict
from snellen.findings.finding import Finding, FixSafety
from snellen.fixes import coco, voc, yolo
from snellen.fixes.edit import Edit

FILE_OPS = frozenset({"drop-file"})
OPS: Mapping[str, frozenset[str]] = {
    "coco": coco.OPS | FILE_OPS,
    "voc": voc.OPS | FILE_OPS | {"drop-line"},
    "yolo": yolo.OPS | FILE_OPS,
    "class-folders": frozenset({"drop-image"}),
}
"""Format -> the operations that can be made in it."""
BY_HAND = "has no fix that a machine could make"
UNSAFE = "could drop or move something that was meant: add --unsafe-fixes"
CONSEQUENCE = "follows from another finding, which goes first"


@dataclass(frozen=True)
class Plan:
    """The fixes of one pass."""

    edits: list[tuple[Finding, Edit]] = field(default_factory=list)
    left: list[tuple[Finding, str]] = field(default_factory=list)
    """Findings that stay, and why."""


def plan(verdict: Verdict, data: DataFacts, *, unsafe: bool) -> Plan:
    """Sort the findings of `verdict`; consequences wait, since mending the cause may mend or change them."""
    made = Plan()
    able = OPS.get(data.format, frozenset())
    for finding in verdict.findings:
        fix = finding.fix
        if fix is None or not fix.edit:
            made.left.append((finding, BY_HAND if finding.caused_by is None else CONSEQUENCE))
        elif fix.edit["op"] not in able:
            made.left.append((finding, f"`{fix.title}` is not made in {data.format} datasets: do it by hand"))
        elif fix.safety is FixSafety.UNSAFE and not unsafe:
            made.left.append((finding, UNSAFE))
        elif finding.caused_by is not None:
            made.left.append((finding, CONSEQUENCE))
        else:
            made.edits.append((finding, fix.edit))
    return made
