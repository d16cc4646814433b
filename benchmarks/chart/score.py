"""What the chart counts: pure arithmetic over rows that `worker.run_case` made.

A run is named right by an error or warning whose meaning is an accepted diagnosis. What a tool itself calls a mere
consequence of another finding is no claim about the cause: it is not counted among its first three. In precision a rule
counts once per run, however many layers it accuses.
"""

import importlib
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.chart.case import Case
from benchmarks.chart.peers import MODULES
from benchmarks.chart.repair import mended

Row = Mapping[str, Any]
UNION = "union of peers"
ALARMS = ("error", "warning")


def meanings(tool: str) -> Callable[[str], frozenset[str]]:
    """From a tool's own name of an alarm to the diagnoses it states; for Snellen, its rule."""
    if tool not in MODULES:
        return lambda rule: frozenset([rule])
    table = importlib.import_module(f"benchmarks.chart.peers.{MODULES[tool]}").MEANS
    return lambda rule: frozenset(table.get(rule, ()))


@dataclass(frozen=True)
class Judged:
    """One run of one tool, judged."""

    case: Case
    seed: int
    alarms: int
    """Distinct rules that gave an error or warning."""
    right: int
    """Of them, those that are an accepted diagnosis or a consequence of one."""
    rank: int | None
    """Place of the first accepted rule among the root causes, 1 is first; None: not named."""
    placed: bool | None
    """Whether an accepted finding names the right place; None: the case has no place, or the cause was not named."""
    step: int | None
    """Step at which it was first named; None: not named, or the tool does not say."""
    failed: bool
    """The tool itself raised an error."""
    mended: bool | None = None
    """Whether the offered settings mended it; None: its score had not suffered, or no setting of a recipe could."""

    @property
    def detected(self) -> bool:
        """Whether there was any error or warning."""
        return self.alarms > 0


def judge(row: Row, case: Case, means: Callable[[str], frozenset[str]]) -> Judged:
    """Judge a row against what its case accepts."""
    alarms = [said for said in row["said"] if said["severity"] in ALARMS]

    def accepted(said: Row) -> bool:
        return bool(means(said["rule"]) & case.accepted)

    right: dict[str, bool] = {}
    for said in alarms:
        chain = any(means(cause) & case.accepted for cause in said["causes"])
        right[said["rule"]] = right.get(said["rule"], False) or accepted(said) or chain
    roots = list(dict.fromkeys(said["rule"] for said in alarms if not said["causes"]))
    ranks = [i + 1 for i, rule in enumerate(roots) if means(rule) & case.accepted]
    named = [said for said in alarms if accepted(said)]
    return Judged(
        case=case,
        seed=row["seed"],
        alarms=len(right),
        right=sum(right.values()),
        rank=ranks[0] if ranks else None,
        placed=any(at_place(said, case.place) for said in named) if case.place and named else None,
        step=_first_step(row, named, accepted),
        failed=(row["error"] or "").startswith("tool:"),
        mended=_mended(row),
    )


def _mended(row: Row) -> bool | None:
    about = row.get("repair")
    if about is None or about["healthy"] is None or mended(row["score"], about["healthy"]):
        return None
    return mended(about["score"], about["healthy"])


def at_place(said: Row, place: str) -> bool:
    """Whether a finding's place or message holds one of the alternatives of `place`, as a whole word or name."""
    text = f"{said['place']} {said['message']}".lower()
    return any(re.search(rf"(?<![\w.]){re.escape(word.lower())}(?!\w)", text) for word in place.split("|"))


def _first_step(row: Row, named: Sequence[Row], accepted: Callable[[Row], bool]) -> int | None:
    if not named:
        return None
    for step in sorted(map(int, row["early"])):
        found = row["early"][str(step)]
        if any(s["severity"] in ALARMS and not s["causes"] and accepted(s) for s in found):
            return step
    if row["early"]:
        return int(row["steps"])
    steps = [said["step"] for said in named if said["step"] is not None]
    return min(steps) if steps else None


@dataclass(frozen=True)
class Scores:
    """Shares over runs; None where nothing could be counted."""

    faulty: int
    healthy: int
    detected: float | None
    first: float | None
    """Cause named first."""
    third: float | None
    """Cause among the first three."""
    precision: float | None
    """Right error and warning findings among all, of faulty and healthy runs."""
    place: float | None
    """Right place, of the runs with a place whose cause was named."""
    steps: float | None
    """Median step at which the cause was first named."""
    mended: float | None
    """Mended runs of those that a setting of the recipe could mend and whose score had suffered."""
    false_alarms: int
    """Healthy runs with any error or warning."""
    failed: int


def scores(judged: Iterable[Judged]) -> Scores:
    """Count."""
    judged = list(judged)
    faulty, healthy = [j for j in judged if j.case.faulty], [j for j in judged if not j.case.faulty]
    alarms = sum(j.alarms for j in judged)
    steps = [j.step for j in faulty if j.step is not None]
    return Scores(
        faulty=len(faulty),
        healthy=len(healthy),
        detected=_share(j.detected for j in faulty),
        first=_share(j.rank == 1 for j in faulty),
        third=_share(j.rank is not None and j.rank <= 3 for j in faulty),
        precision=sum(j.right for j in judged) / alarms if alarms else None,
        place=_share(j.placed for j in faulty if j.placed is not None),
        steps=statistics.median(steps) if steps else None,
        mended=_share(j.mended for j in faulty if j.mended is not None),
        false_alarms=sum(j.detected for j in healthy),
        failed=sum(j.failed for j in judged),
    )


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return sum(values) / len(values) if values else None


def judge_all(rows: Iterable[Row], cases: Mapping[str, Case]) -> dict[str, list[Judged]]:
    """Tool -> its judged runs, of the cases there still are; the union of the peers under `UNION`."""
    out: dict[str, list[Judged]] = {}
    for row in rows:
        if row["case"] in cases and row["tool"] != "none":
            judged = judge(row, cases[row["case"]], meanings(row["tool"]))
            out.setdefault(row["tool"], []).append(judged)
    peers = [j for tool, judged in out.items() if tool in MODULES for j in judged]
    if peers:
        out[UNION] = union(peers)
    return out


def union(judged: Iterable[Judged]) -> list[Judged]:
    """What somebody with all the tools would have: the best rank and place of any, and the alarms of all."""
    runs: dict[tuple[str, int], list[Judged]] = {}
    for j in judged:
        runs.setdefault((j.case.name, j.seed), []).append(j)
    out = []
    for group in runs.values():
        ranks = [j.rank for j in group if j.rank is not None]
        steps = [j.step for j in group if j.step is not None]
        placed = [j.placed for j in group if j.placed is not None]
        out.append(
            Judged(
                case=group[0].case,
                seed=group[0].seed,
                alarms=sum(j.alarms for j in group),
                right=sum(j.right for j in group),
                rank=min(ranks, default=None),
                placed=any(placed) if placed else None,
                step=min(steps, default=None),
                failed=all(j.failed for j in group),
            )
        )
    return out
